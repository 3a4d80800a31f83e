from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from sightline_testing.queue_probe import QueueProbe
from sightline_testing.waiting import WAIT_S, wait_until
from sightline_testing.workers import answer_for
from wire import Answer, Consumer, Delivery, Failure, Job, QueueUnavailable
from wire.messages import decode_reply
from wire.redis.keys import GROUP
from wire.redis.resp import pack

SHORT_LEASE_MS = 50


def receive(consumer: Consumer, max_jobs: int = 8) -> list[Delivery]:
    """Wait until the consumer is given something."""
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        if batch := consumer.receive(max_jobs, 50):
            return batch
    raise AssertionError("the consumer was given nothing")


def answer(consumer: Consumer, batch: list[Delivery]) -> None:
    consumer.answer([(each, answer_for(each.job)) for each in batch])


def images(batch: list[Delivery]) -> list[str]:
    return [each.job.image for each in batch]


def decoded(replies: list[list[bytes]]) -> list[Answer | Failure]:
    return [decode_reply(kind, data) for kind, data in replies]


def calls(queue: QueueProbe) -> dict[str, int]:
    """Count the commands that Redis has run since the last reset, by name."""
    text = queue.server.command("INFO", "commandstats").decode()
    found = re.findall(r"cmdstat_([a-z|]+):calls=(\d+)", text)
    return {name.replace("xgroup|create", "xgroup"): int(count) for name, count in found}


def test_jobs_come_oldest_first_and_never_more_than_asked_for(queue: QueueProbe) -> None:
    consumer = queue.consumer()
    for number in range(5):
        queue.add(f"{number}.jpg")
    assert images(receive(consumer, 2)) == ["0.jpg", "1.jpg"]
    assert images(receive(consumer, 8)) == ["2.jpg", "3.jpg", "4.jpg"]


def test_an_empty_queue_gives_an_empty_batch(queue: QueueProbe) -> None:
    consumer = queue.consumer()
    assert consumer.receive(8, 1) == []
    assert consumer.receive(8, 0) == []


def test_jobs_that_came_before_any_worker_are_done(queue: QueueProbe) -> None:
    queue.add("early.jpg")
    assert images(receive(queue.consumer())) == ["early.jpg"]


def test_an_answer_leaves_nothing_but_the_reply(queue: QueueProbe) -> None:
    consumer = queue.consumer()
    queue.add("a.jpg", job_id="1")
    queue.add("b.jpg", job_id="2", reply_to="other")
    batch = receive(consumer)
    assert queue.pending() == 2
    consumer.answer([(batch[0], answer_for(batch[0].job)), (batch[1], Failure("2", "image_broken", "ends early"))])
    assert (queue.depth(), queue.pending()) == (0, 0)
    assert decoded(queue.replies()) == [answer_for(batch[0].job)]
    assert decoded(queue.replies("other")) == [Failure("2", "image_broken", "ends early")]
    assert 0 < queue.redis("TTL", queue.keys.replies("producer")) <= 120


def test_a_batch_costs_one_round_trip_to_take_and_one_to_answer(queue: QueueProbe) -> None:
    consumer = queue.consumer(lease_ms=3_600_000)
    consumer.receive(8, 1)
    for number in range(8):
        queue.add(f"{number}.jpg")
    queue.server.command("CONFIG", "RESETSTAT")
    answer(consumer, receive(consumer))
    counted = calls(queue)
    once = ("xreadgroup", "time", "multi", "expire", "xack", "xdel")
    assert [counted[name] for name in once] == [1] * len(once)
    assert (counted["xadd"], counted["xlen"]) == (8, 2)
    assert not counted.keys() & {"xpending", "xclaim", "xgroup"}


def test_a_job_comes_with_the_number_of_jobs_in_the_queue_those_in_other_hands_and_expensive_ones_included(
    queue: QueueProbe,
) -> None:
    one, other = queue.consumer(lease_ms=3_600_000), queue.consumer("other", lease_ms=3_600_000)
    queue.add("a.jpg")
    lone = receive(one)
    queue.add("b.jpg")
    beside = receive(other)
    queue.add("c.jpg")
    queue.add("d.jpg")
    together = receive(one)
    assert [each.depth for each in lone + beside + together] == [1, 2, 4, 4]
    answer(one, lone + together)
    answer(other, beside)
    queue.redis("XADD", queue.keys.expensive, "*", "job", b"waits")
    queue.add("e.jpg")
    assert [each.depth for each in receive(one)] == [2]


