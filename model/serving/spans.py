"""A worker's spans: what a job waited, and what was done for it, below the span of its request.

They are made of measured times once the answers are out, so that no request waits for them.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, StatusCode, Tracer, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import settings
from serving.tracing import Recorder, Traces
from wire import Answer, Delivery, Failure
from wire.telemetry.spans import SpanExport

_w3c = TraceContextTextMapPropagator()


class SpanTraces(Traces):
    """The traces of one worker."""

    def __init__(self, worker: str) -> None:
        self._export = SpanExport(
            ALWAYS_ON,
            settings.OTEL_SERVICE_NAME,
            exporter=settings.OTEL_TRACES_EXPORTER,
            endpoint=settings.OTEL_EXPORTER_OTLP_ENDPOINT,
            instance=worker,
        )

    def recorder(self) -> Recorder:
        """Give a recorder for one consumer."""
        return SpanRecorder(self._export.tracer, self)

    def stop(self) -> None:
        """Send the last spans."""
        self._export.stop()


class _Stage(NamedTuple):
    """One stage of a job: when it began and ended, in nanoseconds since 1970, and how many were in it."""

    name: str
    begin: int
    end: int
    together: int
    fault: str


class SpanRecorder(Recorder):
    """Keeps the stages of a consumer's jobs until they are answered, and makes spans of them then."""

    def __init__(self, tracer: Tracer, traces: Traces) -> None:
        self._tracer, self._traces = tracer, traces
        self._stages: dict[str, list[_Stage]] = {}

    def note(self, stage: str, begin: float, jobs: Sequence[Delivery], fault: str = "") -> None:
        """Record a stage that ends now."""
        end = time.time_ns()
        noted = _Stage(stage, end - _ns_since(begin), end, len(jobs), fault)
        for job in jobs:
            self._stages.setdefault(job.entry_id, []).append(noted)

    def end(self, outcomes: Sequence[tuple[Delivery, Answer | Failure]]) -> None:
        """Make the spans of these jobs, as far as their requests are traced."""
        stages, self._stages = self._stages, {}
        for delivery, reply in outcomes:
            job = delivery.job
            state = {"tracestate": job.tracestate} if job.tracestate else {}
            context = _w3c.extract({"traceparent": job.traceparent, **state})
            # Whether there is a trace at all was decided where the request came in.
            if get_current_span(context).get_span_context().trace_flags.sampled:
                self._waited(context, delivery)
                for stage in stages.get(delivery.entry_id, []):
                    self._done(context, stage, reply)

    def _waited(self, context: Context, delivery: Delivery) -> None:
        received = time.time_ns() - int((time.monotonic() - delivery.received_at) * 1e9)
        begin = received - int(delivery.waited_ms * 1e6)
        attributes: dict[str, str | int] = {
            "messaging.system": "redis",
            "messaging.destination.name": settings.REDIS_QUEUE,
            "messaging.message.id": delivery.job.id,
            "sightline.deliveries": delivery.deliveries,
        }
        self._tracer.start_span("queue", context, SpanKind.CONSUMER, attributes, start_time=begin).end(received)

    def _done(self, context: Context, stage: _Stage, reply: Answer | Failure) -> None:
        span = self._tracer.start_span(stage.name, context, start_time=stage.begin)
        fault = stage.fault
        if stage.name == "infer":
            span.set_attributes({"sightline.batch_size": stage.together, "sightline.engine": self._traces.engine})
            if isinstance(reply, Answer):
                span.set_attribute("sightline.model_version", f"{reply.model}/{reply.version}")
        elif stage.name == "reply" and isinstance(reply, Failure):
            fault = reply.code
        if fault:
            span.set_attribute("error.type", fault)
            span.set_status(StatusCode.ERROR)
        span.end(stage.end)


def _ns_since(begin: float) -> int:
    return int((time.perf_counter() - begin) * 1e9)
