from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from sightline_testing.queue_probe import QueueProbe
from sightline_testing.redis_server import free_port
from sightline_testing.waiting import WAIT_S, wait_until
from sightline_testing.workers import StandInWorker, answer_for
from wire import (
    Address,
    Answer,
    Delivery,
    Failure,
    JobFailed,
    Producer,
    QueueFull,
    QueueUnavailable,
    WireError,
    WorkerInfo,
    queue_stats,
)
from wire.errors import Abandoned, DeadlineExceeded, NoWorker
from wire.queue_stats import Admission, QueueStats
from wire.redis.keys import GROUP, time_ms


def known(producer: Producer) -> None:
    """Wait until the producer has seen a live worker."""
    wait_until(lambda: (state := producer.snapshot()) is not None and state.workers, "the worker is known")


def fault_of(call: Callable[[], object]) -> WireError | None:
    try:
        call()
    except WireError as error:
        return error
    return None


def test_an_answer_comes_back_as_the_worker_gave_it(queue: QueueProbe) -> None:
    producer = queue.producer()
    with StandInWorker(queue.address, queue.name) as worker:
        answer = producer.submit("cat.jpg", timeout_s=WAIT_S, top_k=2, traceparent="00-trace", job_id="my-own-id")
    [delivery] = worker.seen
    assert (delivery.job.id, delivery.job.image, delivery.job.top_k) == ("my-own-id", "cat.jpg", 2)
    assert delivery.job.traceparent == "00-trace"
    assert 0 < delivery.job.ttl_ms <= WAIT_S * 1000
    assert answer == answer_for(delivery.job)


def test_a_failure_is_raised_with_its_code_and_detail(queue: QueueProbe) -> None:
    def refuse(delivery: Delivery) -> Failure:
        return Failure(delivery.job.id, "image_broken", "the JPEG ends early")

    with StandInWorker(queue.address, queue.name, refuse), pytest.raises(JobFailed, match="ends early") as caught:
        queue.producer().submit("cat.jpg", timeout_s=WAIT_S)
    assert caught.value.failure.code == "image_broken"


def test_many_callers_share_one_reader_and_nothing_is_left_behind(queue: QueueProbe) -> None:
    producer = queue.producer()
    images = [f"{number}.jpg" for number in range(400)]
    with StandInWorker(queue.address, queue.name), ThreadPoolExecutor(32) as pool:
        known(producer)
        answers = list(pool.map(lambda image: producer.submit(image, timeout_s=WAIT_S), images))
    assert [answer.predictions[0][0] for answer in answers] == images
    assert (queue.depth(), queue.pending()) == (0, 0)
    wait_until(lambda: all(queue.redis("XLEN", name) == 0 for name in queue.reply_streams()), "replies are trimmed")
    assert all(queue.redis("TTL", name) > 0 for name in queue.reply_streams())
    assert producer.counts().replies_dropped == 0
    producer.close()
    assert queue.reply_streams() == []


def test_an_asker_opens_nothing_until_it_is_used() -> None:
    before = threading.active_count()
    Producer(Address(host="203.0.113.1", port=free_port()), "test").close()
    assert threading.active_count() == before


def test_a_queue_name_that_could_leave_its_keys_is_refused() -> None:
    with pytest.raises(ValueError, match="queue name"):
        Producer(Address(), "a}b")


def test_a_job_id_that_is_waited_for_already_is_refused(queue: QueueProbe) -> None:
    queue.announce()
    producer = queue.producer()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(producer.submit, "cat.jpg", timeout_s=WAIT_S, job_id="same")
        wait_until(queue.depth, "the first is in the queue")
        with pytest.raises(ValueError, match="same"):
            producer.submit("dog.jpg", timeout_s=WAIT_S, job_id="same")
        producer.close()
        assert isinstance(first.exception(), QueueUnavailable)


def test_without_any_worker_a_job_is_not_even_queued(queue: QueueProbe) -> None:
    producer = queue.producer(worker_grace_s=0.0)
    wait_until(producer.snapshot, "the state is known")
    with pytest.raises(NoWorker):
        producer.submit("cat.jpg", timeout_s=WAIT_S)
    assert queue.depth() == 0


