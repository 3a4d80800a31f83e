"""Traces of the whole service: one request is one trace, from HTTP through the queue to the worker's stages."""

import json
import re
import secrets
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from sightline_testing.client import Client, Response
from sightline_testing.collector import Collector, Point, Span, collecting
from sightline_testing.redis_server import free_port
from sightline_testing.sample_images import bad, jpeg
from sightline_testing.service import Service, printed, running_service, stop
from sightline_testing.waiting import wait_until

PARENT_ID = "00f067aa0ba902b7"
STAGES = ["POST /predict", "admit", "decode", "infer", "queue", "reply", "upload"]
PATIENCE_S = 120.0
# How far clocks that count milliseconds may be off.
CLOCK_NS = 2_000_000


def told(endpoint: str, **changes: str) -> dict[str, str]:
    """Return settings with a collector's address and a short export interval."""
    return {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "MODEL_WORKERS": "1",
        **changes,
    }


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="module")
def service(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    metrics = {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_METRIC_EXPORT_INTERVAL": "300"}
    with running_service(tmp_path_factory.mktemp("traced"), told(collector.url, ACCESS_LOG="1", **metrics)) as service:
        yield service


def ask(service: Service, trace_id: str, content: bytes, flags: str = "01") -> Response:
    headers = {"Content-Type": "image/jpeg", "traceparent": f"00-{trace_id}-{PARENT_ID}-{flags}"}
    return Client(service.url).send("POST", "/predict", content, headers)


def trace_of(collector: Collector, trace_id: str, names: list[str]) -> dict[str, Span]:
    """Wait until all spans of a trace are there, and give them by name."""
    wait_until(lambda: collector.names(trace_id) == names, f"{names} have arrived", PATIENCE_S)
    return {span.name: span for span in collector.of(trace_id)}


def test_a_request_is_one_trace_below_its_callers_across_the_processes(service: Service, collector: Collector) -> None:
    trace_id = secrets.token_hex(16)
    answer = ask(service, trace_id, jpeg(seed=1))
    assert answer.status == 200
    spans = trace_of(collector, trace_id, STAGES)
    http = spans.pop("POST /predict")
    assert (http.parent_id, http.kind, http.is_error) == (PARENT_ID, "server", False)
    assert http.attributes == {
        "http.request.method": "POST",
        "http.route": "/predict",
        "http.response.status_code": 200,
        "sightline.outcome": "miss",
        "sightline.request_id": answer.headers["X-Request-Id"],
    }
    assert {span.parent_id for span in spans.values()} == {http.span_id}
    assert {name: span.resource["service.name"] for name, span in spans.items()} == {
        **dict.fromkeys(("upload", "admit"), "sightline-api"),
        **dict.fromkeys(("queue", "decode", "infer", "reply"), "sightline-model"),
    }
    assert len({span.resource["process.pid"] for span in spans.values()}) == 2
    assert (spans["admit"].kind, spans["queue"].kind) == ("producer", "consumer")
    assert spans["infer"].attributes["sightline.batch_size"] == 1
    assert spans["infer"].attributes["sightline.model_version"] == answer.headers["X-Model-Version"]
    assert spans["queue"].attributes["messaging.message.id"] == answer.headers["X-Prediction-Id"].partition(".")[0]


def test_the_stages_of_a_request_follow_one_another_within_it(service: Service, collector: Collector) -> None:
    trace_id = secrets.token_hex(16)
    ask(service, trace_id, jpeg(seed=2))
    spans = trace_of(collector, trace_id, STAGES)
    http = spans["POST /predict"]
    ordered = [spans[name] for name in ("upload", "admit", "queue", "decode", "infer", "reply")]
    assert all(span.start <= span.end for span in ordered)
    assert all(before.start <= after.start + CLOCK_NS for before, after in pairwise(ordered))
    assert all(before.end <= after.start for before, after in pairwise(ordered[2:]))
    # The answer is sent to the client before the worker gets its acknowledgement.
    assert all(http.start - CLOCK_NS <= span.start <= http.end for span in ordered)


def test_a_trace_begins_here_where_the_caller_has_none(service: Service, collector: Collector) -> None:
    before = {span.trace_id for span in collector.spans}
    Client(service.url).send("POST", "/predict", jpeg(seed=3), {"Content-Type": "image/jpeg"})

    def begun() -> set[str]:
        return {span.trace_id for span in collector.spans if span.trace_id not in before and not span.parent_id}

    wait_until(lambda: len(begun()) == 1, "a trace has started", PATIENCE_S)
    trace_of(collector, begun().pop(), STAGES)


def test_an_answer_from_the_cache_is_a_trace_without_a_worker(service: Service, collector: Collector) -> None:
    first, again = secrets.token_hex(16), secrets.token_hex(16)
    ask(service, first, jpeg(seed=4))
    assert ask(service, again, jpeg(seed=4)).headers["X-Cache"] == "hit"
    spans = trace_of(collector, again, ["POST /predict", "upload"])
    assert spans["POST /predict"].attributes["sightline.outcome"] == "hit"


def test_a_request_that_is_refused_is_a_trace_that_says_why(service: Service, collector: Collector) -> None:
    trace_id = secrets.token_hex(16)
    assert ask(service, trace_id, b"this is no image" * 99).status == 415
    http = trace_of(collector, trace_id, ["POST /predict"])["POST /predict"]
    assert http.attributes["http.response.status_code"] == 415
    assert http.attributes["sightline.outcome"] == "unsupported_type"
    assert not http.is_error  # the client's fault


def test_an_image_that_cannot_be_decoded_marks_the_stage_that_failed(service: Service, collector: Collector) -> None:
    trace_id = secrets.token_hex(16)
    assert ask(service, trace_id, bad("truncated.jpg").content).status == 422
    spans = trace_of(collector, trace_id, [name for name in STAGES if name != "infer"])
    assert {name for name, span in spans.items() if span.is_error} == {"decode", "reply"}
    assert spans["decode"].attributes["error.type"] == "image_broken"
    assert spans["POST /predict"].attributes["sightline.outcome"] == "image_broken"


def test_a_job_for_later_is_part_of_the_trace_that_handed_it_in(service: Service, collector: Collector) -> None:
    trace_id = secrets.token_hex(16)
    headers = {
        "Content-Type": "image/jpeg",
        "Prefer": "respond-async",
        "traceparent": f"00-{trace_id}-{PARENT_ID}-01",
    }
    assert Client(service.url).send("POST", "/predict", jpeg(seed=5), headers).status == 202
    http = trace_of(collector, trace_id, STAGES)["POST /predict"]
    assert http.attributes["http.response.status_code"] == 202


@pytest.mark.parametrize("prefer", ["", "respond-async"])
def test_the_state_of_a_trace_is_passed_on_to_the_worker(service: Service, collector: Collector, prefer: str) -> None:
    trace_id, state = secrets.token_hex(16), "vendor=t61rcWkgMzE,other=00f067aa0ba902b7"
    headers = {
        "Content-Type": "image/jpeg",
        "traceparent": f"00-{trace_id}-{PARENT_ID}-01",
        "tracestate": state,
        "Prefer": prefer,
    }
    content = jpeg(seed=21 + len(prefer))
    assert Client(service.url).send("POST", "/predict", content, headers).status == (202 if prefer else 200)
    spans = trace_of(collector, trace_id, STAGES)
    assert {span.trace_state for span in spans.values()} == {state}


def test_metrics_are_sent_as_prometheus_reads_them(service: Service, collector: Collector) -> None:
    assert ask(service, secrets.token_hex(16), jpeg(seed=23)).status == 200
    shown = Client(service.url).get("/metrics").text
    [line] = re.findall(r'sightline_requests_total{code="200",endpoint="/predict",model_version="[^"]+"} (\S+)', shown)

    def latest(name: str, **labels: str) -> Point | None:
        found = [
            point for point in collector.points if point.name == name and labels.items() <= point.attributes.items()
        ]
        return found[-1] if found else None

    def is_counted() -> bool:
        point = latest("sightline_requests", endpoint="/predict", code="200")
        return point is not None and point.value == float(line)

    wait_until(is_counted, "the api's requests have arrived", PATIENCE_S)
    took = latest("sightline_request_duration_seconds", endpoint="/predict")
    assert took is not None
    assert (took.kind, took.resource["service.name"]) == ("histogram", "sightline-api")
    assert sum(took.buckets) == took.value
    assert len(took.buckets) == len(took.bounds) + 1
    assert 0 < took.total < took.value * 60
    depth = latest("sightline_queue_bound")
    assert depth is not None
    assert (depth.kind, depth.value > 0) == ("gauge", True)
    jobs = latest("sightline_jobs", outcome="answered")
    assert jobs is not None
    assert (jobs.kind, jobs.resource["service.name"]) == ("sum", "sightline-model")
    assert ":" in str(jobs.resource["service.instance.id"])


def test_a_slow_request_leads_to_its_trace(service: Service) -> None:
    trace_id = secrets.token_hex(16)
    ask(service, trace_id, jpeg(seed=24))
    client = Client(service.url)
    opened = client.get("/metrics", {"Accept": "application/openmetrics-text; version=1.0.0"})
    assert opened.headers["Content-Type"].startswith("application/openmetrics-text")
    lines = [line for line in opened.text.splitlines() if f'trace_id="{trace_id}"' in line]
    assert len(lines) == 1
    assert re.match(
        r'sightline_request_duration_seconds_bucket{endpoint="/predict",le="[^"]+",model_version=', lines[0]
    )
    assert trace_id not in client.get("/metrics").text


def test_no_span_names_a_path_or_an_image(service: Service, collector: Collector) -> None:
    client, trace_id = Client(service.url), secrets.token_hex(16)
    name = client.send("POST", "/predict?top_k=1", jpeg(seed=6), {"Content-Type": "image/jpeg"}).json()["filename"]
    client.get(f"/display/{name}", {"traceparent": f"00-{trace_id}-{PARENT_ID}-01"})
    spans = trace_of(collector, trace_id, ["GET /display/<filename>"])
    assert name not in str(spans)
    assert name not in str(collector.spans)


def test_the_log_names_the_trace_beside_the_request(service: Service, collector: Collector) -> None:
    trace_id = secrets.token_hex(16)
    request_id = ask(service, trace_id, jpeg(seed=7)).headers["X-Request-Id"]
    assert service.state_dir is not None
    folder = service.state_dir
    wait_until(lambda: request_id in printed(folder), "the request is in the log")
    [line] = [line for line in printed(folder).splitlines() if request_id in line]
    assert json.loads(line[line.index("{") :])["trace_id"] == trace_id


def test_health_and_metrics_are_no_traces_and_what_the_caller_does_not_record_is_not_recorded(
    collector: Collector, tmp_path: Path
) -> None:
    silent, heard = secrets.token_hex(16), secrets.token_hex(16)
    # Nothing is sent before the end: what arrives was sent by processes that had to stop.
    with running_service(tmp_path, told(collector.url, OTEL_BSP_SCHEDULE_DELAY="3600000")) as service:
        assert ask(service, silent, jpeg(seed=8), flags="00").status == 200
        assert ask(service, heard, jpeg(seed=9)).status == 200
        for path in ("/livez", "/readyz", "/metrics", "/assets/css/base.css"):
            assert Client(service.url).get(path).status == 200
        before = {span.trace_id for span in collector.spans}
        assert service.launcher is not None
        assert stop(service.launcher) == 0
    assert collector.names(heard) == STAGES
    assert {span.trace_id for span in collector.spans} - before == {heard}


def test_a_collector_that_is_away_costs_no_request_and_two_lines_in_the_log(tmp_path: Path) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    with running_service(tmp_path, told(endpoint, OTEL_EXPORTER_OTLP_TIMEOUT="1")) as service:
        answers = [ask(service, secrets.token_hex(16), jpeg(seed=seed)) for seed in range(20)]
        complaint = f"{endpoint}' takes no spans"
        wait_until(lambda: printed(tmp_path).count(complaint) == 2, "api and worker have printed it", PATIENCE_S)
        answers += [ask(service, secrets.token_hex(16), jpeg(seed=seed)) for seed in range(20, 40)]
        assert service.launcher is not None
        assert stop(service.launcher) == 0
    assert [answer.status for answer in answers] == [200] * 40
    assert printed(tmp_path).count(complaint) == 2


def test_a_collector_that_hangs_costs_no_request_and_holds_up_no_end(tmp_path: Path) -> None:
    # It would be waited for until long after the test.
    patient = {"OTEL_EXPORTER_OTLP_TIMEOUT": "3600"}
    with collecting(is_deaf=True) as deaf, running_service(tmp_path, told(deaf.url, **patient)) as service:
        answers = [ask(service, secrets.token_hex(16), jpeg(seed=seed)) for seed in range(40)]
        wait_until(lambda: deaf.requests >= 2, "api and worker wait for the collector", PATIENCE_S)
        answers += [ask(service, secrets.token_hex(16), jpeg(seed=seed)) for seed in range(40)]
        assert service.launcher is not None
        assert stop(service.launcher) == 0
    assert [answer.status for answer in answers] == [200] * 80
