"""Many callers, one connection: none waits for another's round trip, and each gets its own replies."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from sightline_testing.queue_probe import QueueProbe
from sightline_testing.redis_server import free_port
from sightline_testing.slow_redis import SlowRedis
from sightline_testing.waiting import WAIT_S, wait_until
from wire import Address, AsyncJobs, Producer, QueueUnavailable, RateLimiter, ResultCache
from wire.errors import UnknownJob
from wire.queue_stats import QueueStats
from wire.rate_limit import Rate
from wire.redis import pipeline
from wire.redis.faults import RedisRefusal
from wire.redis.pipeline import Pipeline
from wire.redis.resp import pack
from wire.result_cache import Question
from wire.worker_registry import Served

CALLERS = 32
PING = pack("PING")
CLIENT_ID = pack("CLIENT", "ID")


@pytest.fixture
def slow(queue: QueueProbe) -> Iterator[SlowRedis]:
    with SlowRedis(queue.server.port) as slow:
        yield slow


@pytest.fixture
def line(slow: SlowRedis) -> Iterator[Pipeline]:
    """A pipeline whose replies can be held back."""
    with closing(Pipeline(Address(port=slow.port), "test")) as line:
        yield line


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(CALLERS) as callers:
        yield callers


def calls(queue: QueueProbe, command: str) -> int:
    """Count how often Redis has run a command since the last reset."""
    text = queue.server.command("INFO", "commandstats").decode()
    found = re.search(rf"cmdstat_{command}:calls=(\d+)", text)
    return int(found[1]) if found else 0


def counted_from_now(queue: QueueProbe, command: str) -> Callable[[], int]:
    queue.server.command("CONFIG", "RESETSTAT")
    return lambda: calls(queue, command)


def echo(line: Pipeline, number: int) -> list[bytes]:
    return line.exchange(pack("ECHO", number) + pack("ECHO", f"{number}!"), 2, WAIT_S)


def echoed(number: int) -> list[bytes]:
    return [b"%d" % number, b"%d!" % number]


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(QueueUnavailable) as caught:
        call()
    return str(caught.value)


def test_all_commands_are_sent_before_the_first_reply_comes_and_each_caller_gets_its_own(
    line: Pipeline, slow: SlowRedis, queue: QueueProbe, callers: ThreadPoolExecutor
) -> None:
    line.exchange(PING, 1, WAIT_S)
    run = counted_from_now(queue, "echo")
    slow.hold()
    replies = [callers.submit(echo, line, number) for number in range(CALLERS)]
    wait_until(lambda: run() == 2 * CALLERS, "all commands have come")
    slow.let_go()
    assert [each.result() for each in replies] == [echoed(number) for number in range(CALLERS)]


def test_callers_that_wait_no_longer_leave_the_connection_and_the_order_as_they_are(
    line: Pipeline, slow: SlowRedis
) -> None:
    own = line.exchange(CLIENT_ID, 1, WAIT_S)
    slow.hold()
    for number in range(10):
        with pytest.raises(QueueUnavailable, match=r"did not answer within 0\.01 s"):
            line.exchange(pack("ECHO", number), 1, 0.01)
    slow.let_go()
    assert echo(line, 11) == echoed(11)
    assert line.exchange(CLIENT_ID, 1, WAIT_S) == own


def test_nobody_waits_longer_than_his_own_patience_behind_a_redis_that_hangs(
    queue: QueueProbe, callers: ThreadPoolExecutor
) -> None:
    with closing(Pipeline(queue.address, "test")) as line:
        line.exchange(PING, 1, WAIT_S)
        queue.server.pause()
        begin = time.monotonic()
        try:
            waiting = [callers.submit(refused, lambda: line.exchange(PING, 1, 0.2)) for _ in range(2 * CALLERS)]
            assert all("did not answer" in each.result() for each in waiting)
        finally:
            queue.server.resume()
        # One after the other, they would take 12.8 s.
        assert time.monotonic() - begin < 6
        assert line.exchange(PING, 1, WAIT_S) == [b"PONG"]


def test_commands_that_the_socket_has_no_room_for_wait_and_their_callers_do_not(queue: QueueProbe) -> None:
    with closing(Pipeline(queue.address, "test")) as line:
        line.exchange(PING, 1, WAIT_S)
        queue.server.pause()
        try:
            for number in range(8):
                line.send(pack("SET", f"large-{number}", b"x" * 1_000_000), 1)
            refused(lambda: line.exchange(PING, 1, 0.01))
        finally:
            queue.server.resume()
        assert line.exchange(b"".join(pack("STRLEN", f"large-{n}") for n in range(8)), 8, WAIT_S) == [1_000_000] * 8


def test_what_is_sent_comes_before_what_is_asked_next(line: Pipeline) -> None:
    for number in range(10):
        line.send(pack("SET", "key", number) + pack("LPUSH", "key", "not a list"), 2)
        line.send(pack("APPEND", "key", "0"), 1)
        assert line.exchange(pack("GET", "key"), 1, WAIT_S) == [b"%d0" % number]


def test_a_refused_command_is_an_error_in_its_place(line: Pipeline) -> None:
    first, second, third = line.exchange(PING + pack("XLEN") + PING, 3, WAIT_S)
    assert (first, third) == (b"PONG", b"PONG")
    assert isinstance(second, RedisRefusal)


def test_calls_that_a_broken_connection_left_unanswered_are_sent_once_more(
    line: Pipeline, slow: SlowRedis, queue: QueueProbe, callers: ThreadPoolExecutor
) -> None:
    line.exchange(PING, 1, WAIT_S)
    slow.hold()
    counts = [callers.submit(line.exchange, pack("INCR", "count"), 1, WAIT_S) for _ in range(5)]
    wait_until(lambda: queue.redis("GET", "count") == b"5", "all were run")
    slow.cut()
    slow.let_go()
    assert sorted(each.result()[0] for each in counts) == [6, 7, 8, 9, 10]


def test_calls_are_sent_twice_at_most(line: Pipeline, queue: QueueProbe) -> None:
    packet = pack("INCR", "count") + pack("QUIT") + PING
    assert "closed the connection" in refused(lambda: line.exchange(packet, 3, WAIT_S))
    assert queue.redis("GET", "count") == b"2"
    assert works(line)


def works(line: Pipeline) -> bool:
    try:
        return line.exchange(PING, 1, 1.0) == [b"PONG"]
    except QueueUnavailable:
        return False


def test_no_reply_reaches_another_caller_while_connections_break_and_callers_give_up(queue: QueueProbe) -> None:
    with (
        SlowRedis(queue.server.port, latency_s=0.002) as slow,
        closing(Pipeline(Address(port=slow.port), "test")) as line,
    ):

        def call(number: int) -> bool:
            """Return whether the replies came; raises AssertionError where they are another caller's."""
            if number % 40 == 0:
                slow.cut()
            try:
                replies = line.exchange(
                    pack("ECHO", number) + pack("ECHO", f"{number}!"), 2, (0.001, 0.01, 5.0)[number % 3]
                )
            except QueueUnavailable:
                return False
            assert replies == echoed(number)
            return True

        with ThreadPoolExecutor(CALLERS) as callers:
            outcomes = list(callers.map(call, range(600)))
        assert True in outcomes
        assert echo(line, 1) == echoed(1)


