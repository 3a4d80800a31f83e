from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from sightline_testing.queue_probe import QueueProbe
from sightline_testing.waiting import WAIT_S, wait_until
from sightline_testing.workers import StandInWorker, answer_for
from wire import Consumer, Delivery, Failure, Job, QueueUnavailable
from wire.consumer import maintenance as module
from wire.consumer.maintenance import PAGE, Leases, Maintenance
from wire.messages import decode_reply
from wire.redis.keys import GROUP, time_ms

LEASE_MS = 150


def must_not_be_stuck(job_ids: list[str]) -> None:
    raise AssertionError(f"{job_ids} do not hang")


def take(queue: QueueProbe, consumer: Consumer) -> Delivery:
    queue.add("long.jpg", job_id="long")
    [delivery] = consumer.receive(1, 1000)
    return delivery


def deliveries(queue: QueueProbe) -> int:
    """Give how often the one pending entry was delivered."""
    [[_, _, _, count]] = queue.redis("XPENDING", queue.keys.jobs, GROUP, "-", "+", 10)
    return int(count)


def idle_ms(queue: QueueProbe) -> int:
    """Give for how long the one pending entry has been neither delivered nor renewed."""
    [[_, _, idle_ms, _]] = queue.redis("XPENDING", queue.keys.jobs, GROUP, "-", "+", 10)
    return int(idle_ms)


def test_a_long_batch_stays_with_its_worker_and_counts_as_one_delivery(queue: QueueProbe) -> None:
    consumer, rival = queue.consumer("slow", lease_ms=LEASE_MS), queue.consumer("rival")
    keeper = Leases(queue.address, [consumer], must_not_be_stuck)
    delivery = take(queue, consumer)
    keeper.start()
    for _ in range(15):
        before = idle_ms(queue)
        wait_until(lambda before=before: idle_ms(queue) > before, "time passes")  # type: ignore[misc]
        wait_until(lambda: idle_ms(queue) < LEASE_MS / 2, "the lease is renewed")
        assert rival.receive(1, 1) == []
    assert deliveries(queue) == 1
    keeper.stop()
    consumer.answer([(delivery, answer_for(delivery.job))])
    assert (queue.depth(), queue.pending()) == (0, 0)


def test_without_renewal_the_batch_goes_to_another(queue: QueueProbe) -> None:
    consumer, rival = queue.consumer("slow", lease_ms=LEASE_MS), queue.consumer("rival", lease_ms=LEASE_MS)
    take(queue, consumer)
    wait_until(lambda: rival.receive(1, 50), "the rival has claimed it")
    assert deliveries(queue) == 2


def test_a_batch_that_hangs_is_told_of_once_and_given_up(queue: QueueProbe) -> None:
    told: list[list[str]] = []
    consumer = Consumer(queue.address, queue.name, "hanging", lease_ms=LEASE_MS, max_batch_s=0.2)
    keeper = Leases(queue.address, [consumer], told.append)
    take(queue, consumer)
    keeper.start()
    rival = queue.consumer("rival", lease_ms=LEASE_MS)
    wait_until(lambda: rival.receive(1, 50), "the rival has claimed it")
    wait_until(lambda: told, "the batch counts as hanging")
    keeper.stop()
    assert told == [["long"]]
    consumer.close()


