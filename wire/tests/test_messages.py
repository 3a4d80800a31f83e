from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import ActivationMap, Answer, Failure, Job, WorkerInfo
from wire.errors import MessageError
from wire.messages import CandidateAnswer, decode_reply, sender_of

JOB = Job(
    id="41-9f-1",
    image="c0ffee.jpeg",
    reply_to="41-9f",
    ttl_ms=5000,
    top_k=3,
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)
JOB_BYTES = (
    b'{"v":1,"id":"41-9f-1","image":"c0ffee.jpeg","reply_to":"41-9f","ttl_ms":5000,"top_k":3,'
    b'"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}'
)
ANSWER = Answer(
    id="41-9f-1",
    predictions=(("carpenter's kit", 0.75), ("Äpfel", 0.125)),
    model="efficientnet-lite0",
    version="1-int8",
    timings={"queue": 1.5, "decode": 2, "infer": 4.25},
    bundle_digest="d1" * 32,
)
ANSWER_BYTES = (
    b'{"v":1,"id":"41-9f-1","predictions":[["carpenter\'s kit",0.75],["\xc3\x84pfel",0.125]],'
    b'"model":"efficientnet-lite0","version":"1-int8","timings":{"queue":1.5,"decode":2,"infer":4.25},'
    b'"bundle_digest":"' + b"d1" * 32 + b'"}'
)
EXPLAINED_JOB = Job("1", "c0ffee.jpeg", "41-9f", 5000, explain_rank=2, explain_label="tabby")
EXPLAINED_JOB_BYTES = (
    b'{"v":1,"id":"1","image":"c0ffee.jpeg","reply_to":"41-9f","ttl_ms":5000,"top_k":5,"traceparent":"",'
    b'"explain_rank":2,"explain_label":"tabby"}'
)
MAP = ActivationMap("tabby", 1, 2, (-0.5, 2.25), (640, 480), (110, 30, 530, 450), b"\x89PNG")
EXPLAINED = Answer("1", (("tabby", 0.75),), "net", "1", {}, MAP)
EXPLAINED_BYTES = (
    b'{"v":1,"id":"1","predictions":[["tabby",0.75]],"model":"net","version":"1","timings":{},"map":{"label":"tabby",'
    b'"rows":1,"columns":2,"values":[-0.5,2.25],"picture":[640,480],"view":[110,30,530,450],"png":"iVBORw=="}}'
)
PREVIEW_JOB = Job("1", "c0ffee.heic", "41-9f", 5000, preview_side=640)
PREVIEW_JOB_BYTES = (
    b'{"v":1,"id":"1","image":"c0ffee.heic","reply_to":"41-9f","ttl_ms":5000,"top_k":5,"traceparent":"",'
    b'"preview_side":640}'
)
PREVIEWED = Answer("1", (("tabby", 0.75),), "net", "1", preview=b"\xff\xd8\xff")
PREVIEWED_BYTES = (
    b'{"v":1,"id":"1","predictions":[["tabby",0.75]],"model":"net","version":"1","timings":{},"preview":"/9j/"}'
)
CANDIDATE_JOB = Job("1", "c0ffee.jpeg", "41-9f", 5000, candidate=True)
CANDIDATE_JOB_BYTES = (
    b'{"v":1,"id":"1","image":"c0ffee.jpeg","reply_to":"41-9f","ttl_ms":5000,"top_k":5,"traceparent":"","candidate":1}'
)
TRIED = Answer("1", (("tabby", 0.75),), "net", "1", candidate=CandidateAnswer("net/2", (("lynx", 0.5),)))
TRIED_BYTES = (
    b'{"v":1,"id":"1","predictions":[["tabby",0.75]],"model":"net","version":"1","timings":{},'
    b'"candidate":{"version":"net/2","predictions":[["lynx",0.5]]}}'
)
DIGEST = "ab" * 32
WARNED = Answer("1", (("tabby", 0.75),), "net", "1", warnings=("one_colour", "dark"))
WARNED_BYTES = (
    b'{"v":1,"id":"1","predictions":[["tabby",0.75]],"model":"net","version":"1","timings":{},'
    b'"warnings":"one_colour dark"}'
)
VERIFIED = Answer("1", (("tabby", 0.75),), "net", "1", sha256=DIGEST)
VERIFIED_BYTES = (
    b'{"v":1,"id":"1","predictions":[["tabby",0.75]],"model":"net","version":"1","timings":{},"sha256":"'
    + DIGEST.encode()
    + b'"}'
)
FAILURE = Failure(id="41-9f-1", code="image_broken", detail="the JPEG ends early")
WORKER = WorkerInfo("w-1", "host", "model", "1", "p-1", "abc", 2, 8, 123.5, 1_700_000_000_000)
FAILURE_BYTES = b'{"v":1,"id":"41-9f-1","code":"image_broken","detail":"the JPEG ends early"}'

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
TOKENS = st.text("abcXYZ019_.:-", min_size=1, max_size=80)


