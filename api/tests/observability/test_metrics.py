import base64
import fcntl
import gzip
import io
import os
import re
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

import settings
from observability import metrics
from predict import job_queue
from predict.prediction import Prediction
from sightline_testing import sample_images
from sightline_testing.redis_server import RedisServer
from storage.reports import files as store
from tests.conftest import Serve
from tests.serving import CONFIDENCE, MODEL, VERSION, EchoWorker, Served, raw_image, serving, wait_until
from wire import Failure, JobFailed, QueueFull
from wire.errors import Abandoned, DeadlineExceeded

METRICS = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
OPEN_INFERENCE = {
    "inputs": [
        {
            "name": "image",
            "datatype": "BYTES",
            "shape": [1],
            "data": [base64.b64encode(sample_images.jpeg(64, 48)).decode()],
        }
    ]
}
Samples = dict[tuple[str, tuple[str, ...]], float]


SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def samples(text: str) -> Samples:
    """Return the values by name and labels, the latter in their names' order.

    Prometheus's own parser, which reads the same, takes many times as long.
    """
    return {
        (name, tuple(value for _, value in sorted(LABEL.findall(labels)))): float(value)
        for name, labels, value in SAMPLE.findall(text)
    }


def told(client: FlaskClient) -> Samples:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.content_type.startswith("text/plain; version=")
    return samples(answer.text)


def grown(before: Samples, after: Samples) -> Samples:
    changes = {key: value - before.get(key, 0) for key, value in after.items()}
    return {key: change for key, change in changes.items() if change and not key[0].endswith("_created")}


def test_prometheus_reads_the_same_samples(client: FlaskClient, asked: list[str], image: bytes) -> None:
    client.post("/predict", data=image, content_type="image/jpeg")
    text = client.get("/metrics").text
    families = list(text_string_to_metric_families(text))
    assert samples(text) == {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }
    assert {("sightline_requests_total", ("200", "/predict", ""))} <= samples(text).keys()


def test_answers_are_counted_by_route_and_status(client: FlaskClient, asked: list[str], image: bytes) -> None:
    before = told(client)
    client.post("/predict", data=image, content_type="image/jpeg")
    client.post("/predict", data=b"no image", content_type="text/plain")
    client.get("/nowhere")
    after = grown(before, told(client))
    assert after["sightline_requests_total", ("200", "/predict", "")] == 1
    assert after["sightline_requests_total", ("400", "/predict", "")] == 1
    assert after["sightline_requests_total", ("404", "none", "")] == 1
    assert after["sightline_request_duration_seconds_count", ("/predict", "")] == 2
    assert after["sightline_stage_duration_seconds_count", ("upload",)] == 1
    assert after["sightline_confidence_bucket", ("0.9", "")] == 1
    assert ("sightline_confidence_bucket", ("0.8", "")) not in after


def test_what_comes_back_from_the_queue_is_timed(client: FlaskClient, worker: EchoWorker, image: bytes) -> None:
    wait_until(lambda: client.get("/readyz").status_code == 200, "the worker is registered")
    before = told(client)
    assert client.post("/predict", data=image, content_type="image/jpeg").status_code == 200
    after = grown(before, told(client))
    assert after["sightline_stage_duration_seconds_count", ("reply",)] == 1
    assert after["sightline_confidence_sum", (f"{MODEL}/{VERSION}",)] == pytest.approx(CONFIDENCE)


VERSIONED: dict[str, dict[str, Any]] = {
    "/predict": {"data": sample_images.jpeg(64, 48), "content_type": "image/jpeg"},
    "/": {"data": {"file": (sample_images.jpeg(64, 48), "a.jpg")}},
    "/v2/models/<name>/infer": {"json": OPEN_INFERENCE},
}


@pytest.mark.parametrize("route", VERSIONED)
def test_every_route_that_predicts_is_counted_for_the_version_that_answered(
    client: FlaskClient, worker: EchoWorker, route: str
) -> None:
    wait_until(lambda: client.get("/readyz").status_code == 200, "the worker is registered")
    before, version = told(client), f"{MODEL}/{VERSION}"
    asked = dict(VERSIONED[route])
    if isinstance(asked.get("data"), dict):
        asked["data"] = {"file": (io.BytesIO(sample_images.jpeg(64, 48)), "a.jpg")}
    path = route.replace("<name>", MODEL)
    assert client.post(path, **asked).status_code == 200
    assert client.post(path, data=b"x", content_type="text/plain").status_code != 200
    after = grown(before, told(client))
    counted = {key[1][0::2]: value for key, value in after.items() if key[0] == "sightline_requests_total"}
    assert counted["200", version] == 1
    assert [version for _, version in counted if version] == [version]
    assert after["sightline_confidence_count", (version,)] == 1
    timed = {key[1] for key in after if key[0] == "sightline_request_duration_seconds_count"}
    assert [label for endpoint, label in timed if label] == [version]


