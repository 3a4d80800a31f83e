"""Admission by cost, by the script itself in a real Redis."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from sightline_testing.queue_probe import QueueProbe
from sightline_testing.waiting import WAIT_S, wait_until
from sightline_testing.workers import answer_for
from wire import AsyncJobs, Delivery, Job, QueueFull, WorkerInfo
from wire.consumer.maintenance import Leases, Maintenance
from wire.errors import DeadlineExceeded
from wire.producer.admission import Terms, terms_for
from wire.queue_stats import Capacity
from wire.redis.keys import GROUP


class Door:
    """Submits jobs on terms of the test's own."""

    def __init__(self, queue: QueueProbe) -> None:
        self.queue = queue

    def enter(self, *, is_expensive: bool = False, **terms: Any) -> str:
        """Return the entry of a job that was admitted; raise QueueFull."""
        keys = self.queue.keys
        streams = (keys.expensive, keys.jobs) if is_expensive else (keys.jobs, keys.expensive)
        return self.queue.admit(Terms(*streams, **terms), Job("id", "cat.jpg", "producer", 60_000))

    def count(self, most: int = 100, **terms: Any) -> int:
        """Return how many jobs of these terms are admitted in a row."""
        for number in range(most):
            try:
                self.enter(**terms)
            except QueueFull:
                return number
        return most


@pytest.fixture
def door(queue: QueueProbe) -> Door:
    return Door(queue)


def test_jobs_are_admitted_by_their_cost(door: Door) -> None:
    assert door.count(cost=1, bound=20, bound_beside=20) == 20
    door.queue.redis("XTRIM", door.queue.keys.jobs, "MAXLEN", 0)
    assert door.count(cost=5, bound=20, bound_beside=20) == 4
    assert door.count(cost=1, bound=20, bound_beside=20) == 0


def test_a_burst_counts_jobs_up_to_what_is_done_in_time(door: Door) -> None:
    bounds = {"bound": 20, "bound_beside": 10, "burst": 30}
    assert door.count(cost=5, burst_bound=200, **bounds) == 30
    assert door.count(cost=1, burst_bound=200, **bounds) == 0
    door.queue.redis("XTRIM", door.queue.keys.jobs, "MAXLEN", 0)
    assert door.count(cost=5, burst_bound=100, **bounds) == 20
    door.queue.redis("XTRIM", door.queue.keys.jobs, "MAXLEN", 0)
    door.enter(is_expensive=True, cost=50, bound=90, bound_beside=90)
    assert door.count(cost=5, burst_bound=200, **bounds) == 2


def test_large_photographs_in_a_closed_loop_are_let_in_whatever_the_rate_becomes(door: Door) -> None:
    # All of it can be done in time at each rate; what waits was admitted at the one before.
    keys, photograph = door.queue.keys, Job("id", "cat.jpg", "producer", 60_000, decode_ms=62)
    waiting: list[str] = []
    for rate in (394.0, 74.0, 394.0, 40.0, 200.0, 20.0):
        info = WorkerInfo("w", "host", "model", "1", "p", consumers=2, max_batch=8, rate=rate, slowness=1.0)
        for _ in range(32):
            if len(waiting) == 32:
                door.queue.redis("XDEL", keys.jobs, waiting.pop(0))
            waiting.append(door.queue.admit(terms_for(photograph, keys, Capacity.of([info]), 5.0, 0), photograph))


def test_a_job_that_costs_more_than_the_bound_enters_an_empty_queue_alone(door: Door) -> None:
    assert door.count(cost=50, bound=20, bound_beside=20) == 1
    with pytest.raises(QueueFull) as refusal:
        door.enter(cost=1, bound=20, bound_beside=20)
    assert refusal.value.depth == 50


def test_whoever_deletes_an_entry_frees_what_it_cost(door: Door) -> None:
    keys = door.queue.keys
    for _ in range(3):
        entries = [door.enter(cost=5, bound=20, bound_beside=20) for _ in range(4)]
        assert door.count(cost=5, bound=20, bound_beside=20) == 0
        door.queue.redis("XDEL", keys.jobs, *entries[:2])
        assert door.count(cost=5, bound=20, bound_beside=20) == 2
        door.queue.redis("XTRIM", keys.jobs, "MAXLEN", 0)
    assert door.count(cost=1, bound=20, bound_beside=20) == 20
    assert door.queue.redis("ZCARD", keys.weights[keys.jobs]) == 0


def test_weights_of_a_redis_that_lost_them_count_as_photographs(door: Door) -> None:
    assert door.count(cost=5, bound=20, bound_beside=20) == 4
    door.queue.redis("DEL", door.queue.keys.weights[door.queue.keys.jobs])
    assert door.count(cost=1, bound=20, bound_beside=20) == 16


def test_expensive_jobs_do_not_take_the_room_of_the_others(door: Door) -> None:
    assert door.count(is_expensive=True, cost=100, bound=300, bound_beside=300) == 3
    assert door.count(cost=1, bound=20, bound_beside=10) == 10
    door.queue.redis("XTRIM", door.queue.keys.expensive, "MAXLEN", 0)
    assert door.count(cost=1, bound=20, bound_beside=10) == 10


