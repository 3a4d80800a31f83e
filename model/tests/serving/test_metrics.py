"""What a worker tells of itself, over its own port."""

import socket
from http.client import HTTPConnection

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving import metrics
from sightline_testing.redis_server import free_port
from wire import Answer, Failure

TIMINGS = {"queue": 3.0, "decode": 4.0, "infer": 20.0}


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
    metrics.serve("127.0.0.1", port)
    metrics.name("here:1", "net", "7", "openvino")
    before = told(port)
    answers = [Answer(str(number), (("tabby", 0.5),), "net", "7", TIMINGS) for number in range(3)]
    metrics.count_batch([*answers, Failure("3", "image_broken")])
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
        metrics.serve("127.0.0.1", taken.getsockname()[1])
    assert "METRICS_PORT=" in caplog.text
    assert "Address already in use" in caplog.text