def test_a_job_that_was_waited_for_comes_with_the_depth_of_the_moment_it_came(queue: QueueProbe) -> None:
    consumer = queue.consumer(lease_ms=3_600_000)
    found: list[Delivery] = []
    waiting = threading.Thread(target=lambda: found.extend(receive(consumer)))
    waiting.start()
    wait_until(lambda: b"cmd=xreadgroup" in queue.server.command("CLIENT", "LIST"), "the consumer waits")
    queue.add("late.jpg")
    waiting.join()
    assert [each.depth for each in found] == [1]


def test_a_reclaimed_job_comes_with_the_depth_too(queue: QueueProbe) -> None:
    queue.add("a.jpg")
    queue.add("b.jpg")
    receive(queue.consumer("dead", lease_ms=3_600_000))
    consumer = queue.consumer(lease_ms=SHORT_LEASE_MS)
    [first] = receive(consumer)
    assert (first.deliveries, first.depth) == (2, 2)
    answer(consumer, [first])
    [second] = receive(consumer)
    assert (second.deliveries, second.depth) == (2, 1)


def test_an_expired_job_is_dropped_and_its_caller_told(queue: QueueProbe) -> None:
    consumer = queue.consumer()
    queue.add("late.jpg", job_id="late", ttl_ms=1)
    wait_until(lambda: queue.redis("TIME"), "the clock has moved")
    time.sleep(0.01)
    queue.add("good.jpg")
    assert images(receive(consumer)) == ["good.jpg"]
    [failure] = decoded(queue.replies())
    assert isinstance(failure, Failure)
    assert (failure.id, failure.code) == ("late", "expired")
    assert (queue.depth(), queue.pending()) == (1, 1)
    assert queue.dead_letters() == []


@pytest.mark.parametrize(
    "fields",
    [
        ["job", b"\x80\x04pickle"],
        ["job", b'{"v":1,"id":"a","image":"../../etc/passwd","reply_to":"producer","ttl_ms":5}'],
        ["job", b'{"v":1,"id":"a","image":"a.jpg","reply_to":"x}:jobs","ttl_ms":5}'],
        ["unknown", b"", "more", b"\xff" * 70_000],
        ["", b""],
    ],
    ids=range(5),
)
def test_a_hostile_entry_is_set_aside_and_the_next_job_works(queue: QueueProbe, fields: list[str | bytes]) -> None:
    consumer = queue.consumer()
    queue.redis("XADD", queue.keys.jobs, "*", *fields)
    queue.add("good.jpg")
    assert images(receive(consumer)) == ["good.jpg"]
    [letter] = queue.dead_letters()
    assert letter[b"reason"].startswith(b"undecodable")
    assert (queue.depth(), queue.pending()) == (1, 1)
    assert queue.redis("KEYS", "*x}:jobs*") == []


def test_the_jobs_of_a_dead_worker_come_one_at_a_time_after_the_lease(queue: QueueProbe) -> None:
    for number in range(4):
        queue.add(f"{number}.jpg")
    assert len(receive(queue.consumer("dead"))) == 4
    living = queue.consumer("living", lease_ms=SHORT_LEASE_MS)
    claimed = []
    for _ in range(4):
        [delivery] = receive(living)
        claimed.append((delivery.job.image, delivery.deliveries))
        answer(living, [delivery])
    assert claimed == [("0.jpg", 2), ("1.jpg", 2), ("2.jpg", 2), ("3.jpg", 2)]
    assert (queue.depth(), queue.pending()) == (0, 0)


def test_nothing_is_claimed_before_the_lease_is_over(queue: QueueProbe) -> None:
    queue.add()
    receive(queue.consumer("busy"))
    assert queue.consumer("idle", lease_ms=3_600_000).receive(8, 1) == []


def test_poison_is_answered_and_set_aside_after_three_deliveries_and_its_batch_mates_are_not(queue: QueueProbe) -> None:
    for image in ("a.jpg", "poison.jpg", "b.jpg"):
        queue.add(image)
    done: list[str] = []
    # Each consumer is a worker that dies of the poison, and so never answers what it had.
    for worker in range(8):
        consumer = queue.consumer(f"worker-{worker}", lease_ms=SHORT_LEASE_MS)
        while len(done) < 2 or not queue.dead_letters():
            batch = consumer.receive(8, 50)
            if "poison.jpg" in images(batch):
                break
            answer(consumer, batch)
            done += images(batch)
    assert sorted(done) == ["a.jpg", "b.jpg"]
    [letter] = queue.dead_letters()
    assert (letter[b"reason"], letter[b"deliveries"]) == (b"poison", b"3")
    assert Job.decode(letter[b"job"]).image == "poison.jpg"
    failures = [reply for reply in decoded(queue.replies()) if isinstance(reply, Failure)]
    assert [(failure.id, failure.code) for failure in failures] == [("poison.jpg", "poison")]
    assert (queue.depth(), queue.pending()) == (0, 0)


