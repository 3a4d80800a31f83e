from __future__ import annotations

import threading
import time

import pytest

from sightline_testing.queue_probe import QueueProbe
from sightline_testing.waiting import WAIT_S, wait_until
from sightline_testing.workers import answer_for
from wire import Consumer, Delivery
from wire.consumer import maintenance
from wire.consumer.maintenance import Leases
from wire.redis.keys import GROUP

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


def test_a_long_batch_stays_with_its_worker_and_counts_as_one_delivery(queue: QueueProbe) -> None:
    consumer, rival = queue.consumer("slow", lease_ms=LEASE_MS), queue.consumer("rival", lease_ms=LEASE_MS * 10)
    keeper = Leases(queue.address, [consumer], must_not_be_stuck)
    delivery = take(queue, consumer)
    keeper.start()
    until = time.monotonic() + LEASE_MS / 1000 * 15
    while time.monotonic() < until:
        assert rival.receive(1, 50) == []
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
    keeper.stop()
    assert told == [["long"]]
    consumer.close()


def test_consumers_of_workers_that_went_are_reaped_but_never_with_work(
    queue: QueueProbe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "REAP_AFTER_MS", 200)
    monkeypatch.setattr(maintenance, "REAP_EVERY_S", 0.01)
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


def test_a_lane_that_idles_for_hours_does_not_look_gone(queue: QueueProbe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "REAP_EVERY_S", 0.01)
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


def test_a_worker_without_lanes_is_refused(queue: QueueProbe) -> None:
    with pytest.raises(ValueError, match="at least one consumer"):
        Leases(queue.address, [], must_not_be_stuck)


def test_waiting_for_redis_with_an_answer_in_hand_is_not_hanging(queue: QueueProbe) -> None:
    consumer = Consumer(queue.address, queue.name, "answering", lease_ms=LEASE_MS, max_batch_s=0.05)
    delivery = take(queue, consumer)
    wait_until(lambda: consumer.stuck(time.monotonic()) == ["long"], "the batch is over its time")
    queue.server.pause()
    answering = threading.Thread(target=consumer.answer, args=([(delivery, answer_for(delivery.job))],))
    answering.start()
    wait_until(lambda: consumer.stuck(time.monotonic()) == [], "it counts as answering")
    queue.server.resume()
    answering.join(WAIT_S)
    assert queue.depth() == 0
    consumer.close()
