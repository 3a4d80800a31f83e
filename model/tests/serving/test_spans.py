"""What becomes a span in a worker, as a collector has it; tests/test_traces.py tests the whole service."""

import itertools
import logging
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

import settings
from inference.model import Model, load
from serving import tracing
from serving.classifier import Classifier, Occupancy
from sightline_testing import sample_images
from sightline_testing.collector import Collector, Span, collecting
from sightline_testing.redis_server import free_port
from sightline_testing.waiting import wait_until
from storage.images.folder import image_folder
from wire import Delivery, Job
from wire.telemetry.spans import MAX_BATCH, MAX_WAITING, SpanExport

MODEL = Path(__file__).resolve().parents[2]
PARENT_ID = "b7ad6b7169203331"
WITHOUT = """
import sys, ml_service
from serving import tracing
tracing.opened("worker").stop()
print(sorted({name.partition(".")[0] for name in sys.modules} & {"opentelemetry", "requests", "urllib3"}))
"""


@pytest.fixture(scope="module")
def model(bundles: Path) -> Model:
    return load(bundles / "efficientnet-lite0" / "1-int8", "openvino", streams=2, cores=2)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as collector:
        monkeypatch.setattr(settings, "OTEL_TRACES_EXPORTER", "otlp")
        monkeypatch.setattr(settings, "OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        yield collector


def trace_id(number: int) -> str:
    return f"{number + 1:032x}"


def deliveries(*images: str, flags: str = "01") -> list[Delivery]:
    return [
        Delivery(
            f"{at}-0",
            Job(f"job{at}", image, "replies", 5_000, traceparent=f"00-{trace_id(at)}-{PARENT_ID}-{flags}"),
            1,
            250.0,
            math.inf,
        )
        for at, image in enumerate(images)
    ]


def serve(classifier: Classifier, batch: Sequence[Delivery]) -> None:
    """Do with a batch what a consumer does, but for the queue."""
    outcomes = classifier.outcomes(batch)
    classifier.recorder.note("reply", time.perf_counter(), batch)
    classifier.recorder.end(outcomes)


def traced(model: Model, folder: Path, *batches: Sequence[Delivery], threads: int = 0) -> None:
    """Run batches through one consumer of a worker whose traces are on, to their end."""
    for seed in range(2):
        (folder / f"{seed}.jpg").write_bytes(sample_images.jpeg(seed=seed))
    (folder / "broken.jpg").write_bytes(sample_images.bad("truncated.jpg").content)
    traces = tracing.opened("worker-1")
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        decode_map = pool.map if threads else map
        classifier = Classifier(model, image_folder(folder), 8, Occupancy(), decode_map, recorder=traces.recorder())
        for batch in batches:
            serve(classifier, batch)
    traces.stop()


def exported() -> SpanExport:
    return SpanExport(ALWAYS_ON, "worker", exporter="otlp", endpoint=settings.OTEL_EXPORTER_OTLP_ENDPOINT)


def by_name(spans: Sequence[Span]) -> dict[str, Span]:
    assert len({span.name for span in spans}) == len(spans)
    return {span.name: span for span in spans}


def test_off_nothing_of_it_is_loaded() -> None:
    environment = {"PYTHONPATH": ".", "PATH": os.environ["PATH"]}
    finished = subprocess.run(
        [sys.executable, "-c", WITHOUT], cwd=MODEL, env=environment, capture_output=True, text=True, check=True
    )
    assert finished.stdout.strip() == "[]"


@pytest.mark.parametrize("threads", [0, 3])
def test_jobs_of_one_batch_share_its_inference_each_in_its_own_trace(
    model: Model, uploads: Path, collector: Collector, threads: int
) -> None:
    traced(model, uploads, deliveries("0.jpg", "1.jpg"), threads=threads)
    first, second = by_name(collector.of(trace_id(0))), by_name(collector.of(trace_id(1)))
    assert set(first) == set(second) == {"queue", "decode", "infer", "reply"}
    assert {span.parent_id for span in (*first.values(), *second.values())} == {PARENT_ID}
    assert (first["infer"].start, first["infer"].end) == (second["infer"].start, second["infer"].end)
    assert first["infer"].attributes["sightline.batch_size"] == 2
    assert first["queue"].end - first["queue"].start == pytest.approx(250e6, abs=1e6)
    assert max(first["decode"].end, second["decode"].end) <= first["infer"].start
    if not threads:
        assert first["decode"].end <= second["decode"].start
    assert first["reply"].resource["service.instance.id"] == "worker-1"


def test_stages_keep_their_order_where_the_process_is_stopped_between_two_clocks(
    model: Model, uploads: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, readings = time.time_ns, itertools.count()

    def stopped_after_every_second() -> int:
        now = read()
        if next(readings) % 2 == 0:
            time.sleep(0.05)
        return now

    monkeypatch.setattr(time, "time_ns", stopped_after_every_second)
    traced(model, uploads, deliveries("0.jpg", "1.jpg"))
    first, second = by_name(collector.of(trace_id(0))), by_name(collector.of(trace_id(1)))
    assert first["queue"].end <= first["decode"].start
    assert first["decode"].end <= second["decode"].start
    assert second["decode"].end <= first["infer"].start
    assert first["infer"].end <= first["reply"].start


def test_a_broken_image_has_no_inference_and_says_where_it_failed(
    model: Model, uploads: Path, collector: Collector
) -> None:
    traced(model, uploads, deliveries("0.jpg", "broken.jpg"))
    whole, broken = by_name(collector.of(trace_id(0))), by_name(collector.of(trace_id(1)))
    assert whole["infer"].attributes["sightline.batch_size"] == 1
    assert set(broken) == {"queue", "decode", "reply"}
    assert {name: span.attributes.get("error.type") for name, span in broken.items()} == {
        "queue": None,
        "decode": "image_broken",
        "reply": "image_broken",
    }
    assert [span.is_error for span in whole.values()] == [False] * 4


def test_jobs_whose_request_is_not_traced_are_not_traced(model: Model, uploads: Path, collector: Collector) -> None:
    nameless = [Delivery("9-0", Job("job9", "0.jpg", "replies", 5_000), 1, 1.0, math.inf)]
    strange = [Delivery("8-0", Job("job8", "0.jpg", "replies", 5_000, traceparent="00-trace"), 1, 1.0, math.inf)]
    traced(model, uploads, nameless, strange, deliveries("0.jpg", flags="00"))
    assert collector.spans == []


def test_a_batch_whose_answers_never_left_leaves_nothing_to_the_next_one(
    model: Model, uploads: Path, collector: Collector
) -> None:
    (uploads / "0.jpg").write_bytes(sample_images.jpeg(seed=0))
    traces = tracing.opened("worker-1")
    classifier = Classifier(model, image_folder(uploads), 8, Occupancy(), recorder=traces.recorder())
    lost, answered = deliveries("0.jpg", "0.jpg")
    classifier.outcomes([lost])
    serve(classifier, [answered])
    traces.stop()
    assert collector.of(trace_id(0)) == []
    assert len(collector.of(trace_id(1))) == 4


def test_a_collector_that_comes_late_is_told_of_once_and_gets_what_comes_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    monkeypatch.setattr(settings, "OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setattr(settings, "OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    export = exported()

    def lines(text: str) -> int:
        return sum(text in record.getMessage() for record in caplog.records)

    def span_until(condition: str) -> None:
        def spanned() -> bool:
            export.tracer.start_span("one").end()
            return lines(condition) > 0

        wait_until(spanned, condition)

    with caplog.at_level(logging.WARNING):
        span_until("takes no spans")
        reasons = lines("Failed to export spans")
        with collecting(port=port) as collector:
            span_until("spans arrive again")
            export.stop()
    assert (lines("takes no spans"), lines("spans arrive again")) == (1, 1)
    assert lines("Failed to export spans") == reasons == 1
    assert {span.name for span in collector.spans} == {"one"}


def test_a_collector_that_hangs_is_not_waited_for_and_what_finds_no_room_is_dropped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(settings, "OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3600")
    with collecting(is_deaf=True) as deaf, caplog.at_level(logging.WARNING):
        monkeypatch.setattr(settings, "OTEL_EXPORTER_OTLP_ENDPOINT", deaf.url)
        export = exported()
        for _ in range(MAX_WAITING + 2 * MAX_BATCH):
            export.tracer.start_span("one").end()
        export.stop()
        assert deaf.requests == 1
    assert "Queue full" in caplog.text