@pytest.mark.parametrize(
    ("message", "data"),
    [
        (JOB, JOB_BYTES),
        (ANSWER, ANSWER_BYTES),
        (FAILURE, FAILURE_BYTES),
        (EXPLAINED_JOB, EXPLAINED_JOB_BYTES),
        (EXPLAINED, EXPLAINED_BYTES),
        (PREVIEW_JOB, PREVIEW_JOB_BYTES),
        (PREVIEWED, PREVIEWED_BYTES),
        (CANDIDATE_JOB, CANDIDATE_JOB_BYTES),
        (TRIED, TRIED_BYTES),
        (VERIFIED, VERIFIED_BYTES),
        (WARNED, WARNED_BYTES),
    ],
    ids=[
        *("job", "answer", "failure", "explained job", "explained answer", "preview job", "previewed answer"),
        *("candidate job", "candidate's answer", "verified answer", "warned answer"),
    ],
)
def test_a_message_has_exactly_these_bytes(message: Job | Answer | Failure, data: bytes) -> None:
    assert message.encode() == data
    assert type(message).decode(data) == message


@pytest.mark.parametrize("kind", [Job, Answer, Failure])
def test_a_field_that_a_newer_side_added_is_tolerated(kind: type[Job | Answer | Failure]) -> None:
    data = {Job: JOB_BYTES, Answer: ANSWER_BYTES, Failure: FAILURE_BYTES}[kind]
    newer = json.dumps(json.loads(data) | {"added": {"later": [1]}}).encode()
    assert kind.decode(newer) == kind.decode(data)


def test_what_a_job_may_leave_out_has_defaults() -> None:
    job = Job.decode(b'{"v":1,"id":"a","image":"b.png","reply_to":"c","ttl_ms":1}')
    assert job == Job("a", "b.png", "c", 1, top_k=5, traceparent="")


def test_a_failure_code_of_a_newer_side_reads_as_internal() -> None:
    assert Failure.decode(b'{"v":1,"id":"a","code":"too_pretty"}') == Failure("a", "internal", "")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b"[" * 100_000,
        b'{"v":1' + b" " * 2_000_000 + b"}",
        b'{"v":1e999}',
        b'{"v":NaN}',
        b'{"id":"a"}',
        b'{"v":2,"id":"a"}',
        b'{"v":"1","id":"a"}',
        b"9" * 5000,
    ],
    ids=range(14),
)
@pytest.mark.parametrize("kind", [Job, Answer, Failure])
def test_bytes_that_are_no_message_are_one_error_with_evidence(kind: type[Job | Answer | Failure], data: bytes) -> None:
    with pytest.raises(MessageError) as caught:
        kind.decode(data)
    assert len(caught.value.evidence) < 1000
    assert caught.value.evidence.isascii()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", 7),
        ("id", ""),
        ("id", "a b"),
        ("id", "a" * 81),
        ("id", "a\n"),
        ("image", None),
        ("image", ""),
        ("image", ".."),
        ("image", "../secret"),
        ("image", "a\x00b"),
        ("image", "\udc80"),
        ("image", "ä" * 128),
        ("reply_to", "a}:jobs{"),
        ("ttl_ms", 0),
        ("ttl_ms", True),
        ("ttl_ms", 1.5),
        ("ttl_ms", "5"),
        ("ttl_ms", 10**12),
        ("top_k", 0),
        ("top_k", 10_001),
        ("traceparent", 1),
        ("explain_rank", -1),
        ("explain_rank", 10_001),
        ("explain_label", 1),
    ],
)
def test_a_fault_in_a_job_names_its_field(name: str, value: Any) -> None:
    data = json.dumps(json.loads(JOB_BYTES) | {name: value}).encode()
    with pytest.raises(MessageError, match=repr(name)):
        Job.decode(data)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("predictions", None),
        ("predictions", [["a"]]),
        ("predictions", [[1, 0.5]]),
        ("predictions", [["a", "0.5"]]),
        ("predictions", [["a", True]]),
        ("model", 1),
        ("version", None),
        ("timings", [1]),
        ("timings", {"queue": "1"}),
        ("timings", {"queue": 10**400}),
        ("predictions", [["a", 10**400]]),
    ],
)
def test_a_fault_in_an_answer_names_its_field(name: str, value: Any) -> None:
    data = json.dumps(json.loads(ANSWER_BYTES) | {name: value}).encode()
    with pytest.raises(MessageError, match=repr(name)):
        Answer.decode(data)