def test_what_waits_for_replies_is_bounded(
    line: Pipeline, slow: SlowRedis, queue: QueueProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "MAX_OUTSTANDING", 8)
    line.exchange(PING, 1, WAIT_S)
    slow.hold()
    for _ in range(8):
        line.send(pack("INCR", "count"), 1)
    assert "8 calls" in refused(lambda: line.exchange(pack("INCR", "count"), 1, WAIT_S))
    slow.let_go()
    wait_until(lambda: works(line), "there is room again")
    assert queue.redis("GET", "count") == b"8"


def test_a_redis_that_is_away_is_told_at_once_and_found_again(start_redis: Callable[..., QueueProbe]) -> None:
    queue = start_redis()
    with closing(Pipeline(queue.address, "test")) as line:
        assert works(line)
        queue.server.kill()
        for _ in range(3):
            assert f"127.0.0.1:{queue.server.port}" in refused(lambda: line.exchange(PING, 1, WAIT_S))
        queue.server.start()
        assert line.exchange(PING, 1, WAIT_S) == [b"PONG"]


def test_a_connection_over_which_nothing_comes_is_replaced(
    line: Pipeline, slow: SlowRedis, queue: QueueProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "SILENCE_S", 0.1)
    wait_until(lambda: works(line), "it is connected")  # in less than that, at some time
    monkeypatch.setattr(pipeline, "SILENCE_S", 3600.0)
    own = line.exchange(CLIENT_ID, 1, WAIT_S)
    monkeypatch.setattr(pipeline, "SILENCE_S", 0.1)
    slow.hold()
    refused(lambda: line.exchange(PING, 1, 0.05))
    wait_until(lambda: b"name=test " not in queue.server.command("CLIENT", "LIST"), "the connection is closed")
    slow.let_go()
    assert line.exchange(CLIENT_ID, 1, WAIT_S) != own


def test_an_idle_connection_stays(line: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "SILENCE_S", 0.02)
    wait_until(lambda: works(line), "it is connected")  # in less than that, at some time
    monkeypatch.setattr(pipeline, "SILENCE_S", 3600.0)
    own = line.exchange(CLIENT_ID, 1, WAIT_S)
    monkeypatch.setattr(pipeline, "SILENCE_S", 0.02)
    time.sleep(0.2)
    monkeypatch.setattr(pipeline, "SILENCE_S", 3600.0)
    assert line.exchange(CLIENT_ID, 1, WAIT_S) == own


