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
from wire.telemetry.spans import SpanExport, epoch_offset_ns

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
    """One stage of a job: when it began and ended by the performance counter, in seconds, and how many were in it."""

    name: str
    begin: float
    end: float
    together: int
    fault: str


class SpanRecorder(Recorder):
    """Keeps the stages of a consumer's jobs until they are answered, and makes spans of them then."""

    def __init__(self, tracer: Tracer, traces: Traces) -> None:
        self._tracer, self._traces = tracer, traces
        self._stages: dict[str, list[_Stage]] = {}

    def note(self, stage: str, begin: float, jobs: Sequence[Delivery], fault: str = "") -> None:
        """Record a stage that ends now."""
        noted = _Stage(stage, begin, time.perf_counter(), len(jobs), fault)
        for job in jobs:
            self._stages.setdefault(job.entry_id, []).append(noted)

    def end(self, outcomes: Sequence[tuple[Delivery, Answer | Failure]]) -> None:
        """Make the spans of these jobs, as far as their requests are traced."""
        stages, self._stages = self._stages, {}
        offset_ns = epoch_offset_ns()
        for delivery, reply in outcomes:
            job = delivery.job
            state = {"tracestate": job.tracestate} if job.tracestate else {}
            context = _w3c.extract({"traceparent": job.traceparent, **state})
            # Whether there is a trace at all was decided where the request came in.
            if get_current_span(context).get_span_context().trace_flags.sampled:
                self._waited(context, delivery, offset_ns)
                for stage in stages.get(delivery.entry_id, []):
                    self._done(context, stage, reply, offset_ns)

    def _waited(self, context: Context, delivery: Delivery, offset_ns: int) -> None:
        received = _ns(delivery.received_at) + offset_ns  # of time.monotonic(), the same clock on Linux
        begin = received - int(delivery.waited_ms * 1e6)
        attributes: dict[str, str | int] = {
            "messaging.system": "redis",
            "messaging.destination.name": settings.REDIS_QUEUE,
            "messaging.message.id": delivery.job.id,
            "sightline.deliveries": delivery.deliveries,
        }
        self._tracer.start_span("queue", context, SpanKind.CONSUMER, attributes, start_time=begin).end(received)

    def _done(self, context: Context, stage: _Stage, reply: Answer | Failure, offset_ns: int) -> None:
        span = self._tracer.start_span(stage.name, context, start_time=_ns(stage.begin) + offset_ns)
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
        span.end(_ns(stage.end) + offset_ns)


def _ns(moment: float) -> int:
    return int(moment * 1e9)