def test_while_others_wait_the_share_that_was_used_up_is_owed(door: Door) -> None:
    keys, terms = door.queue.keys, {"cost": 1000.0, "bound": 1500.0, "bound_beside": 1500.0, "share_per_ms": 0.001}
    door.enter(is_expensive=True, **terms)
    door.queue.redis("DEL", keys.expensive)  # it is done
    door.enter()
    with pytest.raises(QueueFull):
        door.enter(is_expensive=True, **terms)
    door.queue.redis("DEL", keys.jobs)
    door.enter(is_expensive=True, **terms)


def test_what_is_owed_is_forgotten_in_time(door: Door) -> None:
    terms = {"cost": 100.0, "bound": 150.0, "bound_beside": 150.0, "share_per_ms": 1.0}
    door.enter(is_expensive=True, **terms)
    assert 0 < door.queue.redis("PTTL", door.queue.keys.owed) <= 100


class Side:
    """A live worker that is no more than listed, and a producer that knows it, for expensive images."""

    SECOND = 1000

    def __init__(self, queue: QueueProbe) -> None:
        queue.announce(rate=200.0, slowness=1.0, decode_budget_s=2.0)
        self.queue = queue
        self.producer = queue.producer()
        self.producer.refresh()

    def depth(self) -> int:
        depth: int = self.queue.redis("XLEN", self.queue.keys.expensive)
        return depth

    @contextmanager
    def flooded(self) -> Iterator[set[type[Exception] | None]]:
        """Ask like `ask_in_vain` again and again inside the block, from several threads; yield what is raised."""
        found, stop = set[type[Exception] | None](), threading.Event()

        def ask() -> None:
            while not stop.wait(0.01):
                found.add(self.ask_in_vain())

        with ThreadPoolExecutor(8) as pool:
            asking = [pool.submit(ask) for _ in range(8)]
            try:
                yield found
            finally:
                stop.set()
        for each in asking:
            each.result()

    def ask_in_vain(self) -> type[Exception] | None:
        """Ask for an expensive image, which no worker answers; return what is raised."""
        try:
            self.producer.submit("cat.jpg", timeout_s=2.0, decode_ms=self.SECOND)
        except (DeadlineExceeded, QueueFull) as fault:
            return type(fault)
        return None

    def is_known_to_be_full(self, decode_ms: int = SECOND) -> bool:
        """Return whether a job like those of `ask_in_vain` is refused without asking Redis."""
        try:
            self.producer.check_expensive(decode_ms, 2.0)
        except QueueFull:
            return True
        return False


@pytest.fixture
def side(queue: QueueProbe) -> Side:
    return Side(queue)


def test_as_many_large_photographs_at_once_as_are_done_in_time_are_let_in(side: Side) -> None:
    # 32 photographs of 12 megapixels cost more than what is done in a quarter of the deadline, and less than all of it.
    consumer = side.queue.consumer("worker")
    with ThreadPoolExecutor(32) as pool:
        while True:
            asking = [pool.submit(side.producer.submit, "cat.jpg", timeout_s=5.0, decode_ms=60) for _ in range(32)]
            wait_until(lambda: side.queue.depth() == 32 or any(map(Future.done, asking)), "all are in the queue")  # noqa: B023 - called now
            bound, depth, fault = side.producer.refresh().bound, side.producer.depth(), side.producer.room_fault()
            while side.queue.depth():
                consumer.answer([(delivery, answer_for(delivery.job)) for delivery in consumer.receive(8, 100)])
            faults = {type(each.exception()) for each in asking}
            if faults != {DeadlineExceeded, type(None)}:  # the machine stood still for longer than the deadline
                break
    assert faults == {type(None)}
    assert depth > bound
    assert fault is None


def test_an_expensive_job_is_answered_from_its_own_stream(side: Side) -> None:
    consumer = side.queue.consumer("expensive", is_expensive=True)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(side.producer.submit, "cat.jpg", timeout_s=WAIT_S, decode_ms=Side.SECOND)
        wait_until(lambda: side.depth() == 1, "the job is in its stream")
        assert side.queue.depth() == 0
        [delivery] = consumer.receive(8, 1000)
        assert delivery.decode_ms == Side.SECOND
        consumer.answer([(delivery, answer_for(delivery.job))])
        assert asking.result().predictions
    assert side.depth() == 0


def test_a_job_like_one_that_was_refused_is_known_to_find_no_room_until_another_one_ends(side: Side) -> None:
    assert not side.is_known_to_be_full()
    with side.flooded() as found:
        wait_until(side.is_known_to_be_full, "one of them is refused")
        assert not side.is_known_to_be_full(decode_ms=100)  # goes to the other stream

        def has_room_once_it_ends() -> bool:
            side.queue.redis("XTRIM", side.queue.keys.expensive, "MAXLEN", 0)
            side.producer.refresh()
            return not side.is_known_to_be_full()

        # Another job, or one that Redis lost and the producer submits again, may come between.
        wait_until(has_room_once_it_ends, "another one ends")
    assert found == {DeadlineExceeded, QueueFull}