def test_a_worker_that_has_come_since_the_last_look_is_no_reason_to_refuse(queue: QueueProbe) -> None:
    producer = queue.producer(worker_grace_s=0.0)
    wait_until(producer.snapshot, "the state is known")
    queue.announce()
    with pytest.raises(DeadlineExceeded):  # the job was admitted, and no worker answers
        producer.submit("cat.jpg", timeout_s=0.2)


def test_a_worker_that_is_being_restarted_finds_the_jobs_that_came_meanwhile(queue: QueueProbe) -> None:
    producer = queue.producer(worker_grace_s=3600.0)
    with StandInWorker(queue.address, queue.name):
        known(producer)
    wait_until(lambda: not producer.refresh().workers, "the worker has left")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(producer.submit, "cat.jpg", timeout_s=WAIT_S)
        wait_until(queue.depth, "the job waits")
        with StandInWorker(queue.address, queue.name):
            assert answer.result(WAIT_S).predictions[0][0] == "cat.jpg"


def test_the_grace_begins_when_no_worker_is_found_not_when_one_was_last_seen(
    queue: QueueProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing is seen while the machine stands still, and after that this side may look before a worker has continued.
    now = [0.0]
    monkeypatch.setattr(queue_stats, "time", SimpleNamespace(monotonic=lambda: now[0]))
    stats = QueueStats(queue.address, queue.name, timeout_s=WAIT_S)
    assert not stats.has_workers_within(3.0)
    worker = WorkerInfo("w-1", "h", "m", "1", "p", seen_ms=2**62)
    monkeypatch.setattr(queue_stats, "live_workers", lambda published, now_ms: (worker,) if published else ())
    queue.redis("HSET", queue.keys.workers, worker.id, worker.encode())
    stats.refresh()
    now[0] = 100.0
    assert stats.has_workers_within(3.0)
    queue.redis("DEL", queue.keys.workers)
    stats.refresh()
    now[0] = 102.0
    stats.refresh()
    assert stats.has_workers_within(3.0)
    now[0] = 103.0
    assert not stats.has_workers_within(3.0)


def test_a_full_queue_refuses_with_its_depth_and_adds_nothing(queue: QueueProbe) -> None:
    queue.announce()
    for number in range(3):
        queue.add(f"{number}.jpg")
    with pytest.raises(QueueFull) as caught:
        queue.producer(max_queue_size=3).submit("cat.jpg", timeout_s=WAIT_S)
    assert (caught.value.depth, caught.value.bound) == (3, 3)
    assert 1.0 <= caught.value.retry_after_s <= 3.0
    assert queue.depth() == 3


def test_the_bound_holds_however_many_come_at_once(queue: QueueProbe) -> None:
    queue.announce()
    producer = queue.producer(max_queue_size=10)
    with ThreadPoolExecutor(32) as pool:
        faults = list(pool.map(lambda _: fault_of(lambda: producer.submit("cat.jpg", timeout_s=1.0)), range(64)))
    kinds = [type(fault) for fault in faults]
    assert kinds.count(DeadlineExceeded) >= 10
    assert set(kinds) == {DeadlineExceeded, QueueFull}


def test_the_depth_by_now_is_that_of_others_at_the_last_look_and_the_own_at_once(queue: QueueProbe) -> None:
    queue.announce()
    producer = queue.producer()
    for number in range(2):
        queue.add(f"{number}.jpg")
    assert (producer.refresh().depth, producer.depth()) == (2, 2)
    gone = threading.Event()
    with ThreadPoolExecutor(3) as pool:
        for number in range(3):
            pool.submit(producer.submit, f"own-{number}.jpg", timeout_s=WAIT_S, is_abandoned=gone.is_set)
        wait_until(lambda: producer.depth() == 5, "submitted jobs count immediately")
        wait_until(lambda: producer.in_flight() == 3, "all wait in the queue")
        assert (producer.refresh().depth, producer.depth()) == (5, 5)
        gone.set()
    assert producer.depth() == 2


def test_a_job_whose_caller_has_not_yet_heard_that_it_is_in_the_queue_is_nobody_elses(queue: QueueProbe) -> None:
    queue.announce()
    producer = queue.producer()

    @contextmanager
    def handed_in() -> Iterator[None]:
        queue.add("own.jpg")
        assert (producer.refresh().depth, producer.depth()) == (1, 1)
        yield

    with pytest.raises(DeadlineExceeded):
        producer.submit("own.jpg", timeout_s=0.2, admission=handed_in())


def test_what_is_asked_or_answered_while_a_look_is_under_way_is_later_than_it(queue: QueueProbe) -> None:
    own, looked = [2], threading.Event()
    for number in range(3):
        queue.add(f"{number}.jpg")

    def count() -> int:
        looked.set()
        return own[0]

    stats = QueueStats(queue.address, queue.name, timeout_s=WAIT_S, admission=Admission(own=count))
    queue.server.pause()
    try:
        with ThreadPoolExecutor(1) as pool:
            look = pool.submit(stats.refresh)
            assert looked.wait(WAIT_S)
            own[0], later = 3, time.monotonic()
            queue.server.resume()
    finally:
        queue.server.resume()
    assert look.result().as_of < later
    assert stats.depth() == 1 + 3  # one of the three was of others


def test_an_image_that_takes_long_to_decode_counts_as_many(queue: QueueProbe) -> None:
    queue.announce()
    producer = queue.producer(max_queue_size=10)
    queue.add()
    with pytest.raises(QueueFull):
        producer.submit("cat.jpg", timeout_s=WAIT_S, decode_ms=182)
    with StandInWorker(queue.address, queue.name):
        assert producer.submit("cat.jpg", timeout_s=WAIT_S, decode_ms=162)


def test_a_job_that_costs_more_than_the_bound_enters_an_empty_queue(queue: QueueProbe) -> None:
    with StandInWorker(queue.address, queue.name):
        assert queue.producer(max_queue_size=10).submit("cat.jpg", timeout_s=WAIT_S, decode_ms=250)


def test_a_redis_without_memory_is_a_full_queue(queue: QueueProbe) -> None:
    queue.announce()
    producer = queue.producer()
    producer.refresh()
    queue.redis("CONFIG", "SET", "maxmemory", 1)
    try:
        with pytest.raises(QueueFull, match="Redis is out of memory and takes no more jobs") as caught:
            producer.submit("cat.jpg", timeout_s=WAIT_S)
        assert "0 jobs" not in str(caught.value)
    finally:
        queue.redis("CONFIG", "SET", "maxmemory", 0)


def test_a_job_whose_deadline_has_passed_is_taken_back(queue: QueueProbe) -> None:
    queue.announce()
    with pytest.raises(DeadlineExceeded):
        queue.producer().submit("cat.jpg", timeout_s=0.05)
    wait_until(lambda: queue.depth() == 0, "the entry is deleted")


def test_a_job_that_the_worker_found_expired_is_a_deadline_too(queue: QueueProbe) -> None:
    def expire(delivery: Delivery) -> Failure:
        return Failure(delivery.job.id, "expired", "")

    with StandInWorker(queue.address, queue.name, expire), pytest.raises(DeadlineExceeded):
        queue.producer().submit("cat.jpg", timeout_s=WAIT_S)


def test_a_job_whose_caller_has_gone_is_taken_back(queue: QueueProbe) -> None:
    queue.announce()
    gone = threading.Event()
    producer = queue.producer()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(producer.submit, "cat.jpg", timeout_s=WAIT_S, is_abandoned=gone.is_set)
        wait_until(queue.depth, "the job waits")
        gone.set()
        assert isinstance(waiting.exception(WAIT_S), Abandoned)
    wait_until(lambda: queue.depth() == 0, "the entry is deleted")


def test_second_and_unknown_replies_are_counted_and_dropped(queue: QueueProbe) -> None:
    producer = queue.producer()

    def answer_twice(delivery: Delivery) -> Answer:
        reply = answer_for(delivery.job)
        key = queue.keys.replies(delivery.job.reply_to)
        queue.redis("XADD", key, "*", "answer", reply.encode())
        queue.redis("XADD", key, "*", "answer", Answer("nobody", (), "m", "1").encode())
        queue.redis("XADD", key, "*", "answer", b"\xff")
        return reply

    with StandInWorker(queue.address, queue.name, answer_twice):
        assert producer.submit("cat.jpg", timeout_s=WAIT_S)
        wait_until(lambda: producer.counts().replies == 4, "all four are read")
    assert (producer.counts().replies_dropped, producer.counts().replies_unreadable) == (2, 1)


def test_redis_that_is_not_there_is_unavailable_for_every_call() -> None:
    producer = Producer(Address(port=free_port()), "test")
    with pytest.raises(QueueUnavailable):
        producer.submit("cat.jpg", timeout_s=WAIT_S)
    with pytest.raises(QueueUnavailable):
        producer.refresh()
    assert producer.snapshot() is None
    with pytest.raises(QueueUnavailable):
        producer.submit("cat.jpg", timeout_s=WAIT_S)
    producer.close()


def test_redis_that_hangs_is_unavailable_for_all_who_come(queue: QueueProbe) -> None:
    producer = queue.producer(redis_timeout_s=0.1)
    queue.server.pause()
    try:
        with ThreadPoolExecutor(32) as pool:
            faults = list(pool.map(lambda _: fault_of(lambda: producer.submit("cat.jpg", timeout_s=WAIT_S)), range(64)))
    finally:
        queue.server.resume()
    assert {type(fault) for fault in faults} == {QueueUnavailable}


def test_a_connection_that_redis_closed_costs_no_request(queue: QueueProbe) -> None:
    producer = queue.producer()
    with StandInWorker(queue.address, queue.name):
        known(producer)
        producer.submit("before.jpg", timeout_s=WAIT_S)
        for _ in range(3):
            producer.refresh()  # no connection is still mending what the last kill did to it
            queue.server.command("CLIENT", "KILL", "TYPE", "normal")
            producer.submit("after.jpg", timeout_s=WAIT_S)


def test_a_script_that_redis_forgot_is_sent_again(queue: QueueProbe) -> None:
    producer = queue.producer()
    with StandInWorker(queue.address, queue.name):
        known(producer)
        producer.submit("before.jpg", timeout_s=WAIT_S)
        queue.redis("SCRIPT", "FLUSH")
        producer.submit("after.jpg", timeout_s=WAIT_S)


def test_the_state_tells_depth_age_workers_and_what_they_serve(queue: QueueProbe) -> None:
    producer = queue.producer(timeout_s=2.0)
    empty = producer.refresh()
    assert (empty.depth, empty.oldest_age_s, empty.workers, empty.labels, empty.model) == (0, 0.0, (), (), "")
    release = threading.Event()

    def hold(delivery: Delivery) -> Answer:
        release.wait(WAIT_S)
        return answer_for(delivery.job)

    queue.add("old.jpg")
    with StandInWorker(queue.address, queue.name, hold):
        known(producer)
        wait_until(lambda: producer.refresh().oldest_age_s > 0, "the oldest ages")
        state = producer.refresh()
        release.set()
        wait_until(lambda: producer.refresh().rate > 0, "the rate is published")
    assert (state.depth, state.model, state.version, state.preprocessing) == (1, "stand-in", "1", "none")
    assert state.labels == ("tabby", "tiger cat", "carpenter's kit")
    assert [info.id for info in state.workers] == ["stand-in"]
    assert state.as_of <= time.monotonic()


def test_closing_fails_whoever_still_waits(queue: QueueProbe) -> None:
    queue.announce()
    producer = queue.producer()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(producer.submit, "cat.jpg", timeout_s=WAIT_S)
        wait_until(queue.depth, "the job waits")
        producer.close()
        assert isinstance(waiting.exception(WAIT_S), QueueUnavailable)


def test_the_queue_keeps_no_consumer_group_of_its_own_for_replies(queue: QueueProbe) -> None:
    producer = queue.producer()
    with StandInWorker(queue.address, queue.name):
        producer.submit("cat.jpg", timeout_s=WAIT_S)
        assert [group[1] for group in queue.redis("XINFO", "GROUPS", queue.keys.jobs)] == [GROUP.encode()]
        assert all(queue.redis("XINFO", "GROUPS", name) == [] for name in queue.reply_streams())


def test_admission_is_held_while_the_job_is_added_and_no_longer(queue: QueueProbe) -> None:
    steps: list[str] = []

    @contextmanager
    def admission() -> Iterator[None]:
        steps.append(f"before: {queue.depth()}")
        yield
        steps.append(f"after: {queue.depth()}")

    queue.announce()
    with pytest.raises(DeadlineExceeded):
        queue.producer().submit("cat.jpg", timeout_s=0.5, admission=admission())
    assert steps == ["before: 0", "after: 1"]


def test_what_keeps_a_job_out_passes_through_its_admission(queue: QueueProbe) -> None:
    faults: list[str] = []

    @contextmanager
    def admission() -> Iterator[None]:
        try:
            yield
        except WireError as fault:
            faults.append(type(fault).__name__)
            raise

    producer = queue.producer(worker_grace_s=0.0)
    wait_until(producer.snapshot, "the state is known")
    with pytest.raises(NoWorker):
        producer.submit("cat.jpg", timeout_s=WAIT_S, admission=admission())
    assert faults == ["NoWorker"]


def test_room_is_judged_before_a_submission_as_the_script_judges_it(queue: QueueProbe) -> None:
    queue.announce()
    producer = queue.producer(max_queue_size=10)
    for _ in range(2):
        queue.add(cost=4.0)
    assert (producer.refresh().depth, producer.depth()) == (8, 8)
    assert producer.room_fault(2) is None
    refusal = producer.room_fault(3)
    assert refusal is not None
    assert (refusal.depth, refusal.bound) == (8, 10)
    assert 1.0 <= refusal.retry_after_s <= 3.0


def test_an_empty_queue_has_room_for_any_number_of_jobs_and_so_has_one_of_unknown_state(queue: QueueProbe) -> None:
    producer = queue.producer(max_queue_size=10)
    assert producer.room_fault(11) is None
    producer.refresh()
    assert producer.room_fault(11) is None


def test_weights_of_jobs_that_are_gone_do_not_close_the_queue_before_a_submission(queue: QueueProbe) -> None:
    queue.announce()
    producer = queue.producer(max_queue_size=10)
    entries = [queue.add(cost=4.0) for _ in range(2)]
    queue.redis("XDEL", queue.keys.jobs, *entries)
    for _ in range(3):
        queue.add()
    assert producer.refresh().depth == 3
    assert producer.room_fault(7) is None


def test_what_a_submission_finds_is_known_at_once(queue: QueueProbe) -> None:
    queue.announce()
    stats = QueueStats(queue.address, queue.name, timeout_s=WAIT_S)
    stats.refresh()
    assert stats.depth() == 0
    stats.found = 5, 2
    assert stats.depth() == 3


def test_the_workers_are_read_once_a_second_and_the_depth_each_time(
    queue: QueueProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_stats, "WORKERS_EVERY_S", 3600.0)
    stats = QueueStats(queue.address, queue.name, timeout_s=WAIT_S)
    assert stats.refresh(workers=False).workers == ()
    worker = WorkerInfo("w-1", "h", "m", "1", "p", seen_ms=time_ms(queue.redis("TIME")))
    queue.redis("HSET", queue.keys.workers, worker.id, worker.encode())
    assert len(stats.refresh(workers=False).workers) == 1  # while none is known, they are read each time
    queue.redis("DEL", queue.keys.workers)
    queue.add()
    seen = stats.refresh(workers=False)
    assert (len(seen.workers), seen.depth, seen.jobs) == (1, 1, 1)
    assert stats.refresh().workers == ()
