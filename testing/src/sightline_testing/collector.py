"""A collector as a test has it: takes OTLP over HTTP, and gives spans and metrics back as plain values."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric as EncodedMetric
from opentelemetry.proto.trace.v1.trace_pb2 import Span as EncodedSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

Value = str | int | float | bool


@dataclass(frozen=True)
class Span:
    """One span; ids as in a `traceparent`, times in nanoseconds."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: str
    start: int
    end: int
    is_error: bool
    attributes: Mapping[str, Value]
    resource: Mapping[str, Value]
    trace_state: str = ""


@dataclass(frozen=True)
class Point:
    """One value of a metric with its labels; of a histogram the count, with what is between its bounds."""

    name: str
    kind: str
    value: float
    attributes: Mapping[str, Value]
    resource: Mapping[str, Value]
    total: float = 0.0
    buckets: tuple[int, ...] = ()
    bounds: tuple[float, ...] = ()


@dataclass
class Collector:
    """What has arrived, and where to send it; `is_deaf` has it take connections and never answer."""

    url: str
    is_deaf: bool = False
    requests: int = 0
    spans: list[Span] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    def of(self, trace_id: str) -> list[Span]:
        """Give the spans of one trace, in the order of their beginning."""
        return sorted((span for span in self.spans if span.trace_id == trace_id), key=lambda span: span.start)

    def names(self, trace_id: str) -> list[str]:
        """Name the spans of one trace, in the alphabet's order."""
        return sorted(span.name for span in self.of(trace_id))

    def take(self, body: bytes) -> None:
        """Keep what one request brought."""
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _values(group.resource.attributes)
            for scope in group.scope_spans:
                self.spans.extend(_span(span, resource) for span in scope.spans)

    def take_metrics(self, body: bytes) -> None:
        """Keep the metrics that one request brought."""
        for group in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            resource = _values(group.resource.attributes)
            for scope in group.scope_metrics:
                for metric in scope.metrics:
                    self.points.extend(_points(metric, resource))


@contextmanager
def collecting(*, port: int = 0, is_deaf: bool = False) -> Iterator[Collector]:
    """Run a collector, on a free port by default."""
    server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    server.collector = collector = Collector(f"http://127.0.0.1:{server.server_port}", is_deaf)  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield collector
    finally:
        collector.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Take spans and metrics."""
        collector: Collector = self.server.collector  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers["Content-Length"]))
        collector.requests += 1
        if collector.is_deaf:
            collector.closing.wait()
            return
        take = {"/v1/traces": collector.take, "/v1/metrics": collector.take_metrics}.get(self.path)
        if take is not None:
            take(body)
        self.send_response(404 if take is None else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _span(span: EncodedSpan, resource: Mapping[str, Value]) -> Span:
    return Span(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        EncodedSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == Status.STATUS_CODE_ERROR,
        _values(span.attributes),
        resource,
        span.trace_state,
    )


def _points(metric: EncodedMetric, resource: Mapping[str, Value]) -> Iterator[Point]:
    kind = metric.WhichOneof("data") or ""
    for point in getattr(metric, kind).data_points:
        labels = _values(point.attributes)
        if kind == "histogram":
            told = (point.sum, tuple(point.bucket_counts), tuple(point.explicit_bounds))
            yield Point(metric.name, kind, point.count, labels, resource, *told)
        else:
            yield Point(metric.name, kind, getattr(point, point.WhichOneof("value")), labels, resource)


def _values(attributes: Iterable[KeyValue]) -> dict[str, Value]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value") for each in attributes}
