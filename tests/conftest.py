"""One service for all tests that need nothing special of it."""

from collections.abc import Iterator

import pytest

from sightline_testing.service import Service, some_service


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with some_service(tmp_path_factory.mktemp("service")) as service:
        yield service