def test_versions_without_end_share_labels(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(100):
        metrics.count_prediction(Prediction(("cat", 0.5), model_version=f"model/{number}"), 0.1)
    versions = {labels[0] for name, labels in told(client) if name == "sightline_confidence_count"}
    assert len(versions) <= metrics.MAX_VERSIONS + 1
    assert metrics.OTHER in versions


def test_the_metrics_are_compressed_for_those_who_take_that(client: FlaskClient) -> None:
    for accepted, is_compressed in {
        "gzip": True, "deflate, gzip;q=0.5": True, "*": True, "gzip;q=0": False, "identity": False, "": False
    }.items():  # fmt: skip
        answer = client.get("/metrics", headers={"Accept-Encoding": accepted})
        assert (answer.headers.get("Content-Encoding") == "gzip") == is_compressed
        text = gzip.decompress(answer.data) if is_compressed else answer.data
        assert b"sightline_build_info{" in text
        assert {"Accept", "Accept-Encoding"} <= set(answer.vary)
        assert answer.content_length == len(answer.data)


def test_the_cache_is_counted(
    client: FlaskClient, worker: EchoWorker, image: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "RESULT_CACHE", True)
    wait_until(lambda: client.get("/readyz").status_code == 200, "the worker is registered")
    before = told(client)
    for _ in range(2):
        client.post("/predict", data=image, content_type="image/jpeg")
    after = grown(before, told(client))
    assert (after["sightline_cache_total", ("miss",)], after["sightline_cache_total", ("hit",)]) == (1, 1)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (QueueFull(8, 8, 1.0), "rejected"),
        (DeadlineExceeded("late"), "expired"),
        (Abandoned("gone"), "cancelled"),
        (JobFailed(Failure("1", "poison")), "poison"),
    ],
)
def test_a_job_that_comes_to_nothing_is_counted_with_its_reason(
    client: FlaskClient, image: bytes, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def fail(image_name: str) -> tuple[str, float]:
        raise error

    monkeypatch.setattr("views.model_predict", fail)
    before = told(client)
    client.post("/predict", data=image, content_type="image/jpeg")
    after = grown(before, told(client))
    assert {key[1]: value for key, value in after.items() if key[0] == "sightline_dropped_total"} == {(reason,): 1}


def test_every_reason_is_told_before_it_ever_happens(client: FlaskClient) -> None:
    reasons = {labels for name, labels in told(client) if name == "sightline_dropped_total"}
    assert reasons == {("expired",), ("cancelled",), ("rejected",), ("poison",)}


def test_a_report_is_counted(client: FlaskClient) -> None:
    before = told(client)
    client.post("/feedback", data={"report": "a lynx, not a tabby"})
    client.post("/feedback", data={})
    assert grown(before, told(client))["sightline_feedback_total", ()] == 1


def test_the_queue_and_its_workers_are_told(client: FlaskClient, worker: EchoWorker) -> None:
    wait_until(lambda: client.get("/readyz").status_code == 200, "the worker is registered")
    wait_until(lambda: told(client).get(("sightline_workers", ())) == 1, "the worker is counted")
    now = told(client)
    assert now["sightline_redis_up", ()] == 1
    assert now["sightline_queue_depth", ()] == 0
    assert now["sightline_queue_bound", ()] > 0
    assert ("sightline_queue_oldest_age_seconds", ()) in now
    wait_until(
        lambda: told(client).get(("sightline_worker_up", (MODEL, VERSION, f"echo-{VERSION}"))) == 1, "it is named"
    )


def test_without_redis_the_metrics_are_told_all_the_same(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "REDIS_PORT", 1)
    job_queue.close_queue()
    client.get("/readyz")
    now = told(client)
    assert now["sightline_redis_up", ()] == 0
    assert ("sightline_queue_depth", ()) not in now
    job_queue.close_queue()


def test_openmetrics_is_for_those_who_ask_for_it(client: FlaskClient) -> None:
    plain = client.get("/metrics")
    assert plain.content_type == "text/plain; version=0.0.4; charset=utf-8"
    answer = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0, */*;q=0.1"})
    assert answer.content_type.startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert answer.text.endswith("# EOF\n")


OPENMETRICS, PLAIN = "application/openmetrics-text; version=1.0.0", "text/plain; version=0.0.4"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (f"{OPENMETRICS};q=0.5, {PLAIN};q=0.9", PLAIN),
        (f"{PLAIN};q=0.2, {OPENMETRICS};q=0.5", OPENMETRICS),
        (f"{OPENMETRICS};q=0, {PLAIN}", PLAIN),
        (f"{OPENMETRICS};q=0.1, */*;q=0.8", PLAIN),
        (f"application/vnd.google.protobuf;q=0.6, {PLAIN};q=0.3, {OPENMETRICS};q=0.5, */*;q=0.1", OPENMETRICS),
        ("application/json", PLAIN),
    ],
)
def test_the_format_is_the_one_that_is_preferred(client: FlaskClient, accept: str, expected: str) -> None:
    assert client.get("/metrics", headers={"Accept": accept}).content_type.startswith(expected)