def test_a_wrong_password_is_told_to_every_caller(queue: QueueProbe, callers: ThreadPoolExecutor) -> None:
    stranger = Address(port=queue.server.port, username="nobody", password="wrong")  # noqa: S106  a test's own
    with closing(Pipeline(stranger, "test")) as line:
        waiting = [callers.submit(refused, lambda: line.exchange(PING, 1, WAIT_S)) for _ in range(4)]
        assert all("WRONGPASS" in each.result() for each in waiting)


def test_closing_fails_whoever_waits_and_the_next_call_connects_again(
    line: Pipeline, slow: SlowRedis, queue: QueueProbe, callers: ThreadPoolExecutor
) -> None:
    line.exchange(PING, 1, WAIT_S)
    slow.hold()
    waiting: Future[str] = callers.submit(refused, lambda: line.exchange(pack("INCR", "count"), 1, WAIT_S))
    wait_until(lambda: queue.redis("GET", "count"), "it waits")
    line.close()
    assert "closed" in waiting.result()
    slow.let_go()
    assert works(line)


def test_nothing_is_opened_until_it_is_used() -> None:
    Pipeline(Address(host="203.0.113.1", port=free_port()), "test").close()


def test_a_child_process_has_a_connection_of_its_own_also_when_it_is_forked_while_replies_are_due(
    line: Pipeline, slow: SlowRedis, callers: ThreadPoolExecutor
) -> None:
    own = line.exchange(CLIENT_ID, 1, WAIT_S)
    slow.hold()
    waiting = callers.submit(line.exchange, CLIENT_ID, 1, WAIT_S)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, repr(line.exchange(CLIENT_ID, 1, WAIT_S)).encode())
        os._exit(0)
    time.sleep(0.1)  # the child connects while the replies are held
    slow.let_go()
    os.waitpid(pid, 0)
    child = os.read(reader, 100).decode()
    os.close(reader)
    os.close(writer)
    assert waiting.result() == own
    assert re.fullmatch(r"\[\d+\]", child)
    assert child != repr(own)
    assert line.exchange(CLIENT_ID, 1, WAIT_S) == own


def test_greenlets_share_it_and_the_loop_stays_free(queue: QueueProbe) -> None:
    program = Path(__file__).parents[1] / "programs" / "pipelining.py"
    with SlowRedis(queue.server.port, latency_s=0.05) as slow:
        words = [sys.executable, str(program), str(slow.port)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=2 * WAIT_S, check=False)
    assert done.returncode == 0, done.stderr
    most_at_once, ticks = map(int, done.stdout.split())
    assert most_at_once == 200
    assert ticks > 5


QUESTION = Question("ab" * 32, Served("none", "0", "none", "none"))
HANDLE = f"{'0' * 32}-1-1-1-1"


def ask_cache(address: Address, queue: str) -> Callable[[], object]:
    cache = ResultCache(address, queue, max_entries=8, ttl_s=60, timeout_s=WAIT_S)
    return lambda: cache.find(QUESTION, 5)


def ask_rates(address: Address, queue: str) -> Callable[[], object]:
    limiter = RateLimiter(address, queue, timeout_s=WAIT_S)
    return lambda: limiter.wait_s("alice", Rate(1000, 60.0))


def ask_stats(address: Address, queue: str) -> Callable[[], object]:
    return QueueStats(address, queue, timeout_s=WAIT_S).refresh


def ask_jobs(address: Address, queue: str) -> Callable[[], object]:
    jobs = AsyncJobs(Producer(address, queue, redis_timeout_s=WAIT_S), max_jobs=10)

    def look() -> None:
        with pytest.raises(UnknownJob):
            jobs.find(HANDLE)

    return look


@pytest.mark.parametrize(
    ("opened", "command", "count"),
    [(ask_cache, "get", 2), (ask_rates, "evalsha", 1), (ask_stats, "hgetall", 1), (ask_jobs, "xrange", 4)],
)
def test_whatever_asks_redis_for_many_callers_makes_none_wait_for_another(
    opened: Callable[[Address, str], Callable[[], object]],
    command: str,
    count: int,
    slow: SlowRedis,
    queue: QueueProbe,
) -> None:
    ask = opened(Address(port=slow.port), queue.name)
    ask()
    run = counted_from_now(queue, command)
    slow.hold()
    with ThreadPoolExecutor(CALLERS) as callers:
        waiting = [callers.submit(ask) for _ in range(CALLERS)]
        wait_until(lambda: run() == CALLERS * count, "all have asked")
        slow.let_go()
        for each in waiting:
            each.result()
