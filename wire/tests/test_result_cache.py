from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sightline_testing.queue_probe import QueueProbe
from sightline_testing.waiting import WAIT_S, wait_until
from wire import Answer, ResultCache, WorkerInfo
from wire.queue_stats import served_by_all
from wire.redis import pipeline
from wire.result_cache import MAX_ENTRY_BYTES, Found, Question
from wire.worker_registry import Served

SERVED = Served("net", "7", "0badcafe", "feedbead", "d1" * 32)
IMAGE = "ab" * 32
QUESTION = Question(IMAGE, SERVED)
CLASSES = tuple(
    (label, score) for label, score in zip("abcdefgh", (0.5, 0.25, 0.125, 0.06, 0.03, 0.01, 0.1, 1e-9), strict=True)
)
# As it stands in Redis, written without the encoder.
ENTRY = (
    b'{"v":1,"picture":"' + IMAGE.encode() + b'","model":"net","version":"7","preprocessing":"0badcafe",'
    b'"labels_digest":"feedbead","bundle_digest":"' + b"d1" * 32 + b'","top_k":2,"predictions":[["a",0.5],["b",0.25]]}'
)

MakeCache = Callable[..., ResultCache]


@pytest.fixture
def make_cache(queue: QueueProbe) -> MakeCache:
    def make(*, max_entries: int = 1000, ttl_s: int = 3600) -> ResultCache:
        told = {"max_entries": max_entries, "ttl_s": ttl_s, "timeout_s": WAIT_S}
        return ResultCache(queue.address, queue.name, **told)  # type: ignore[arg-type]

    return make


@pytest.fixture
def cache(make_cache: MakeCache) -> ResultCache:
    return make_cache()


def answer(top_k: int = 5, **facts: Any) -> Answer:
    told: dict[str, Any] = {"id": "a-job", "model": SERVED.model, "version": SERVED.version, "sha256": IMAGE}
    told |= {"bundle_digest": SERVED.bundle_digest, "timings": {"infer": 4.0}} | facts
    return Answer(predictions=told.pop("predictions", CLASSES[:top_k]), **told)


def kept(cache: ResultCache, question: Question = QUESTION, top_k: int = 5) -> str:
    """Have an answer kept, and give the slot that it is in."""
    found = cache.find(question, top_k)
    assert found.answer is None
    served = question.served
    told = {"model": served.model, "version": served.version, "bundle_digest": served.bundle_digest}
    cache.keep(question, top_k, answer(top_k, sha256=question.image, **told), found.slot)
    return found.slot


def slots(queue: QueueProbe) -> list[bytes]:
    names: list[bytes] = queue.redis("KEYS", "*answer*")
    return sorted(names)


def images() -> Iterator[Question]:
    return (Question(f"{number:064x}", SERVED) for number in itertools.count())


def test_what_was_kept_is_found_without_what_was_only_true_of_its_job(cache: ResultCache) -> None:
    kept(cache)
    expected = Answer("", CLASSES[:5], SERVED.model, SERVED.version, {}, bundle_digest=SERVED.bundle_digest)
    assert cache.find(QUESTION, 5).answer == expected


def test_what_nobody_asked_yet_is_not_found(cache: ResultCache) -> None:
    assert cache.find(QUESTION, 5).answer is None


@pytest.mark.parametrize("part", ["picture", *Served._fields])
def test_an_answer_to_another_question_is_not_found(cache: ResultCache, part: str) -> None:
    kept(cache)
    other = Question("cd" * 32, SERVED) if part == "picture" else Question(IMAGE, SERVED._replace(**{part: "other"}))
    assert cache.find(other, 5).answer is None


@pytest.mark.parametrize("part", ["picture", *Served._fields])
def test_an_answer_to_another_question_in_the_right_slot_is_not_found(
    queue: QueueProbe, make_cache: MakeCache, part: str
) -> None:
    one_slot = make_cache(max_entries=1)
    kept(one_slot)
    other = Question("cd" * 32, SERVED) if part == "picture" else Question(IMAGE, SERVED._replace(**{part: "other"}))
    assert one_slot.find(other, 5) == Found(None, slots(queue)[0].decode())


