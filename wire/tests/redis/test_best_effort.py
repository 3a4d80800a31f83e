from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from sightline_testing.queue_probe import QueueProbe
from sightline_testing.redis_server import free_port
from sightline_testing.waiting import WAIT_S, wait_until
from wire import Address
from wire.redis import pipeline
from wire.redis.pipeline import BestEffort
from wire.redis.resp import pack

PING = pack("PING")


def test_redis_that_answers_is_used(queue: QueueProbe) -> None:
    connection = BestEffort(queue.address, "test", WAIT_S)
    assert connection.exchange(PING + PING, 2) == [b"PONG", b"PONG"]


def test_redis_that_is_away_is_done_without_and_not_tried_again_at_once(
    start_redis: Callable[..., QueueProbe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "OPEN_S", 3600.0)
    queue = start_redis()
    connection = BestEffort(queue.address, "test", WAIT_S)
    queue.server.kill()
    assert connection.exchange(PING, 1) is None
    queue.server.start()
    assert connection.exchange(PING, 1) is None


def test_redis_that_comes_back_is_used_after_a_rest(
    start_redis: Callable[..., QueueProbe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "OPEN_S", 0.01)
    queue = start_redis()
    connection = BestEffort(queue.address, "test", WAIT_S)
    assert connection.exchange(PING, 1) == [b"PONG"]
    queue.server.kill()
    assert connection.exchange(PING, 1) is None
    queue.server.start()
    wait_until(lambda: connection.exchange(PING, 1) == [b"PONG"], "it is used again")


def test_a_redis_that_hangs_keeps_one_caller_waiting_and_not_those_behind(
    queue: QueueProbe, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pipeline, "OPEN_S", 3600.0)
    connection = BestEffort(queue.address, "test", 0.2)
    queue.server.pause()
    try:
        with ThreadPoolExecutor(32) as pool:
            replies = list(pool.map(lambda _: connection.exchange(PING, 1), range(32)))
    finally:
        queue.server.resume()
    assert replies == [None] * 32
    # Were each of them to try for itself, the last would come back after more than six seconds.
    assert len(caplog.records) == 1


def test_nothing_is_opened_until_it_is_used() -> None:
    BestEffort(Address(host="203.0.113.1", port=free_port()), "test")


def test_a_child_process_has_a_connection_of_its_own(queue: QueueProbe) -> None:
    connection = BestEffort(queue.address, "test", WAIT_S)
    own = connection.exchange(pack("CLIENT", "ID"), 1)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, repr(connection.exchange(pack("CLIENT", "ID"), 1)).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    child = os.read(reader, 100).decode()
    os.close(reader)
    os.close(writer)
    assert child not in ("None", repr(own))
    assert connection.exchange(pack("CLIENT", "ID"), 1) == own


def test_what_is_told_comes_before_what_is_asked_next_and_its_replies_are_nobody_s(queue: QueueProbe) -> None:
    connection = BestEffort(queue.address, "test", WAIT_S)
    for number in range(10):
        connection.send(pack("SET", "key", number) + pack("LPUSH", "key", "not a list"), 2)
        connection.send(pack("APPEND", "key", "0"), 1)
        assert connection.exchange(pack("GET", "key") + PING, 2) == [b"%d0" % number, b"PONG"]


def test_a_connection_that_redis_closed_is_opened_again_and_owes_nothing(queue: QueueProbe) -> None:
    connection = BestEffort(queue.address, "test", WAIT_S)
    connection.send(pack("SET", "key", "1"), 1)
    wait_until(lambda: queue.redis("GET", "key") == b"1", "the command is carried out")
    queue.server.command("CLIENT", "KILL", "TYPE", "normal")
    assert connection.exchange(PING, 1) == [b"PONG"]