def test_a_map_of_an_earlier_release_has_no_png() -> None:
    document = json.loads(EXPLAINED_BYTES)
    del document["map"]["png"]
    assert Answer.decode(json.dumps(document).encode()).activation_map == replace(MAP, png=b"")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("label", 1),
        ("rows", 0),
        ("rows", 129),
        ("columns", "2"),
        ("values", [1.0]),
        ("values", [1.0, None]),
        ("values", "ab"),
        ("values", [1.0, 10**400]),
        ("picture", [640]),
        ("picture", [0, 480]),
        ("picture", [640, 480.5]),
        ("view", [0, 0, 641, 480]),
        ("view", [0, 0, 640, 481]),
        ("view", [10, 0, 10, 480]),
        ("view", [-1, 0, 10, 480]),
        ("view", None),
        ("png", 1),
        ("png", "iVBORw"),
        ("png", "\xe9"),
        ("png", "iVBO Rw=="),
    ],
)
def test_a_fault_in_a_map_names_its_field(name: str, value: Any) -> None:
    document = json.loads(EXPLAINED_BYTES)
    document["map"][name] = value
    with pytest.raises(MessageError, match=repr(name)):
        Answer.decode(json.dumps(document).encode())


def test_a_map_that_is_none_is_a_fault() -> None:
    with pytest.raises(MessageError, match="'map'"):
        Answer.decode(json.dumps(json.loads(ANSWER_BYTES) | {"map": [1]}).encode())


@given(st.binary(max_size=200))
def test_any_bytes_give_a_job_or_a_message_error(data: bytes) -> None:
    sender_of(data)
    try:
        job = Job.decode(data)
    except MessageError:
        return
    assert Job.decode(job.encode()) == job


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (Job, JOB_BYTES),
        (Answer, ANSWER_BYTES),
        (Answer, EXPLAINED_BYTES),
        (Failure, FAILURE_BYTES),
        (WorkerInfo, WORKER.encode()),
    ],
    ids=["job", "answer", "explained answer", "failure", "worker"],
)
@given(st.data())
def test_any_value_in_any_field_gives_a_message_or_a_message_error(
    kind: type[Job | Answer | Failure | WorkerInfo], data: bytes, draw: st.DataObject
) -> None:
    fields = json.loads(data)
    fields[draw.draw(st.sampled_from(sorted(fields)))] = draw.draw(ANY_JSON)
    try:
        message = kind.decode(json.dumps(fields).encode())
    except MessageError:
        return
    message.encode()


@given(TOKENS, TOKENS, st.integers(1, 86_400_000), st.integers(1, 1000), st.text(max_size=55).filter(str.isprintable))
def test_a_job_survives_the_journey(job_id: str, process: str, ttl_ms: int, top_k: int, traceparent: str) -> None:
    job = Job(job_id, "a b'ü.jpg", process, ttl_ms, top_k, traceparent)
    assert Job.decode(job.encode()) == job


@given(st.lists(st.tuples(st.text().filter(str.isprintable), st.floats(allow_nan=False, allow_infinity=False))))
def test_an_answer_survives_the_journey(predictions: list[tuple[str, float]]) -> None:
    answer = Answer("a", tuple(predictions), "m", "1", {})
    assert decode_reply(b"answer", answer.encode()) == answer


def test_a_name_that_is_no_utf_8_does_not_stop_a_failure() -> None:
    assert Failure.decode(Failure("a", "image_missing", "no file 'x\udc80'").encode()).detail == "no file 'x?'"


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_cannot_travel(score: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        Answer("a", (("tabby", score),), "m", "1").encode()


def test_a_reply_of_unknown_kind_is_a_message_error() -> None:
    with pytest.raises(MessageError, match="kind"):
        decode_reply(b"closing", b"")


def test_the_sender_of_an_unreadable_job_is_found_where_it_is_named() -> None:
    assert sender_of(b'{"v":9,"id":"a","reply_to":"b","image":5}') == ("a", "b")
    assert sender_of(b'{"v":9,"id":"a","reply_to":"b}:jobs"}') is None
    assert sender_of(b"[") is None
