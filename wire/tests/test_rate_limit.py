"""Token buckets in a real Redis, shared by processes and threads."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sightline_testing.queue_probe import QueueProbe
from sightline_testing.waiting import WAIT_S, wait_until
from wire import Address, RateLimiter
from wire.rate_limit import Rate

HOURLY = Rate(20, 3600.0)


@pytest.fixture
def limiter(queue: QueueProbe) -> RateLimiter:
    """One that waits for a busy machine, so that every request is counted."""
    return RateLimiter(Address(port=queue.server.port), queue.name, timeout_s=WAIT_S)


def let_in(limiter: RateLimiter, who: str, rate: Rate, count: int) -> int:
    return sum(limiter.wait_s(who, rate) == 0 for _ in range(count))


def test_a_full_bucket_is_let_in_at_once_and_no_more(limiter: RateLimiter) -> None:
    assert let_in(limiter, "alice", HOURLY, 60) == 20


def test_each_client_has_a_bucket_of_its_own(limiter: RateLimiter) -> None:
    let_in(limiter, "alice", HOURLY, 30)
    assert let_in(limiter, "bob", HOURLY, 30) == 20


def test_the_wait_is_that_until_the_next_one(limiter: RateLimiter) -> None:
    let_in(limiter, "alice", HOURLY, 20)
    assert 170 < limiter.wait_s("alice", HOURLY) <= 180


def test_who_comes_back_after_the_wait_is_let_in(limiter: RateLimiter) -> None:
    often = Rate(5, 1.0)
    let_in(limiter, "alice", often, 5)
    wait_s = limiter.wait_s("alice", often)
    assert 0 < wait_s <= 0.2
    time.sleep(wait_s + 0.01)
    assert limiter.wait_s("alice", often) == 0


def test_refusals_do_not_prolong_the_wait(limiter: RateLimiter) -> None:
    let_in(limiter, "alice", HOURLY, 20)
    first = limiter.wait_s("alice", HOURLY)
    let_in(limiter, "alice", HOURLY, 50)
    assert limiter.wait_s("alice", HOURLY) <= first


def test_a_bucket_that_is_full_again_is_no_key_any_more(limiter: RateLimiter, queue: QueueProbe) -> None:
    limiter.wait_s("alice", Rate(10, 1.0))
    assert queue.redis("KEYS", "*:rate:*")
    wait_until(lambda: not queue.redis("KEYS", "*:rate:*"), "the key expires")


def test_a_clock_that_was_set_back_keeps_nobody_out(limiter: RateLimiter, queue: QueueProbe) -> None:
    let_in(limiter, "alice", HOURLY, 20)
    [name, full_at] = queue.redis("ZRANGE", queue.keys.rates, 0, -1, "WITHSCORES")
    queue.redis("ZADD", queue.keys.rates, int(full_at) + 86_400_000_000, name)
    assert let_in(limiter, "alice", HOURLY, 60) == 20


def test_processes_share_one_bucket_to_the_last_token(queue: QueueProbe) -> None:
    program = Path(__file__).parent / "programs" / "counting.py"
    words = [sys.executable, str(program), str(queue.server.port), queue.name]
    done = subprocess.run(words, capture_output=True, text=True, timeout=2 * WAIT_S, check=True)
    counts = [int(line) for line in done.stdout.split()]
    assert len(counts) == 4
    assert 1 + sum(counts) == 200


def test_threads_share_one_connection(limiter: RateLimiter) -> None:
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(let_in(limiter, "alice", HOURLY, 25))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 20


def test_without_redis_everybody_is_let_in_and_few_find_out(queue: QueueProbe) -> None:
    limiter = RateLimiter(Address(port=1), queue.name)
    assert let_in(limiter, "alice", HOURLY, 1000) == 1000


def test_a_redis_that_hangs_costs_one_request_a_moment_and_then_counts_again(queue: QueueProbe) -> None:
    limiter = RateLimiter(Address(port=queue.server.port), queue.name)
    while limiter.wait_s("alice", HOURLY) == 0:
        pass
    queue.server.pause()
    try:
        begin = time.monotonic()
        assert let_in(limiter, "alice", HOURLY, 1000) == 1000
        # A thousand that waited 0.1 s each would take minutes.
        assert time.monotonic() - begin < 20
    finally:
        queue.server.resume()
    wait_until(lambda: limiter.wait_s("alice", HOURLY) > 0, "requests are counted again")


def test_a_lost_script_and_a_lost_connection_are_no_reason_to_let_anybody_in(
    limiter: RateLimiter, queue: QueueProbe
) -> None:
    let_in(limiter, "alice", HOURLY, 20)
    queue.redis("SCRIPT", "FLUSH")
    assert limiter.wait_s("alice", HOURLY) > 0
    queue.redis("CLIENT", "KILL", "TYPE", "normal")
    assert limiter.wait_s("alice", HOURLY) > 0


@pytest.fixture
def small(queue: QueueProbe) -> RateLimiter:
    """A limiter that keeps the buckets of 50 clients."""
    address = Address(port=queue.server.port)
    return RateLimiter(address, queue.name, timeout_s=WAIT_S, max_clients=50)


def test_any_number_of_clients_takes_a_bounded_number_of_entries(small: RateLimiter, queue: QueueProbe) -> None:
    let_in(small, "alice", HOURLY, 20)
    assert sum(let_in(small, f"2001:db8:{number:x}::/64", HOURLY, 1) for number in range(500)) == 500
    [key] = queue.redis("KEYS", "*rate*")
    assert queue.redis("ZCARD", key) == 50
    assert small.wait_s("alice", HOURLY) > 0


def test_buckets_that_are_full_again_make_room_and_the_others_are_kept(small: RateLimiter) -> None:
    let_in(small, "alice", HOURLY, 1)
    for number in range(200):
        small.wait_s(f"2001:db8:{number:x}::/64", Rate(1000, 1.0))
    for who in ("bob", "carol"):
        assert let_in(small, who, HOURLY, 30) == 20
    assert let_in(small, "alice", HOURLY, 30) == 19