def test_a_process_has_one_reclaimed_job_at_a_time(queue: QueueProbe) -> None:
    for number in range(3):
        queue.add(f"{number}.jpg")
    receive(queue.consumer("dead"))
    isolation = threading.Lock()
    first, second = (queue.consumer(name, lease_ms=SHORT_LEASE_MS, isolation=isolation) for name in ("a", "b"))
    reclaimed = receive(first)
    queue.add("fresh.jpg")
    assert images(receive(second)) == ["fresh.jpg"]
    # The second consumer lets go of its own, else that would be the next reclaimed job.
    second.close()
    answer(first, reclaimed)
    assert images(receive(first)) == ["1.jpg"]


def test_a_reclaimed_job_that_was_withdrawn_meanwhile_is_ended(queue: QueueProbe) -> None:
    entry_id = queue.add("gone.jpg")
    queue.add("there.jpg")
    receive(queue.consumer("dead"))
    queue.redis("XDEL", queue.keys.jobs, entry_id)
    consumer = queue.consumer("living", lease_ms=SHORT_LEASE_MS)
    assert images(receive(consumer)) == ["there.jpg"]
    assert queue.pending() == 1


def test_a_lost_group_is_made_anew_and_misses_no_job(queue: QueueProbe) -> None:
    consumer = queue.consumer()
    consumer.receive(8, 1)
    queue.redis("XGROUP", "DESTROY", queue.keys.jobs, GROUP)
    queue.add("meanwhile.jpg")
    assert images(receive(consumer)) == ["meanwhile.jpg"]


def test_a_lost_stream_wakes_a_blocked_consumer_which_goes_on(queue: QueueProbe) -> None:
    consumer = queue.consumer(lease_ms=3_600_000)
    consumer.receive(8, 1)
    got: list[Delivery] = []
    thread = threading.Thread(target=lambda: got.extend(receive(consumer)))
    thread.start()
    wait_until(lambda: b"cmd=xreadgroup" in queue.server.command("CLIENT", "LIST"), "the consumer waits")
    queue.redis("FLUSHALL")
    queue.add("after.jpg")
    thread.join(WAIT_S)
    assert images(got) == ["after.jpg"]


def test_a_job_whose_delivery_was_lost_on_the_wire_comes_at_once(queue: QueueProbe) -> None:
    consumer = queue.consumer(lease_ms=3_600_000)
    consumer.receive(8, 1)
    queue.add("stranded.jpg")
    # What Redis does when its reply never arrives: the job is this consumer's, and the consumer knows nothing of it.
    queue.redis("XREADGROUP", "GROUP", GROUP, consumer.name, "STREAMS", queue.keys.jobs, ">")
    queue.server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    with pytest.raises(QueueUnavailable):
        consumer.receive(8, 1)
    assert [(each.job.image, each.deliveries) for each in receive(consumer)] == [("stranded.jpg", 2)]


def test_after_a_lost_connection_a_consumer_is_not_given_what_it_holds(queue: QueueProbe) -> None:
    consumer = queue.consumer(lease_ms=3_600_000)
    queue.add("held.jpg")
    batch = receive(consumer)
    queue.server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    with pytest.raises(QueueUnavailable):
        consumer.receive(8, 1)
    assert consumer.receive(8, 1) == []
    answer(consumer, batch)
    assert (queue.depth(), queue.pending()) == (0, 0)


def test_an_answer_waits_for_redis_to_come_back(start_redis: Callable[..., QueueProbe]) -> None:
    # With everysec Redis holds a write back while the disk is busy with the last one, and -9 would take it along.
    queue = start_redis("--appendonly", "yes", "--appendfsync", "always")
    consumer = queue.consumer()
    queue.add("a.jpg")
    batch = receive(consumer)
    queue.server.kill()
    thread = threading.Thread(target=answer, args=(consumer, batch))
    thread.start()
    queue.server.start()
    thread.join(WAIT_S)
    assert (queue.depth(), queue.pending(), len(queue.replies())) == (0, 0, 1)