def test_a_refusal_is_forgotten_where_nothing_changes(side: Side) -> None:
    with side.flooded():
        wait_until(side.is_known_to_be_full, "one of them is refused")
    wait_until(lambda: not side.is_known_to_be_full(), "the refusal is forgotten")


def test_an_expensive_job_that_nobody_waits_for_any_more_is_taken_back(side: Side) -> None:
    with pytest.raises(DeadlineExceeded):
        side.producer.submit("cat.jpg", timeout_s=0.05, decode_ms=Side.SECOND)
    wait_until(lambda: side.depth() == 0, "the entry is deleted")


def test_an_expensive_job_that_redis_lost_is_submitted_again_to_its_stream(side: Side) -> None:
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(side.producer.submit, "cat.jpg", timeout_s=WAIT_S, decode_ms=Side.SECOND)
        wait_until(lambda: side.depth() == 1, "the job is in its stream")
        side.queue.redis("XTRIM", side.queue.keys.expensive, "MAXLEN", 0)
        wait_until(lambda: side.depth() == 1, "the job is there again")
        consumer = side.queue.consumer("expensive", is_expensive=True)
        [delivery] = consumer.receive(8, 1000)
        consumer.answer([(delivery, answer_for(delivery.job))])
        assert asking.result().predictions


def test_the_expensive_job_of_a_dead_worker_is_taken_over(side: Side) -> None:
    side.queue.add("cat.jpg", is_expensive=True)
    assert len(side.queue.consumer("dead", is_expensive=True).receive(1, 1000)) == 1
    heir = side.queue.consumer("heir", is_expensive=True, lease_ms=50)
    found: list[Delivery] = []

    def is_taken_over() -> bool:
        found.extend(heir.receive(1, 50))
        return bool(found)

    wait_until(is_taken_over, "the job is taken over")
    assert [(each.job.image, each.deliveries) for each in found] == [("cat.jpg", 2)]


def test_a_consumer_of_usual_jobs_takes_no_expensive_one(side: Side) -> None:
    side.queue.add("expensive.jpg", is_expensive=True)
    side.queue.add("usual.jpg")
    assert [each.job.image for each in side.queue.consumer().receive(8, 100)] == ["usual.jpg"]


def test_the_lease_of_an_expensive_job_is_kept(side: Side) -> None:
    consumer = side.queue.consumer("busy", is_expensive=True, lease_ms=200)
    side.queue.add("cat.jpg", is_expensive=True)
    consumer.receive(1, 1000)
    keeper = Leases(side.queue.address, [consumer], lambda job_ids: None)
    keeper.start()
    other = side.queue.consumer("idle", is_expensive=True)

    def idle_ms() -> int:
        [[_, _, idle_ms, _]] = side.queue.redis("XPENDING", side.queue.keys.expensive, GROUP, "-", "+", 10)
        return int(idle_ms)

    for _ in range(5):
        before = idle_ms()
        wait_until(lambda before=before: idle_ms() > before, "time passes")  # type: ignore[misc]
        wait_until(lambda: idle_ms() < 100, "the lease is renewed")
        assert other.receive(1, 1) == []
    keeper.stop()


def test_an_expensive_job_that_no_worker_holds_returns_to_the_workers(side: Side) -> None:
    keys = side.queue.keys
    side.queue.add("orphan.jpg", is_expensive=True)
    side.queue.redis("XGROUP", "CREATE", keys.expensive, GROUP, "$")
    maintenance = Maintenance(side.queue.address, side.queue.name, "upkeep", lease_ms=50, max_batch_s=60)
    maintenance.sweep()
    maintenance.stop()
    assert side.queue.redis("XPENDING", keys.expensive, GROUP)[0] == 1


def test_an_expensive_job_for_later_is_found_and_cancelled_and_no_other_of_its_place(side: Side) -> None:
    jobs = AsyncJobs(side.producer, max_jobs=10)
    handle = jobs.enqueue("cat.jpg", timeout_s=60.0, decode_ms=Side.SECOND)
    entry = "-".join(handle.split("-")[1:3])
    side.queue.redis("XADD", side.queue.keys.jobs, entry, "job", b"of another")
    assert jobs.find(handle).reply is None
    jobs.cancel(handle)
    assert (side.depth(), side.queue.depth()) == (0, 1)


def test_the_queue_is_seen_with_its_expensive_jobs(side: Side) -> None:
    side.queue.add("cat.jpg", is_expensive=True)
    time.sleep(0.05)
    state = side.producer.refresh()
    assert (state.depth, state.expensive_depth) == (0, 1)
    assert state.oldest_age_s >= 0.05


def test_floods_of_expensive_jobs_are_refused_beyond_their_share(side: Side) -> None:
    with ThreadPoolExecutor(8) as pool:
        side.queue.add("usual.jpg")
        asking = [
            pool.submit(side.producer.submit, f"{number}.jpg", timeout_s=3.0, decode_ms=Side.SECOND)
            for number in range(8)
        ]
        refused = [each for each in asking if isinstance(each.exception(), QueueFull)]
        # More are let in where one has waited for its three seconds before the last one comes.
        assert 1 <= len(refused) <= 7
