"""One real service for all tests of this folder, with its state in a folder of its own."""

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sightline_testing.client import Client
from sightline_testing.hostile.asking import Sender
from sightline_testing.hostile.measured import Measured
from sightline_testing.sample_images import GOOD_NAMES, good
from sightline_testing.service import Service, running_service

MEASURED = pytest.StashKey[Measured]()
# Nothing here is a matter of speed, and the machine may be busy.
PATIENT = {"REQUEST_TIMEOUT_S": "60", "MAX_QUEUE_SIZE": "10000", "UPLOAD_PACE_S": "60", "HEAD_TIMEOUT_S": "5"}


def pytest_configure(config: pytest.Config) -> None:
    config.stash[MEASURED] = Measured()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    terminalreporter.section("measured")
    for what, value in config.stash[MEASURED].told.items():
        terminalreporter.write_line(f"{what}: {value}")


@pytest.fixture(scope="session")
def measured(pytestconfig: pytest.Config) -> Measured:
    return pytestconfig.stash[MEASURED]


@pytest.fixture(scope="session")
def is_full() -> bool:
    """FULL=1: the long settings, which also assert times."""
    return bool(os.environ.get("FULL"))


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service") / "state"
    with running_service(folder, PATIENT) as running:
        with closing(Sender(running.url)) as sender:
            for name in GOOD_NAMES:
                assert sender.send(good(name).content).status == 200, name
        yield running


@pytest.fixture(scope="session")
def launcher_pid(service: Service) -> int:
    assert service.launcher is not None
    return service.launcher.pid


@pytest.fixture(scope="session")
def state_dir(service: Service) -> Path:
    assert service.state_dir is not None
    return service.state_dir


@pytest.fixture(scope="session")
def sender(service: Service) -> Iterator[Sender]:
    with closing(Sender(service.url)) as sender:
        yield sender


@pytest.fixture(scope="session")
def client(service: Service) -> Client:
    return Client(service.url)
