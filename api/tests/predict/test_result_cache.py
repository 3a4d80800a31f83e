"""The result cache behind `model_predict`, with a real Redis and a worker that records its jobs."""

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path

import pytest
from flask.testing import FlaskClient

import settings
from middleware import Prediction, PredictOptions, current_options, model_predict
from predict import job_queue
from sightline_testing.redis_server import RedisServer
from tests.conftest import Serve
from tests.serving import (
    LABELS,
    MODEL,
    PATIENCE_S,
    VERSION,
    EchoWorker,
    Served,
    digest_in,
    raw_image,
    read_answer,
    wait_until,
)
from wire import Answer, Delivery, Failure, JobFailed, QueueUnavailable, ResultCache
from wire.redis.pipeline import BestEffort

SHA256 = "ab" * 32
NAME = f"{SHA256}.jpg"
MANY = 50


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine this busy, Redis may be slow; the cache would do without it."""
    monkeypatch.setattr(job_queue, "ResultCache", partial(ResultCache, timeout_s=PATIENCE_S))


@pytest.fixture
def worker(worker: EchoWorker) -> EchoWorker:
    """A registered worker that reports the digest of the bytes that it read, without which nothing is cached."""
    await_served(VERSION)
    worker.digest_of = digest_of
    return worker


def digest_of(image: str) -> str:
    """Give the SHA-256 of the bytes under a name: those of a test without files begin with theirs."""
    return image.partition(".")[0]


def await_served(version: str | None) -> None:
    """Wait until all workers serve that version; None: until they differ."""
    job_queue.open_queue()

    def is_so() -> bool:
        state = job_queue.queue_state()
        served = None if state is None else state.served
        return bool(state and state.workers) and (served.version if served else None) == version

    wait_until(is_so, f"the workers serve {version}")


def asked(sha256: str = SHA256, name: str = "", top_k: int = 5, explain_rank: int = 0) -> Prediction:
    """Request a prediction until there is an answer; by default, the file holds the uploaded bytes."""
    name = name or f"{sha256}.jpg"
    token = current_options.set(PredictOptions(sha256=sha256, top_k=top_k, timeout_s=PATIENCE_S, explain=explain_rank))
    try:
        while True:
            with suppress(QueueUnavailable):
                prediction = model_predict(name)
                assert isinstance(prediction, Prediction)
                return prediction
    finally:
        current_options.reset(token)


def entries(queue: RedisServer) -> int:
    return queue.command("KEYS", "*answer*").count(b"answer")


def test_the_second_time_the_answer_costs_no_job(worker: EchoWorker) -> None:
    first, second = asked(), asked()
    assert (first.cache, second.cache) == ("miss", "hit")
    assert worker.images == [NAME]
    assert tuple(second) == tuple(first)
    assert second.predictions == first.predictions
    assert second.model_version == f"{MODEL}/{VERSION}"


def test_the_times_of_another_job_are_not_told_as_one_s_own(worker: EchoWorker) -> None:
    assert [asked().timings != {} for _ in range(2)] == [True, False]
    assert worker.images == [NAME]


def test_a_warning_is_in_the_long_form_and_in_a_header_with_and_without_the_cache(worker: EchoWorker) -> None:
    seen = {"sha256": SHA256, "warnings": ("one_colour",)}
    worker.reply = lambda delivery: Answer(delivery.job.id, ((LABELS[0], 0.5),), MODEL, VERSION, **seen)  # type: ignore[arg-type]
    answers = [asked() for _ in range(2)]
    assert [answer.cache for answer in answers] == ["miss", "hit"]
    for answer in answers:
        assert answer.headers()["X-Warnings"] == "one_colour"
        assert answer.to_json(5)["warnings"] == ["one_colour"]
        assert "warnings" not in answer.to_json()


def test_the_content_counts_and_not_the_name(worker: EchoWorker) -> None:
    assert asked().cache == "miss"
    assert asked(name=f"{SHA256}.jpeg").cache == "hit"
    assert asked(sha256="cd" * 32).cache == "miss"


def test_without_the_content_s_hash_no_cache_is_asked(worker: EchoWorker, queue: RedisServer) -> None:
    assert [asked(sha256="", name=NAME).cache for _ in range(2)] == ["", ""]
    assert worker.images == [NAME, NAME]
    assert entries(queue) == 0


def test_more_classes_than_are_kept_are_asked_for(worker: EchoWorker) -> None:
    assert len(asked(top_k=5).predictions) == 5
    more = asked(top_k=7)
    assert (more.cache, len(more.predictions)) == ("miss", 7)
    fewer = asked(top_k=5)
    assert (fewer.cache, len(fewer.predictions)) == ("hit", 5)


def test_another_version_is_asked_anew_and_its_answers_are_its_own(queue: RedisServer) -> None:
    for version in ("7", "8", "7"):
        with EchoWorker(queue.port, version) as worker:
            worker.digest_of = digest_of
            await_served(version)
            answers = [asked(), asked()]
        assert {answer.model_version for answer in answers} == {f"{MODEL}/{version}"}
        assert answers[1].cache == "hit"
        assert len(worker.images) == [answer.cache for answer in answers].count("miss")
    assert entries(queue) == 2


def test_while_workers_serve_different_versions_nothing_is_taken_or_kept(
    worker: EchoWorker, queue: RedisServer
) -> None:
    asked()
    with EchoWorker(queue.port, "8") as newer:
        await_served(None)
        assert [asked().cache for _ in range(3)] == [""] * 3
        assert len(worker.images + newer.images) == 4
        assert entries(queue) == 1


def test_an_answer_of_a_version_that_is_not_known_to_be_served_yet_is_not_kept(
    worker: EchoWorker, queue: RedisServer
) -> None:
    worker.reply = lambda delivery: Answer(delivery.job.id, ((LABELS[0], 0.5),), MODEL, "8", sha256=SHA256)
    assert [asked().model_version for _ in range(2)] == [f"{MODEL}/8"] * 2
    assert len(worker.images) == 2
    assert entries(queue) == 0


def test_an_answer_of_a_worker_that_does_not_say_what_it_read_is_given_and_not_kept(
    worker: EchoWorker, queue: RedisServer
) -> None:
    worker.digest_of = lambda image: ""
    assert [asked().cache for _ in range(2)] == ["miss", "miss"]
    assert entries(queue) == 0


@pytest.mark.parametrize("explain_rank", [0, 1])
def test_an_answer_about_other_bytes_is_neither_given_nor_kept(
    worker: EchoWorker, queue: RedisServer, explain_rank: int
) -> None:
    with pytest.raises(JobFailed) as failed:
        asked(name="cd" * 32 + ".jpg", explain_rank=explain_rank)
    assert failed.value.failure.code == "image_missing"
    assert entries(queue) == 0
    assert asked(explain_rank=explain_rank).cache == ("" if explain_rank else "miss")


def test_a_failure_is_not_kept(worker: EchoWorker) -> None:
    answer = worker.reply
    worker.reply = lambda delivery: Failure(delivery.job.id, "image_broken", "it ends too early")
    with pytest.raises(JobFailed):
        asked()
    worker.reply = answer
    assert asked().cache == "miss"


def test_the_same_image_many_times_at_once_is_one_job(worker: EchoWorker) -> None:
    with held(worker) as release, ThreadPoolExecutor(MANY) as pool:
        waiting = [pool.submit(asked) for _ in range(MANY)]
        wait_until(lambda: followers() == MANY - 1, "all but one wait for the first")
        release.set()
        answers = [answer.result() for answer in waiting]
    assert len(worker.images) == 1
    assert {tuple(answer) for answer in answers} == {tuple(answers[0])}
    assert sorted(answer.cache for answer in answers) == ["hit"] * (MANY - 1) + ["miss"]
    assert [answer.timings != {} for answer in answers] == [answer.cache == "miss" for answer in answers]


def test_more_classes_than_the_job_under_way_will_tell_are_a_job_of_their_own(worker: EchoWorker) -> None:
    with held(worker) as release, ThreadPoolExecutor(2) as pool:
        few = pool.submit(asked, top_k=5)
        wait_until(lambda: worker.images != [], "the first has asked")
        many = pool.submit(asked, top_k=7)
        wait_until(lambda: jobs() == 2 or followers() == 1, "the second has asked, too")
        release.set()
        assert (len(few.result().predictions), len(many.result().predictions)) == (5, 7)


class held:  # noqa: N801  reads as the state that it makes
    """Have the worker answer only once the event is set, which leaving does."""

    def __init__(self, worker: EchoWorker) -> None:
        self._worker = worker
        self._reply = worker.reply
        self._release = threading.Event()

    def __enter__(self) -> threading.Event:
        self._worker.reply = self._wait
        return self._release

    def __exit__(self, *_: object) -> None:
        self._release.set()

    def _wait(self, delivery: Delivery) -> Answer | Failure | None:
        self._release.wait(PATIENCE_S)
        return self._reply(delivery)


def jobs() -> int:
    return job_queue.refresh_queue_state().depth


def followers() -> int:
    queue = job_queue._process.queue
    assert queue is not None
    return queue.single_flight.followers()


def test_an_image_that_is_known_is_answered_while_the_queue_is_full(
    worker: EchoWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "MAX_QUEUE_SIZE", 1)
    await_served(VERSION)
    asked()
    with held(worker) as release, ThreadPoolExecutor(1) as pool:
        other = pool.submit(asked, "cd" * 32)
        wait_until(lambda: len(worker.images) == 2, "the queue is full")
        assert asked().cache == "hit"
        release.set()
        other.result()


def test_time_to_live_and_bound_are_those_of_the_settings(
    worker: EchoWorker, queue: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "CACHE_TTL_S", 77)
    monkeypatch.setattr(settings, "CACHE_MAX_ENTRIES", 1)
    await_served(VERSION)
    for number in range(3):
        asked(sha256=f"{number:064x}")
    assert entries(queue) == 1
    assert 70 <= int(queue.command("TTL", "{sightline}:answer:0").strip(b":\r\n")) <= 77
    assert len(worker.images) == 3


def test_where_redis_is_away_it_is_as_without_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "REDIS_PORT", 1)
    token = current_options.set(PredictOptions(sha256=SHA256))
    try:
        with pytest.raises(QueueUnavailable):
            model_predict(NAME)
    finally:
        current_options.reset(token)
        job_queue.close_queue()


def test_a_cache_that_may_not_be_used_fails_nobody(worker: EchoWorker, queue: RedisServer) -> None:
    queue.command("ACL", "SETUSER", "default", "resetkeys", "~{sightline}:[^a]*")
    try:
        assert [asked().cache for _ in range(2)] == ["", ""]
        assert entries(queue) == 0
    finally:
        queue.command("ACL", "SETUSER", "default", "allkeys")


def test_a_cache_that_is_too_slow_was_not_asked(
    worker: EchoWorker, queue: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BestEffort, "run", lambda *_: None)
    monkeypatch.setattr(BestEffort, "exchange", lambda *_: None)
    assert asked().cache == ""


@pytest.mark.parametrize("is_on", [True, False])
def test_the_client_is_told_where_its_answer_came_from_where_the_cache_is_on(
    *,
    client: FlaskClient,
    worker: EchoWorker,
    image: bytes,
    uploads_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_on: bool,
) -> None:
    monkeypatch.setattr(settings, "RESULT_CACHE", is_on)
    worker.digest_of = digest_in(uploads_folder)

    def told() -> str | None:
        while True:
            answer = client.post("/predict", data=image, content_type="image/jpeg")
            if answer.status_code == 200:
                return answer.headers.get("X-Cache")

    assert [told(), told()] == (["miss", "hit"] if is_on else [None, None])
    assert len(worker.images) == (1 if is_on else 2)


@pytest.fixture
def served(serve: Serve, worker: EchoWorker, uploads_folder: Path) -> Iterator[Served]:
    """The real server, under gevent, with the cache on."""
    worker.digest_of = digest_in(uploads_folder)
    with serve(REDIS_PORT=worker.port, RESULT_CACHE=1, REQUEST_TIMEOUT_S=PATIENCE_S) as running:
        wait_until(lambda: running.ask(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")[0] == 200, "the service is ready")
        yield running


def test_equal_requests_to_the_server_are_one_job_while_it_is_under_way(
    served: Served, worker: EchoWorker, image: bytes, uploads_folder: Path
) -> None:
    with held(worker) as release, ExitStack() as stack:
        connections = [stack.enter_context(closing(served.connect())) for _ in range(MANY)]
        for connection in connections:
            connection.sendall(raw_image(image))
        wait_until(lambda: worker.images != [], "one of them is a job")
        release.set()
        answers = [read_answer(connection) for connection in connections]
    assert {status for status, _, _ in answers} == {200}
    assert {body for _, _, body in answers} == {answers[0][2]}
    assert sorted(headers["x-cache"] for _, headers, _ in answers) == ["hit"] * (MANY - 1) + ["miss"]
    assert len({headers["x-prediction-id"] for _, headers, _ in answers}) == MANY
    assert len(worker.images) == 1
    assert [path.name for path in uploads_folder.iterdir()] == worker.images


def test_a_job_goes_on_for_those_who_wait_when_the_client_that_asked_first_is_gone(
    served: Served, worker: EchoWorker, queue: RedisServer, image: bytes
) -> None:
    def is_in_queue(content: bytes) -> bool:
        name = hashlib.md5(content, usedforsecurity=False).hexdigest().encode()
        return name in queue.command("XRANGE", "{sightline}:jobs", "-", "+")

    with held(worker) as release, ExitStack() as stack:
        first, second, other = (stack.enter_context(closing(served.connect())) for _ in range(3))
        first.sendall(raw_image(image))
        wait_until(lambda: worker.images != [], "the first has asked")
        second.sendall(raw_image(image))
        other.sendall(raw_image(image + b"\0"))
        wait_until(lambda: is_in_queue(image + b"\0"), "the one after the second has asked, too")
        first.close()
        other.close()
        wait_until(lambda: not is_in_queue(image + b"\0"), "the job without a waiting client is cancelled")
        assert is_in_queue(image)
        release.set()
        status, headers, _ = read_answer(second)
    assert (status, headers["x-cache"]) == (200, "hit")
    assert len(worker.images) == 1
