"""The api's spans: one for each request, and what it does on its way to a worker. tracing.py is what others use.

They hold routes and codes; no path, no name of a file and nothing else that a client sent but the ids of its trace.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, StatusCode, format_span_id, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import settings
from observability.exemplars import EXEMPLAR
from wire import WireError
from wire.telemetry.spans import SpanExport, epoch_offset_ns

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

# Routes that supervisors and browsers request all the time, and that are not worth a trace.
UNTRACED_PATHS: Final = frozenset(
    {
        "/livez",
        "/healthz",
        "/startupz",
        "/readyz",
        "/health",
        "/ping",
        "/v2/health/live",
        "/v2/health/ready",
        "/metrics",
    }
)
UNTRACED_FOLDER: Final = "/assets/"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"})
_HEADER = re.compile(rb"\r\ntraceparent:[ \t]*([0-9a-f-]{55})[ \t]*\r\n", re.IGNORECASE)
_w3c = TraceContextTextMapPropagator()


class Spans:
    """Makes the spans of one process."""

    def __init__(self) -> None:
        self._export = SpanExport(
            _sampler(),
            settings.OTEL_SERVICE_NAME,
            exporter=settings.OTEL_TRACES_EXPORTER,
            endpoint=settings.OTEL_EXPORTER_OTLP_ENDPOINT,
        )
        self._tracer = self._export.tracer

    def stop(self) -> None:
        """Send the last ones."""
        self._export.stop()

    def serve(self, application: Application, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Serve one request inside a span of its own, which is the parent of all later spans."""
        if environ["PATH_INFO"] in UNTRACED_PATHS or environ["PATH_INFO"].startswith(UNTRACED_FOLDER):
            return application(environ, start_response)
        context = _context_of(environ.get("HTTP_TRACEPARENT", ""), environ.get("HTTP_TRACESTATE", ""))
        span = self._tracer.start_span(_method_of(environ), context, SpanKind.SERVER)
        environ["HTTP_TRACEPARENT"], environ["HTTP_TRACESTATE"] = _headers_of(span)
        environ["sightline.trace_id"] = trace_id = format_trace_id(span.get_span_context().trace_id)
        if span.is_recording():
            environ[EXEMPLAR] = {"trace_id": trace_id, "span_id": format_span_id(span.get_span_context().span_id)}

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            environ.setdefault("sightline.outcome", next((value for name, value in headers if name == "X-Cache"), ""))
            environ["sightline.status"] = int(status[:3])
            return start_response(status, headers, *exc_info)

        try:
            return application(environ, start)
        finally:
            _describe(span, environ)
            span.end()

    @contextmanager
    def admission(self, traceparent: str, tracestate: str) -> Iterator[None]:
        """Make the span of a job's way into the queue."""
        if not _is_recorded(traceparent):
            yield
            return
        attributes = {"messaging.system": "redis", "messaging.destination.name": settings.REDIS_QUEUE}
        span = self._tracer.start_span("admit", _context_of(traceparent, tracestate), SpanKind.PRODUCER, attributes)
        try:
            yield
        except WireError as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(StatusCode.ERROR)
            raise
        finally:
            span.end()

    def note_upload(self, environ: Mapping[str, Any], started: float) -> None:
        """Make the span of an upload's way from the client to the disk, which has ended."""
        traceparent = environ.get("HTTP_TRACEPARENT", "")
        if _is_recorded(traceparent):
            ended, offset_ns = time.perf_counter_ns(), epoch_offset_ns()
            context = _context_of(traceparent, environ.get("HTTP_TRACESTATE", ""))
            span = self._tracer.start_span("upload", context, start_time=int(started * 1e9) + offset_ns)
            span.end(ended + offset_ns)

    def note_refusal(self, received: bytes, outcome: str) -> None:
        """Make the span of a request for /predict that was refused before it was read."""
        header = _HEADER.search(received, 0, received.find(b"\r\n\r\n") + 2)
        context = _context_of(header[1].decode() if header is not None else "")
        method = received[: received.find(b" ")].decode()
        span = self._tracer.start_span(f"{method} /predict", context, SpanKind.SERVER)
        _set_http(span, method, "/predict", 503, outcome)
        span.end()


def _describe(span: Span, environ: Environ) -> None:
    """Say of a request what is known only once it was answered."""
    if not span.is_recording():
        return
    method, route = _method_of(environ), environ.get("sightline.route", "")
    span.update_name(f"{method} {route}" if route else method)
    # Without a status nothing was answered: the application failed, or the client is gone.
    _set_http(span, method, route, environ.get("sightline.status", 0), environ.get("sightline.outcome", ""))
    span.set_attribute("sightline.request_id", environ.get("sightline.request_id", ""))


def _set_http(span: Span, method: str, route: str, status: int, outcome: str) -> None:
    span.set_attribute("http.request.method", method)
    if route:
        span.set_attribute("http.route", route)
    if status:
        span.set_attribute("http.response.status_code", status)
    if outcome:
        span.set_attribute("sightline.outcome", outcome)
    if status >= 500 or not status:
        span.set_attribute("error.type", outcome or str(status))
        span.set_status(StatusCode.ERROR)


def _method_of(environ: Environ) -> str:
    """Return the request's method, if it is one of those that there are."""
    method: str = environ["REQUEST_METHOD"]
    return method if method in METHODS else "_OTHER"


def _is_recorded(traceparent: str) -> bool:
    """Return whether a request's span is: with it, what is below it stands or falls."""
    return bool(int(traceparent[-2:] or "0", 16) & 1)


def _context_of(traceparent: str, tracestate: str = "") -> Context:
    return _w3c.extract({"traceparent": traceparent, **({"tracestate": tracestate} if tracestate else {})})


def _headers_of(span: Span) -> tuple[str, str]:
    """Return traceparent and tracestate for what is below a span."""
    carrier: dict[str, str] = {}
    _w3c.inject(carrier, set_span_in_context(span))
    # Empty where OTEL_SDK_DISABLED has the SDK do nothing.
    return carrier.get("traceparent", ""), carrier.get("tracestate", "")


def _sampler() -> Sampler:
    roots = {
        "always_on": ALWAYS_ON,
        "always_off": ALWAYS_OFF,
        "traceidratio": TraceIdRatioBased(settings.OTEL_TRACES_SAMPLER_ARG),
    }
    root = roots[settings.OTEL_TRACES_SAMPLER.removeprefix("parentbased_")]
    return ParentBased(root) if settings.OTEL_TRACES_SAMPLER.startswith("parentbased_") else root
