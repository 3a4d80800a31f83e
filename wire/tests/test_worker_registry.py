from __future__ import annotations

import pytest

from sightline_testing.queue_probe import QueueProbe
from sightline_testing.waiting import wait_until
from wire import Heartbeat, WorkerInfo
from wire.errors import MessageError
from wire.redis.keys import time_ms
from wire.worker_registry import (
    CLAIM_KEPT_MS,
    DEAD_AFTER_MS,
    FORGOTTEN_AFTER_MS,
    MAX_STARTUP_ERROR,
    STARTUP_ERROR_KEPT_S,
    decode_labels,
    digest_of,
    live_workers,
    report_startup_error,
    why_not_join,
)

INFO = WorkerInfo(
    "w-1",
    "host",
    "efficientnet-lite0",
    "1-int8",
    "p-1",
    "abc",
    2,
    8,
    123.5,
    1_700_000_000_000,
    bundle_digest="d1",
    slowness=1.25,
    decode_budget_s=2.0,
    stretch=2.5,
    usual_stretch=1.5,
    precision="int8",
)
INFO_BYTES = (
    b'{"v":1,"id":"w-1","host":"host","model":"efficientnet-lite0","version":"1-int8","preprocessing":"p-1",'
    b'"labels_digest":"abc","lanes":2,"max_batch":8,"rate":123.5,"seen_ms":1700000000000,"shadow":"","shadow_counts":{},'
    b'"bundle_digest":"d1","slowness":1.25,"decode_budget_s":2.0,"stretch":2.5,"usual_stretch":1.5,"precision":"int8"}'
)


def publish(queue: QueueProbe, name: str, age_ms: int, version: str = "1", precision: str = "") -> None:
    """Register a worker with a heartbeat of that age."""
    now_ms = time_ms(queue.redis("TIME"))
    info = WorkerInfo(name, "h", "m", version, "p", seen_ms=now_ms - age_ms, precision=precision)
    queue.redis("HSET", queue.keys.workers, name, info.encode())


def test_a_worker_is_published_as_exactly_these_bytes() -> None:
    assert INFO.encode() == INFO_BYTES
    assert WorkerInfo.decode(INFO_BYTES) == INFO


@pytest.mark.parametrize("data", [b"", b"{}", b'{"v":1,"id":"a"}', INFO_BYTES.replace(b"123.5", b'"fast"')])
def test_an_unreadable_worker_is_a_message_error_and_no_worker(data: bytes) -> None:
    with pytest.raises(MessageError):
        WorkerInfo.decode(data)
    assert live_workers([b"w-0", data, b"w-1", INFO_BYTES], INFO.seen_ms) == (INFO,)


def test_a_worker_that_was_not_heard_of_for_three_seconds_is_not_alive() -> None:
    published = [b"w-1", INFO_BYTES]
    assert live_workers(published, INFO.seen_ms + DEAD_AFTER_MS - 1) == (INFO,)
    assert live_workers(published, INFO.seen_ms + DEAD_AFTER_MS) == ()


def test_labels_that_are_not_those_of_their_digest_are_no_labels() -> None:
    labels = ("tabby", "Ägyptische Katze")
    digest = digest_of(labels)
    data = '["tabby","Ägyptische Katze"]'.encode()
    assert decode_labels(data, digest) == labels
    for wrong in (b'["tabby"]', b"[1]", b"7", b"\xff", b"", None):
        assert decode_labels(wrong, digest) == ()


def test_a_worker_says_what_it_serves_until_it_stops(queue: QueueProbe) -> None:
    producer = queue.producer()
    info = WorkerInfo("w-1", "host", "m", "2", "p", consumers=2, max_batch=8)
    heartbeat = Heartbeat(queue.address, queue.name, info, ["tabby", "tiger"], speed=lambda: {"rate": 42.0})
    heartbeat.start()
    wait_until(lambda: producer.refresh().workers, "it is listed")
    state = producer.refresh()
    assert (state.model, state.version, state.labels, state.rate) == ("m", "2", ("tabby", "tiger"), 42.0)
    assert state.bound == 144  # a burst
    heartbeat.stop()
    assert producer.refresh().workers == ()
    assert queue.redis("EXISTS", queue.keys.workers) == 0


def test_a_worker_that_changes_its_model_says_so_under_its_old_name(queue: QueueProbe) -> None:
    producer = queue.producer()
    counts = {"compared": 3.0}
    heartbeat = Heartbeat(
        queue.address, queue.name, WorkerInfo("w-1", "h", "m", "1", "p"), ["tabby"], shadow=lambda: ("m/2", counts)
    )
    heartbeat.start()
    try:
        heartbeat.publish(WorkerInfo("w-1", "h", "m", "2", "p"), ["tabby", "tiger"])
        wait_until(lambda: producer.refresh().version == "2", "the change is known")
        state = producer.refresh()
        assert state.labels == ("tabby", "tiger")
        assert [(info.id, info.shadow, info.shadow_counts) for info in state.workers] == [("w-1", "m/2", counts)]
    finally:
        heartbeat.stop()