def test_consumers_of_workers_that_went_are_reaped_but_never_with_work(
    queue: QueueProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REAP_AFTER_MS", 200)
    monkeypatch.setattr(module, "REAP_EVERY_S", 0.01)
    consumer = queue.consumer("living")
    consumer.receive(1, 1)
    for name in ("gone", "gone-with-work"):
        queue.redis("XGROUP", "CREATECONSUMER", queue.keys.jobs, GROUP, name)
    queue.add()
    queue.redis("XREADGROUP", "GROUP", GROUP, "gone-with-work", "STREAMS", queue.keys.jobs, ">")
    keeper = Leases(queue.address, [consumer], must_not_be_stuck)
    keeper.start()

    def names() -> set[bytes]:
        return {consumer[1] for consumer in queue.redis("XINFO", "CONSUMERS", queue.keys.jobs, GROUP)}

    wait_until(lambda: b"gone" not in names(), "the idle consumer is reaped")
    keeper.stop()
    assert b"gone-with-work" in names()
    assert queue.pending() == 1


def test_a_consumer_that_idles_for_hours_does_not_look_gone(queue: QueueProbe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REAP_EVERY_S", 0.01)
    consumer = queue.consumer("idle")
    queue.add()
    [delivery] = consumer.receive(1, 1000)
    consumer.answer([(delivery, answer_for(delivery.job))])

    def idle_ms() -> int:
        [consumer] = queue.redis("XINFO", "CONSUMERS", queue.keys.jobs, GROUP)
        return int(consumer[5])

    queue.add("next.jpg")
    wait_until(lambda: idle_ms() > 100, "it idles")
    keeper = Leases(queue.address, [consumer], must_not_be_stuck)
    keeper.start()
    wait_until(lambda: idle_ms() < 100, "it shows that it lives")
    keeper.stop()
    assert queue.pending() == 0


def test_a_worker_without_consumers_is_refused(queue: QueueProbe) -> None:
    with pytest.raises(ValueError, match="at least one consumer"):
        Leases(queue.address, [], must_not_be_stuck)


def test_waiting_for_redis_with_an_answer_in_hand_is_not_hanging(queue: QueueProbe) -> None:
    consumer = Consumer(queue.address, queue.name, "answering", lease_ms=LEASE_MS, max_batch_s=0.05)
    delivery = take(queue, consumer)
    wait_until(lambda: consumer.stuck(time.monotonic()) == ["long"], "the batch has exceeded its time")
    queue.server.pause()
    answering = threading.Thread(target=consumer.answer, args=([(delivery, answer_for(delivery.job))],))
    answering.start()
    wait_until(lambda: consumer.stuck(time.monotonic()) == [], "it counts as answering")
    queue.server.resume()
    answering.join(WAIT_S)
    assert queue.depth() == 0
    consumer.close()


HOUR_MS = 3_600_000


def maintenance(queue: QueueProbe, *, lease_ms: int = 60_000, max_batch_s: float = 60.0) -> Maintenance:
    return Maintenance(queue.address, queue.name, "upkeep", lease_ms=lease_ms, max_batch_s=max_batch_s)


def orphan(queue: QueueProbe, count: int = 1, *, ttl_ms: int = 60_000) -> None:
    """Leave delivered jobs that no consumer holds."""
    for number in range(count):
        queue.add(f"{number}.jpg", ttl_ms=ttl_ms)
    forget(queue)
    assert (queue.depth(), queue.pending()) == (count, 0)


def deliver(queue: QueueProbe, consumer: str) -> None:
    """Give all that waits to a consumer that never answers."""
    if not queue.redis("XINFO", "GROUPS", queue.keys.jobs):
        queue.redis("XGROUP", "CREATE", queue.keys.jobs, GROUP, "0")
    queue.redis("XREADGROUP", "GROUP", GROUP, consumer, "COUNT", 10_000, "STREAMS", queue.keys.jobs, ">")


def forget(queue: QueueProbe) -> None:
    """Deliver all that waits, and delete the consumer that holds it."""
    deliver(queue, "deleted")
    queue.redis("XGROUP", "DELCONSUMER", queue.keys.jobs, GROUP, "deleted")


def sweep(upkeep: Maintenance, times: int = 1) -> None:
    for _ in range(times):
        upkeep.sweep()
    upkeep.stop()


def sweep_until_empty(upkeep: Maintenance, queue: QueueProbe) -> None:
    """Sweep again and again, as the thread does."""

    def is_empty() -> bool:
        upkeep.sweep()
        return queue.depth() == 0

    wait_until(is_empty, "the queue is empty")
    upkeep.stop()


def failures(queue: QueueProbe) -> list[str]:
    replies = [decode_reply(kind, data) for kind, data in queue.replies()]
    return [reply.code for reply in replies if isinstance(reply, Failure)]


def test_orphans_within_their_deadline_are_done(queue: QueueProbe) -> None:
    orphan(queue, 5)
    with StandInWorker(queue.address, queue.name, lease_ms=200):
        sweep(maintenance(queue, lease_ms=200))
        wait_until(lambda: queue.depth() == 0, "the orphans are done")
    assert sorted(decode_reply(*reply).id for reply in queue.replies()) == [f"{number}.jpg" for number in range(5)]
    assert failures(queue) == []


def test_orphans_past_their_deadline_are_ended_and_whoever_asked_is_told(queue: QueueProbe) -> None:
    count = 2 * PAGE + 50
    orphan(queue, count, ttl_ms=1)
    sweep(maintenance(queue))
    assert (queue.depth(), queue.pending()) == (0, 0)
    assert failures(queue) == ["expired"] * count


@pytest.mark.parametrize("fields", [["job", b"hostile"], ["other", b"x"], ["job", b"", "job", b""]])
def test_orphans_that_cannot_be_read_become_dead_letters(queue: QueueProbe, fields: list[str | bytes]) -> None:
    queue.redis("XADD", queue.keys.jobs, "*", *fields)
    forget(queue)
    sweep(maintenance(queue))
    assert queue.depth() == 0
    assert [b"undecodable" in letter[b"reason"] for letter in queue.dead_letters()] == [True]


def test_what_waits_and_what_is_in_hand_is_left_alone(queue: QueueProbe) -> None:
    queue.add("held.jpg", ttl_ms=1)
    queue.add("held-too.jpg")
    deliver(queue, "slow")
    queue.add("waiting.jpg", ttl_ms=1)
    before = queue.redis("XPENDING", queue.keys.jobs, GROUP), queue.jobs()
    sweep(maintenance(queue), 3)
    assert (queue.redis("XPENDING", queue.keys.jobs, GROUP), queue.jobs()) == before
    assert queue.replies() == []


def test_without_a_stream_or_a_group_there_is_nothing_to_do(queue: QueueProbe) -> None:
    sweep(maintenance(queue))
    queue.add("early.jpg", ttl_ms=1)
    sweep(maintenance(queue))
    assert queue.depth() == 1


def test_orphans_from_before_the_clock_was_set_back_are_done(queue: QueueProbe) -> None:
    add_ahead(queue, ttl_ms=60_000)
    forget(queue)
    with StandInWorker(queue.address, queue.name, lease_ms=200):
        sweep_until_empty(maintenance(queue, lease_ms=200), queue)
    assert failures(queue) == []


def test_what_a_dead_worker_held_is_ended_where_the_clock_was_set_back(queue: QueueProbe) -> None:
    """Redis then reports an idle time of zero, until its clock has caught up."""
    entry_id = add_ahead(queue, ttl_ms=100)
    deliver(queue, "dead")
    upkeep = maintenance(queue, lease_ms=1, max_batch_s=0.1)

    def is_ended() -> bool:
        queue.redis("XCLAIM", queue.keys.jobs, GROUP, "dead", 0, entry_id, "IDLE", 0, "JUSTID")
        upkeep.sweep()
        return queue.depth() == 0

    wait_until(is_ended, "it is ended")
    upkeep.stop()
    assert (queue.pending(), failures(queue)) == (0, ["expired"])


def add_ahead(queue: QueueProbe, *, ttl_ms: int) -> str:
    """Add a job as Redis did before its clock was set back by an hour."""
    ahead = time_ms(queue.redis("TIME")) + HOUR_MS
    job = Job("early", "early.jpg", "producer", ttl_ms)
    entry_id: bytes = queue.redis("XADD", queue.keys.jobs, f"{ahead}-0", "job", job.encode())
    return entry_id.decode()


def test_many_entries_of_dead_workers_are_ended_without_a_pause(queue: QueueProbe) -> None:
    """A consumer that finds more to claim than it does in one go does not wait half a lease each time."""
    consumer = queue.consumer(lease_ms=60_000)
    for number in range(200):
        queue.add(f"{number}.jpg", ttl_ms=1)
    deliver(queue, "dead")
    pending = [entry_id for entry_id, *_ in queue.redis("XPENDING", queue.keys.jobs, GROUP, "-", "+", 200)]
    queue.redis("XCLAIM", queue.keys.jobs, GROUP, "dead", 0, *pending, "IDLE", 120_000, "JUSTID")
    for _ in range(20):
        assert consumer.receive(8, 0) == []
    assert (queue.depth(), queue.pending()) == (0, 0)


def test_every_job_is_done_while_consumers_are_deleted_under_their_jobs(queue: QueueProbe) -> None:
    count = 60
    upkeep = maintenance(queue, lease_ms=100)
    queue.redis("XGROUP", "CREATE", queue.keys.jobs, GROUP, "0", "MKSTREAM")
    with StandInWorker(queue.address, queue.name, lease_ms=100, max_jobs=4) as worker:
        for number in range(count):
            queue.add(f"{number}.jpg")
            if number % 5 == 0:
                queue.redis("XGROUP", "DELCONSUMER", queue.keys.jobs, GROUP, worker.consumer.name)
            time.sleep(0.001)  # some are taken between two deletions
        sweep_until_empty(upkeep, queue)
    answered = {decode_reply(*reply).id for reply in queue.replies()}
    assert answered == {f"{number}.jpg" for number in range(count)}
    assert failures(queue) == []


def test_a_thread_sweeps_at_once_and_survives_a_redis_that_is_away(start_redis: Callable[..., QueueProbe]) -> None:
    queue = start_redis("--appendonly", "yes")
    orphan(queue, ttl_ms=1)
    upkeep = maintenance(queue)
    queue.server.stop()
    with pytest.raises(QueueUnavailable):
        upkeep.sweep()
    upkeep.start()
    queue.server.start()
    wait_until(lambda: queue.depth() == 0, "the orphan is ended")
    upkeep.stop()