def test_an_answer_in_another_version_than_was_asked_for_is_not_kept(queue: QueueProbe, cache: ResultCache) -> None:
    found = cache.find(QUESTION, 5)
    cache.keep(QUESTION, 5, answer(version="8"), found.slot)
    cache.keep(QUESTION, 5, answer(model="other"), found.slot)
    assert slots(queue) == []


def test_an_answer_of_other_weights_under_the_same_name_is_not_kept(queue: QueueProbe, cache: ResultCache) -> None:
    found = cache.find(QUESTION, 5)
    for digest in ("d2" * 32, ""):
        cache.keep(QUESTION, 5, answer(bundle_digest=digest), found.slot)
    assert slots(queue) == []


def test_workers_of_an_earlier_release_that_publish_no_digest_still_have_a_cache(cache: ResultCache) -> None:
    question = Question(IMAGE, SERVED._replace(bundle_digest=""))
    kept(cache, question)
    assert cache.find(question, 5).answer is not None
    assert cache.find(QUESTION, 5).answer is None


def test_an_entry_of_an_earlier_release_is_read_as_one_without_a_digest(
    queue: QueueProbe, cache: ResultCache, caplog: pytest.LogCaptureFixture
) -> None:
    question = Question(IMAGE, SERVED._replace(bundle_digest=""))
    slot = kept(cache, question)
    queue.redis("SET", slot, ENTRY.replace(b'"bundle_digest":"' + b"d1" * 32 + b'",', b""))
    found = cache.find(question, 2).answer
    assert found is not None
    assert found.predictions == (("a", 0.5), ("b", 0.25))
    assert caplog.text == ""


@pytest.mark.parametrize("digest", ["", "cd" * 32], ids=["of a worker that does not say", "of other bytes"])
def test_an_answer_to_other_bytes_than_were_asked_about_is_not_kept(
    queue: QueueProbe, cache: ResultCache, digest: str
) -> None:
    cache.keep(QUESTION, 5, answer(sha256=digest), cache.find(QUESTION, 5).slot)
    assert slots(queue) == []


def test_fewer_classes_than_were_kept_are_the_best_of_them(cache: ResultCache) -> None:
    kept(cache, top_k=8)
    found = cache.find(QUESTION, 3).answer
    assert found is not None
    assert found.predictions == CLASSES[:3]


def test_more_classes_than_were_asked_for_take_the_place_of_the_fewer(queue: QueueProbe, cache: ResultCache) -> None:
    slot = kept(cache, top_k=5)
    assert cache.find(QUESTION, 6) == Found(None, slot)
    kept(cache, top_k=8)
    found = cache.find(QUESTION, 8).answer
    assert found is not None
    assert found.predictions == CLASSES
    assert len(slots(queue)) == 1


def test_the_bytes_in_a_slot_are_as_documented(queue: QueueProbe, make_cache: MakeCache) -> None:
    cache = make_cache(max_entries=1)
    kept(cache, top_k=2)
    assert queue.redis("GET", f"{queue.keys.answer}0") == ENTRY


def test_an_answer_is_kept_for_its_time(queue: QueueProbe, make_cache: MakeCache) -> None:
    cache = make_cache(ttl_s=3600)
    slot = kept(cache)
    assert 3590 < queue.redis("TTL", slot) <= 3600
    queue.redis("PEXPIRE", slot, 1)
    wait_until(lambda: cache.find(QUESTION, 5).answer is None, "the answer has expired")


def test_a_hit_does_not_make_an_answer_live_longer(queue: QueueProbe, cache: ResultCache) -> None:
    slot = kept(cache)
    queue.redis("EXPIRE", slot, 100)
    assert cache.find(QUESTION, 5).answer
    assert queue.redis("TTL", slot) <= 100


def test_there_are_never_more_entries_than_the_bound(queue: QueueProbe, make_cache: MakeCache) -> None:
    cache = make_cache(max_entries=4)
    for question in itertools.islice(images(), 100):
        kept(cache, question)
        assert cache.find(question, 5).answer, "the newest is there"
    assert len(slots(queue)) == 4