def test_a_list_that_redis_lost_is_written_again_labels_and_all(queue: QueueProbe) -> None:
    producer = queue.producer()
    queue.announce("w-1", labels=["tabby"])
    queue.redis("FLUSHALL")
    wait_until(lambda: producer.refresh().labels == ("tabby",), "it is listed again")


def test_the_living_remove_those_that_died_long_ago(queue: QueueProbe) -> None:
    publish(queue, "dead", DEAD_AFTER_MS + 5000)
    publish(queue, "forgotten", FORGOTTEN_AFTER_MS + 5000)
    queue.redis("HSET", queue.keys.workers, "garbage", b"\xff")
    queue.announce("living")
    assert sorted(queue.redis("HKEYS", queue.keys.workers)) == [b"dead", b"living"]


def test_during_a_change_of_models_the_state_shows_what_most_consumers_serve(queue: QueueProbe) -> None:
    producer = queue.producer()
    publish(queue, "old-1", 0, version="1")
    publish(queue, "new-1", 0, version="2")
    publish(queue, "new-2", 0, version="2")
    state = producer.refresh()
    assert state.version == "2"
    assert sorted(info.version for info in state.workers) == ["1", "2", "2"]


def test_a_worker_id_that_cannot_be_a_name_is_refused(queue: QueueProbe) -> None:
    info = WorkerInfo("a b", "h", "m", "1", "p")
    with pytest.raises(ValueError, match="'a b'"):
        Heartbeat(queue.address, queue.name, info, [])


def test_why_a_worker_could_not_start_is_known_for_a_while(queue: QueueProbe) -> None:
    producer = queue.producer()
    assert producer.refresh().startup_error == ""
    report_startup_error(queue.address, queue.name, "model.onnx is missing" + "!" * 1000)
    assert producer.refresh().startup_error.startswith("model.onnx is missing!")
    assert len(producer.refresh().startup_error) == MAX_STARTUP_ERROR
    assert STARTUP_ERROR_KEPT_S - 60 < queue.redis("TTL", queue.keys.startup_error) <= STARTUP_ERROR_KEPT_S
    heartbeat = Heartbeat(queue.address, queue.name, INFO, ["tabby"])
    heartbeat.start()
    assert producer.refresh().startup_error == ""
    heartbeat.stop()


@pytest.mark.parametrize(
    ("age_ms", "precision", "model", "own", "may_join"),
    [
        (0, "int8", "m", "int8", True),
        (0, "int8", "m", "fp32", False),
        (0, "int8", "other", "int8", False),
        (0, "", "m", "fp32", True),  # an earlier release, which does not publish it
        (0, "", "other", "fp32", False),
        (DEAD_AFTER_MS + 1000, "int8", "other", "fp32", True),
    ],
)
def test_a_worker_may_join_those_of_its_own_model_and_precision(
    queue: QueueProbe, age_ms: int, precision: str, model: str, own: str, *, may_join: bool
) -> None:
    publish(queue, "w", age_ms, precision=precision)
    publish(queue, "x", age_ms, version="2", precision=precision)  # versions may differ
    why = why_not_join(queue.address, queue.name, model, own)
    assert (not why) is may_join
    if why:
        assert f"The workers of the queue {queue.name} serve m{precision and f' {precision}'}, " in why
        assert f"this one has {model} {own}. Set MODEL_CLASS" in why


def test_a_queue_without_workers_is_claimed_by_the_first_and_a_refused_one_claims_nothing(queue: QueueProbe) -> None:
    publish(queue, "w", 0, precision="int8")
    assert why_not_join(queue.address, queue.name, "m", "fp32")
    queue.redis("DEL", queue.keys.workers)
    assert not why_not_join(queue.address, queue.name, "m", "int8")
    assert "serve m int8" in why_not_join(queue.address, queue.name, "m", "fp32")
    assert not why_not_join(queue.address, queue.name, "m", "int8")
    assert 0 < queue.redis("PTTL", queue.keys.claim) <= CLAIM_KEPT_MS


def test_a_redis_that_is_full_keeps_no_worker_from_joining(queue: QueueProbe) -> None:
    """Only a worker can make room in it."""
    queue.redis("CONFIG", "SET", "maxmemory", "1")
    try:
        assert not why_not_join(queue.address, queue.name, "m", "int8")
    finally:
        queue.redis("CONFIG", "SET", "maxmemory", "0")
