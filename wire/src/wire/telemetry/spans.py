"""Send the spans of a process to a collector: in batches, from a thread of their own.

Imported only where traces are on, since it loads OpenTelemetry. No request waits for a collector: spans that find no
room are dropped, and a collector that does not answer is one line in the log.
"""

import os
import threading
import time
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Sampler

from wire.telemetry.loss import ExportLoss

# While so many are encoded, the process does nothing else, for about 4 ms; fewer would cost more requests.
MAX_BATCH = 128
# How many may wait; more are dropped.
MAX_WAITING = 2048
# How long the end of the process may wait for the last of them.
FLUSH_S = 2.0
# Of the library, which repeats every few seconds that a collector is away or the queue of spans is full.
LOGGERS = ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk._shared_internal")
# How often both clocks are read: the process can be stopped between the two.
CLOCK_READINGS = 3


def epoch_offset_ns() -> int:
    """Return what to add to a moment of the performance counter for nanoseconds since 1970, the times of spans.

    Moments that are converted with the same offset keep their order and their distances.
    """
    readings = []
    for _ in range(CLOCK_READINGS):
        before, now, after = time.perf_counter_ns(), time.time_ns(), time.perf_counter_ns()
        readings.append((after - before, now - after))
    return min(readings)[1]


class SpanExport:
    """Make spans with `tracer` and send them; to be made after the last fork.

    `exporter` is "console" or "otlp"; `endpoint` is the collector's base URL, for the latter.
    """

    def __init__(self, sampler: Sampler, service: str, *, exporter: str, endpoint: str, instance: str = "") -> None:
        named: dict[str, str | int] = {"service.name": service, "process.pid": os.getpid()}
        if instance:
            named["service.instance.id"] = instance
        self._provider = TracerProvider(sampler, Resource.create(named), shutdown_on_exit=False)
        watched = _Watched(_exporter(exporter, endpoint), endpoint)
        self._provider.add_span_processor(BatchSpanProcessor(watched, MAX_WAITING, max_export_batch_size=MAX_BATCH))
        self.tracer = self._provider.get_tracer("sightline")

    def stop(self) -> None:
        """Send what is left, for at most FLUSH_S."""
        # The library's own limit is half a minute; where that thread still waits, it ends with the process.
        flush = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        flush.start()
        flush.join(FLUSH_S)


class _Watched(SpanExporter):
    """Log once that spans are lost, and once that they arrive again."""

    def __init__(self, exporter: SpanExporter, endpoint: str) -> None:
        self._exporter = exporter
        self._loss = ExportLoss("spans", endpoint, LOGGERS)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send some spans."""
        result = self._exporter.export(spans)
        self._loss.note(len(spans), is_sent=result is SpanExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        """Stop sending."""
        self._exporter.shutdown()
        self._loss.close()


def _exporter(kind: str, endpoint: str) -> SpanExporter:
    if kind == "console":
        return ConsoleSpanExporter(formatter=lambda span: span.to_json(indent=None) + "\n")
    # Headers, certificates and time-outs are read by the exporter, from the variables that it documents.
    return OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
