"""What becomes a span in the api, as a collector has it; tests/test_traces.py tests the whole service."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import BytesIO

import pytest
from flask import Flask
from flask.testing import FlaskClient

import settings
from app import create_app
from observability import tracing
from server.load_shedding import LoadShedder
from sightline_testing import sample_images
from sightline_testing.collector import Collector, Span, collecting
from sightline_testing.redis_server import RedisServer
from tests.serving import API, EchoWorker, raw_image, wait_until

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"
Sent = Callable[[], list[Span]]

WITHOUT = """
import sys, app
from observability import pushed_metrics, tracing
tracing.start()
pushed_metrics.start(app.app)
with tracing.admission("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "vendor=1"):
    app.app.test_client().get("/labels")
tracing.stop()
pushed_metrics.stop()
print(sorted({name.partition(".")[0] for name in sys.modules} & {"opentelemetry", "google", "requests", "urllib3"}))
"""


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as collector:
        monkeypatch.setattr(settings, "OTEL_TRACES_EXPORTER", "otlp")
        monkeypatch.setattr(settings, "OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        yield collector


@pytest.fixture
def sent(collector: Collector) -> Iterator[Sent]:
    """Trace what the test does, and give the spans of it once the last one is sent."""
    tracing.start()

    def all_of_them() -> list[Span]:
        tracing.stop()
        return sorted(collector.spans, key=lambda span: span.start)

    yield all_of_them
    tracing.stop()


@pytest.fixture
def traced(sent: Sent, application: Flask) -> FlaskClient:
    """Give a client of an application that was made with traces on."""
    traced = create_app()
    traced.config["UPLOAD_FOLDER"] = application.config["UPLOAD_FOLDER"]
    return traced.test_client()


def test_off_nothing_of_it_is_loaded() -> None:
    environment = {"PYTHONPATH": ".", "PATH": os.environ["PATH"]}
    finished = subprocess.run(
        [sys.executable, "-c", WITHOUT], cwd=API, env=environment, capture_output=True, text=True, check=True
    )
    assert finished.stdout.strip() == "[]"


def test_a_request_is_a_span_below_its_callers_and_the_job_is_told_of_it(
    traced: FlaskClient, worker: EchoWorker, sent: Sent, image: bytes
) -> None:
    wait_until(lambda: traced.get("/readyz").status_code == 200, "the worker is registered")
    jobs: list[str] = []
    answer = worker.reply
    worker.reply = lambda delivery: jobs.append(delivery.job.traceparent) or answer(delivery)  # type: ignore[func-returns-value]
    headers = {"traceparent": TRACEPARENT}
    assert traced.post("/predict", data=image, content_type="image/jpeg", headers=headers).status_code == 200
    http, upload, admit = sent()
    assert [span.name for span in (http, upload, admit)] == ["POST /predict", "upload", "admit"]
    assert (http.trace_id, http.parent_id) == (TRACE_ID, PARENT_ID)
    assert {upload.parent_id, admit.parent_id} == {http.span_id}
    assert jobs == [f"00-{TRACE_ID}-{http.span_id}-01"]
    assert http.start <= upload.start <= upload.end <= admit.start <= admit.end <= http.end
    assert http.resource["service.name"] == "sightline-api"


def test_several_images_of_one_request_are_admitted_below_one_span(
    traced: FlaskClient, worker: EchoWorker, sent: Sent
) -> None:
    wait_until(lambda: traced.get("/readyz").status_code == 200, "the worker is registered")
    files = [(BytesIO(sample_images.jpeg(seed=seed)), f"{seed}.jpg") for seed in range(3)]
    assert traced.post("/predict", data={"file": files}).status_code == 200
    http, *admissions = sent()
    assert [span.name for span in admissions] == ["admit"] * 3
    assert {span.parent_id for span in admissions} == {http.span_id}


def test_a_job_that_is_not_let_in_marks_its_admission_and_its_request(
    traced: FlaskClient, queue: RedisServer, sent: Sent, image: bytes
) -> None:
    def answered() -> bool:
        answer = traced.post("/predict", data=image, content_type="image/jpeg")
        return answer.status_code == 503 and b'"no_worker"' in answer.data

    wait_until(answered, "it is known that there is no worker")
    *_, http, _, admit = sent()
    assert (http.name, http.is_error) == ("POST /predict", True)
    assert http.attributes["error.type"] == http.attributes["sightline.outcome"] == "no_worker"
    assert http.attributes["http.response.status_code"] == 503
    assert (admit.name, admit.is_error, admit.attributes["error.type"]) == ("admit", True, "NoWorker")


def test_what_is_refused_before_it_is_read_is_a_span_too(sent: Sent) -> None:
    large = raw_image(b"\xff\xd8\xff" + bytes(20_000), headers=f"Traceparent: {TRACEPARENT}\r\n")
    assert (
        LoadShedder(lambda count, client: None, lambda: None).refuse(large, lag_s=60.0, connections=1, closes=True)
        is not None
    )
    [http] = sent()
    assert (http.name, http.kind, http.trace_id, http.parent_id) == ("POST /predict", "server", TRACE_ID, PARENT_ID)
    assert (http.attributes["http.response.status_code"], http.attributes["sightline.outcome"]) == (503, "overloaded")
    assert http.is_error


def test_a_route_that_nobody_has_is_named_by_its_method_alone(traced: FlaskClient, sent: Sent) -> None:
    traced.get("/secret-4711")
    traced.open("/labels", method="BREW")
    unknown, strange = sent()
    assert (unknown.name, unknown.attributes["sightline.outcome"]) == ("GET", "not_found")
    assert "http.route" not in unknown.attributes
    assert (strange.name, strange.attributes["http.request.method"]) == ("_OTHER", "_OTHER")
    assert "4711" not in str((unknown, strange))


@pytest.mark.parametrize(
    ("sampler", "flags", "count"),
    [
        ("parentbased_always_on", "00", 0),
        ("parentbased_traceidratio", "01", 1),
        ("traceidratio", "01", 0),
        ("always_on", "00", 1),
        ("parentbased_always_off", "", 0),
    ],
)
def test_what_is_traced_is_up_to_the_sampler(
    monkeypatch: pytest.MonkeyPatch, collector: Collector, sampler: str, flags: str, count: int
) -> None:
    monkeypatch.setattr(settings, "OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setattr(settings, "OTEL_TRACES_SAMPLER_ARG", 0.0)
    tracing.start()
    headers = {"traceparent": TRACEPARENT[:-2] + flags} if flags else {}
    create_app().test_client().get("/labels", headers=headers)
    tracing.stop()
    assert len(collector.spans) == count


def test_a_caller_whose_header_makes_no_sense_has_no_part_in_the_trace(traced: FlaskClient, sent: Sent) -> None:
    for told in ("00-0-0-01", f"ff-{TRACE_ID}-{PARENT_ID}-01", f"00-{'0' * 32}-{PARENT_ID}-01", "x" * 5000):
        traced.get("/labels", headers={"traceparent": told})
    spans = sent()
    assert [span.parent_id for span in spans] == [""] * 4
    assert len({span.trace_id for span in spans}) == 4


def test_an_sdk_that_is_told_to_do_nothing_disturbs_nobody(
    monkeypatch: pytest.MonkeyPatch, collector: Collector, asked: list[str], application: Flask, image: bytes
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    tracing.start()
    traced = create_app()
    traced.config["UPLOAD_FOLDER"] = application.config["UPLOAD_FOLDER"]
    assert traced.test_client().post("/predict", data=image, content_type="image/jpeg").status_code == 200
    tracing.stop()
    assert len(asked) == 1
    assert collector.spans == []