def test_a_slot_that_is_free_is_taken_before_one_that_is_not(queue: QueueProbe, make_cache: MakeCache) -> None:
    cache = make_cache(max_entries=200)
    questions = list(itertools.islice(images(), 40))
    for question in questions:
        kept(cache, question)
    # With one slot for each, three of these forty would be gone; with the wrong one of two, more.
    assert all(cache.find(question, 5).answer for question in questions)


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"\xff\x00",
        b"{}",
        b"[1]",
        b"null",
        ENTRY[:-1],
        ENTRY.replace(b'"v":1', b'"v":2'),
        ENTRY.replace(b'"top_k":2', b'"top_k":0'),
        ENTRY.replace(b'"top_k":2', b'"top_k":"2"'),
        ENTRY.replace(b"0.25", b"NaN"),
        ENTRY.replace(b"0.25", b'"x"'),
        ENTRY.replace(b'[["a",0.5],["b",0.25]]', b"[]"),
        ENTRY.replace(b'"picture"', b'"pictures"'),
        ENTRY.replace(b'"a"', b'"' + b"a" * MAX_ENTRY_BYTES + b'"'),
        b"[" * 2000,
    ],
)
def test_what_cannot_be_read_is_no_answer_and_is_written_over(
    queue: QueueProbe, make_cache: MakeCache, hostile: bytes
) -> None:
    cache = make_cache(max_entries=1)
    queue.redis("SET", f"{queue.keys.answer}0", hostile)
    kept(cache, top_k=2)
    assert queue.redis("GET", f"{queue.keys.answer}0") == ENTRY


def test_a_slot_of_another_type_is_no_answer_and_is_written_over(queue: QueueProbe, make_cache: MakeCache) -> None:
    cache = make_cache(max_entries=1)
    queue.redis("RPUSH", f"{queue.keys.answer}0", "a list")
    kept(cache, top_k=2)
    assert queue.redis("GET", f"{queue.keys.answer}0") == ENTRY


def test_an_answer_beyond_the_size_of_a_slot_is_not_kept(queue: QueueProbe, cache: ResultCache) -> None:
    found = cache.find(QUESTION, 1000)
    large = answer(predictions=tuple((f"class-{number}", 0.001) for number in range(1000)))
    cache.keep(QUESTION, 1000, large, found.slot)
    assert slots(queue) == []
    cache.keep(QUESTION, 40, answer(predictions=large.predictions[:40]), found.slot)
    assert queue.redis("STRLEN", found.slot) <= MAX_ENTRY_BYTES


def test_while_redis_is_away_nothing_is_found_and_nothing_is_kept(
    start_redis: Callable[..., QueueProbe], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "OPEN_S", 0.01)
    queue = start_redis()
    cache = ResultCache(queue.address, queue.name, max_entries=1000, ttl_s=3600, timeout_s=WAIT_S)
    slot = kept(cache)
    queue.server.kill()
    assert cache.find(QUESTION, 5) == Found(None, "")
    cache.keep(QUESTION, 5, answer(), slot)
    queue.server.start()
    wait_until(lambda: cache.find(QUESTION, 5).slot, "the cache is there again")
    kept(cache)


def test_a_redis_without_memory_keeps_nothing_and_fails_nobody(queue: QueueProbe, cache: ResultCache) -> None:
    cache.find(QUESTION, 5)
    queue.redis("CONFIG", "SET", "maxmemory", 1)
    try:
        kept(cache)
        assert cache.find(QUESTION, 5).answer is None
    finally:
        queue.redis("CONFIG", "SET", "maxmemory", 0)


def workers(*served: Served) -> list[WorkerInfo]:
    return [
        WorkerInfo(f"w-{number}", "here", *each[:4], bundle_digest=each.bundle_digest)
        for number, each in enumerate(served)
    ]


def test_what_is_served_is_what_all_workers_serve() -> None:
    assert served_by_all(workers(SERVED, SERVED)) == SERVED


@pytest.mark.parametrize("part", Served._fields)
def test_while_workers_differ_in_anything_nothing_is_what_is_served(part: str) -> None:
    assert served_by_all(workers(SERVED, SERVED, SERVED._replace(**{part: "other"}))) is None


def test_without_a_live_worker_nothing_is_served() -> None:
    assert served_by_all(workers()) is None
