"""Services that tests share: for all that need nothing special, for changes of version, and from a checkout."""

from collections.abc import Iterator

import pytest

from sightline_testing.checkout import Checkout, running_checkout
from sightline_testing.feedback_loop import FeedbackLoop, running_loop
from sightline_testing.service import Service, some_service


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    # An answer that takes long on a slow machine is no error of what is tested.
    with some_service(tmp_path_factory.mktemp("service"), {"REQUEST_TIMEOUT_S": "60"}) as service:
        yield service


@pytest.fixture(scope="session")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeedbackLoop]:
    """Two workers and the operator's commands; each test leaves the default version active, and nothing to roll back.

    Every question is a job.
    """
    with running_loop(tmp_path_factory.mktemp("two-workers"), {"RESULT_CACHE": "0"}) as loop:
        yield loop


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A service of a checkout; the last of its documented commands have another network serve."""
    with running_checkout(tmp_path_factory.mktemp("documented") / "checkout") as checkout:
        yield checkout