def test_an_answer_that_nobody_waits_for_any_more_is_given_up(start_redis: Callable[..., QueueProbe]) -> None:
    queue = start_redis()
    consumer = queue.consumer()
    queue.add("a.jpg")
    batch = [replace(each, deadline=time.monotonic() + 0.1) for each in receive(consumer)]
    queue.server.kill()
    with pytest.raises(QueueUnavailable):
        answer(consumer, batch)
    assert consumer.stuck(time.monotonic() + 3600) == []


def test_an_answer_that_cannot_travel_becomes_a_failure(queue: QueueProbe) -> None:
    consumer = queue.consumer()
    queue.add("a.jpg", job_id="1")
    [delivery] = receive(consumer)
    consumer.answer([(delivery, Answer("1", (("tabby", float("nan")),), "m", "1"))])
    [failure] = decoded(queue.replies())
    assert isinstance(failure, Failure)
    assert failure.code == "internal"
    assert queue.depth() == 0


def test_without_memory_for_replies_the_queue_still_empties(queue: QueueProbe) -> None:
    consumer = queue.consumer()
    queue.add("a.jpg")
    batch = receive(consumer)
    queue.redis("CONFIG", "SET", "maxmemory", 1)
    try:
        answer(consumer, batch)
    finally:
        queue.redis("CONFIG", "SET", "maxmemory", 0)
    assert (queue.depth(), queue.pending()) == (0, 0)


def test_a_consumer_that_leaves_takes_its_name_with_it(queue: QueueProbe) -> None:
    consumer = queue.consumer()
    queue.add("a.jpg")
    answer(consumer, receive(consumer))
    assert len(queue.redis("XINFO", "CONSUMERS", queue.keys.jobs, GROUP)) == 1
    consumer.close()
    assert queue.redis("XINFO", "CONSUMERS", queue.keys.jobs, GROUP) == []


def test_a_consumer_that_leaves_with_work_in_hand_leaves_it_to_others(queue: QueueProbe) -> None:
    consumer = queue.consumer()
    queue.add("a.jpg")
    receive(consumer)
    consumer.close()
    assert queue.pending() == 1
    assert images(receive(queue.consumer("other", lease_ms=SHORT_LEASE_MS))) == ["a.jpg"]


def test_a_consumer_knows_its_pace(queue: QueueProbe) -> None:
    consumer = queue.consumer()
    assert consumer.rate == 0
    queue.add("a.jpg")
    answer(consumer, receive(consumer))
    assert consumer.rate > 0


@pytest.mark.parametrize("decode_ms", [62, 302])
def test_a_consumer_knows_how_much_longer_than_estimated_decoding_takes(queue: QueueProbe, decode_ms: int) -> None:
    consumer = queue.consumer(slowness=2.0)
    for took_s, stretch in ((0.0, 1.0), (3 * 2 * (decode_ms + 2) / 1000, 3.0), (100.0, 10.0)):
        assert consumer.stretch < stretch
        queue.add("a.jpg", decode_ms=decode_ms)
        queue.add("b.jpg")
        consumer.answer([(each, answer_for(each.job)) for each in receive(consumer)], took_s)
        assert consumer.stretch == pytest.approx(stretch, rel=0.5)
    queue.add("b.jpg")
    answer(consumer, receive(consumer))
    assert consumer.stretch == 10.0


def test_a_late_acknowledgement_of_one_worker_does_not_lose_the_reply_of_another(queue: QueueProbe) -> None:
    queue.add("a.jpg", job_id="1")
    slow, fast = queue.consumer("slow"), queue.consumer("fast", lease_ms=SHORT_LEASE_MS)
    first = receive(slow)
    second = receive(fast)
    answer(slow, first)
    answer(fast, second)
    assert [reply.id for reply in decoded(queue.replies())] == ["1", "1"]
    assert (queue.depth(), queue.pending()) == (0, 0)


def test_packets_are_made_of_texts_bytes_and_whole_numbers() -> None:
    assert pack("XDEL", b"\xff", 12) == b"*3\r\n$4\r\nXDEL\r\n$1\r\n\xff\r\n$2\r\n12\r\n"


def test_a_consumer_whose_jobs_end_one_after_the_other_does_not_hang(queue: QueueProbe) -> None:
    consumer = queue.consumer()
    for number in range(2):
        queue.add(f"{number}.jpg")
    first, second = consumer.receive(2, 1000)
    late = second.received_at + 60.5
    assert consumer.stuck(late) == [first.job.id, second.job.id]
    time.sleep(0.6)
    consumer.answer([(first, answer_for(first.job))])
    assert consumer.stuck(late) == []
    assert consumer.stuck(late + 1) == [second.job.id]
