"""The metrics of a worker, on its own port."""

import socket
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.parser import text_string_to_metric_families

import settings
from serving import health, metrics
from serving.readiness import Readiness
from sightline_testing.redis_server import free_port
from wire import Answer, Delivery, Failure, Job

TIMINGS = {"queue": 3.0, "decode": 4.0, "infer": 20.0}


TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def delivery(flags: str = "01") -> Delivery:
    job = Job("1-1", "a.jpg", "1-1", 5000, traceparent=f"00-{TRACE_ID}-{SPAN_ID}-{flags}")
    return Delivery("1-0", job, 1, 0.0, 5.0)


def told(port: int) -> dict[tuple[str, tuple[str, ...]], float]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_batch_is_counted_by_size_outcome_and_stage() -> None:
    port = free_port()
    health.serve("127.0.0.1", port, Readiness())
    metrics.name("here:1", "net", "7", "openvino")
    before = told(port)
    answers = [Answer(str(number), (("tabby", 0.5),), "net", "7", TIMINGS) for number in range(3)]
    metrics.count_batch([*((delivery(), each) for each in answers), (delivery(), Failure("3", "image_broken"))])
    after = told(port)
    assert after["sightline_batch_size_sum", ()] - before["sightline_batch_size_sum", ()] == 4
    assert after["sightline_jobs_total", ("answered",)] - before["sightline_jobs_total", ("answered",)] == 3
    assert after["sightline_jobs_total", ("image_broken",)] == 1
    infer = ("sightline_stage_duration_seconds_sum", ("infer",))
    assert after[infer] - before[infer] == pytest.approx(0.06)
    assert after["sightline_worker_serves", ("openvino", "net", "7", "here:1")] == 1
    assert after["process_resident_memory_bytes", ()] > 0


def test_a_port_that_is_taken_is_told_and_the_work_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        health.serve("127.0.0.1", taken.getsockname()[1], Readiness())
    assert "METRICS_PORT=" in caplog.text
    assert "Address already in use" in caplog.text


def exemplars() -> list[str]:
    text = openmetrics.generate_latest(metrics.registry).decode()  # type: ignore[no-untyped-call]
    return [line for line in text.splitlines() if " # {" in line]


@pytest.mark.parametrize(("exporter", "flags", "count"), [("none", "01", 0), ("otlp", "00", 0), ("otlp", "01", 3)])
def test_stages_of_traced_jobs_have_exemplars(
    exporter: str, flags: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics.STAGE.clear()
    monkeypatch.setattr(metrics, "_stages", {stage: metrics.STAGE.labels(stage) for stage in TIMINGS})
    monkeypatch.setattr(settings, "OTEL_TRACES_EXPORTER", exporter)
    metrics.count_batch([(delivery(flags), Answer("1", (("tabby", 0.5),), "net", "7", TIMINGS))])
    found = exemplars()
    assert len(found) == count
    assert all(f'trace_id="{TRACE_ID}"' in line and f'span_id="{SPAN_ID}"' in line for line in found)


def test_a_worker_whose_counters_no_one_reads_loads_no_http_server() -> None:
    program = "import sys, ml_service; assert not {'prometheus_client', 'http.server', 'ssl'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).resolve().parents[2], check=True)
