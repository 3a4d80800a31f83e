"""The lag of the event loop is measured for as long as there are connections, and a process without any rests."""

import math
from typing import cast

import gevent
import pytest

from server.client_timeouts import PacedReader
from server.worker import Worker


@pytest.fixture
def worker() -> Worker:
    """A worker without a listener, of which nothing but its measurement runs."""
    worker = Worker.__new__(Worker)
    worker._readers, worker._due_at = {cast(PacedReader, object()): None}, math.inf
    return worker


def test_a_busy_loop_is_late_until_its_timer_has_run_again(worker: Worker) -> None:
    measuring = gevent.spawn(worker._measure_lag)
    gevent.sleep(0)
    first = worker._due_at
    assert first < math.inf
    while worker._due_at == first:
        gevent.sleep(0.001)
    assert worker._due_at > first
    measuring.kill()


def test_it_ends_with_the_last_connection(worker: Worker) -> None:
    measuring = gevent.spawn(worker._measure_lag)
    gevent.sleep(0)
    worker._readers.clear()
    measuring.get(timeout=60)
    assert worker._due_at == math.inf