@pytest.mark.parametrize("version", ["x", "1.x", "", "9" * 5000, "1.0.0\t"])
@pytest.mark.parametrize("kind", ["application/openmetrics-text", "text/plain"])
def test_a_version_that_does_not_exist_is_answered(client: FlaskClient, kind: str, version: str) -> None:
    assert client.get("/metrics", headers={"Accept": f"{kind}; version={version}"}).status_code == 200


def test_a_stranger_cannot_make_the_metrics_grow_without_end(client: FlaskClient) -> None:
    client.get("/metrics")
    before = len(told(client))
    for number in range(50):
        client.get(f"/nowhere/{number}")
        client.get(f"/display/{number}.jpg")
    assert len(told(client)) < before + 40


def metrics_of(served: Served) -> Samples:
    status, _, body = served.ask(METRICS)
    assert status == 200
    return samples(body.decode())


def asked_of(served: Served) -> float:
    return metrics_of(served).get(("sightline_requests_total", ("400", "/predict", "")), 0)


def test_all_processes_are_counted_whichever_is_asked_and_also_those_that_died(
    serve: Serve, redis_server: RedisServer
) -> None:
    with serve(API_WORKERS=3, REDIS_PORT=redis_server.port) as served:
        wait_until(lambda: len(served.workers()) == 3, "all processes run")
        for _ in range(60):
            assert served.ask(raw_image(b""))[0] == 400
        wait_until(lambda: asked_of(served) == 60, "all processes have added up what they counted")
        assert [asked_of(served) for _ in range(6)] == [60] * 6
        [first, *others] = served.workers()
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: len(set(served.workers()) - {first}) == 3, "a killed process has a successor")
        assert [asked_of(served) for _ in range(6)] == [60] * 6
        assert others


def test_the_metrics_are_told_while_the_queue_is_full(
    serve: Serve, redis_server: RedisServer, echo_that_sleeps: EchoWorker
) -> None:
    with serve(REDIS_PORT=redis_server.port, MAX_QUEUE_SIZE=1, REQUEST_TIMEOUT_S=30) as served:
        wait_until(lambda: metrics_of(served).get(("sightline_workers", ()), 0) == 1, "the worker is registered")
        waiting = served.connect()
        waiting.sendall(raw_image(sample_images.jpeg(64, 48)))
        wait_until(lambda: metrics_of(served)["sightline_queue_depth", ()] == 1, "the queue is full")
        status, headers, _ = served.ask(raw_image(sample_images.jpeg(65, 48)))
        assert (status, "retry-after" in headers) == (503, True)
        assert metrics_of(served)["sightline_dropped_total", ("rejected",)] == 1
        waiting.close()


@pytest.fixture
def echo_that_sleeps(worker: EchoWorker) -> EchoWorker:
    worker.reply = lambda delivery: None
    return worker


def test_the_shared_folder_is_gone_with_the_service_and_that_of_a_killed_one_with_the_next(serve: Serve) -> None:
    parent = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(tempfile.gettempdir())  # noqa: S108
    dead = parent / f"sightline-metrics-{2**22 + 1}-x"
    dead.mkdir()
    with serve(REDIS_PORT=1) as served:
        assert not dead.exists()
        own = f"sightline-metrics-{served.process.pid}-*"
        assert len(list(parent.glob(own))) == 1
    assert list(parent.glob(own)) == []


def test_a_report_counts_once_however_often_it_is_sent(client: FlaskClient, asked: list[str], image: bytes) -> None:
    said = client.post("/predict", data=image, content_type="image/jpeg").headers["X-Prediction-Id"]
    before = told(client)
    for key in ("one", "two"):
        for _ in range(3):
            headers = {"Idempotency-Key": key}
            assert client.post("/feedback", json={"prediction_id": said}, headers=headers).status_code == 201
            assert (
                client.post("/feedback", data={"report": "free"}, headers={"Idempotency-Key": f"f{key}"}).status_code
                == 200
            )
        client.post("/feedback", json={"prediction_id": said, "label": "lynx"}, headers={"Idempotency-Key": key})
    assert grown(before, told(client))["sightline_feedback_total", ()] == 4


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of one process without Redis."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "feedback").mkdir()
    with serving(folder, {"REDIS_PORT": 1, "API_WORKERS": 1}) as running:
        yield running


@pytest.mark.parametrize("header", ["Idempotency-Key: one\r\n", ""], ids=["with a key", "without"])
def test_a_report_that_was_refused_is_not_kept_and_counts_once_with_its_retry(served: Served, header: str) -> None:
    """The lock is held for longer than a request waits: what is answered with 503 is not written later."""
    body = f"report=late {len(header)}".encode()
    head = f"Host: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n{header}"
    request = f"POST /feedback HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    folder = served.folder / "feedback"
    written = folder / "feedback"
    lines, before = written.read_text() if written.exists() else "", metrics_of(served)
    with (folder / store.LOCK_NAME).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert served.ask(request)[0] == 503
    assert served.ask(request)[0] == 200
    assert written.read_text() == f"{lines}late {len(header)}\n"
    assert grown(before, metrics_of(served))["sightline_feedback_total", ()] == 1
