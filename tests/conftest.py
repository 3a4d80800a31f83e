"""One service for all tests that need nothing special of it."""

from collections.abc import Iterator

import pytest

from sightline_testing.service import Service, some_service


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    # An answer that takes long on a slow machine is no error of what is tested.
    with some_service(tmp_path_factory.mktemp("service"), {"REQUEST_TIMEOUT_S": "60"}) as service:
        yield service
