"""How spans leave the process: in batches, from a thread of their own. The same file in api/ and in model/.

Nobody waits for a collector: what finds no room is dropped, and one that is away is a line in the log.
"""

import logging
import os
import threading
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Sampler

import settings

log = logging.getLogger(__name__)

# While so many are encoded, the process does nothing else, for about 4 ms; fewer would cost more requests.
MAX_BATCH = 128
# How many may wait; more are dropped.
MAX_WAITING = 2048
# How long the end of the process may wait for the last of them.
FLUSH_S = 2.0
# Who says anew, every few seconds, that a collector is away or the queue of spans is full.
REPEATING = ("opentelemetry.exporter.otlp.proto.http.trace_exporter", "opentelemetry.sdk._shared_internal")


class SpanExport:
    """Makes spans with `tracer`, and sends them where OTEL_TRACES_EXPORTER says; begin it after the last fork."""

    def __init__(self, sampler: Sampler, instance: str = "") -> None:
        named: dict[str, str | int] = {"service.name": settings.OTEL_SERVICE_NAME, "process.pid": os.getpid()}
        if instance:
            named["service.instance.id"] = instance
        self._provider = TracerProvider(sampler, Resource.create(named), shutdown_on_exit=False)
        exporter = _Watched(_exporter())
        self._provider.add_span_processor(BatchSpanProcessor(exporter, MAX_WAITING, max_export_batch_size=MAX_BATCH))
        self.tracer = self._provider.get_tracer("sightline")

    def stop(self) -> None:
        """Send what there is, for a moment."""
        # The library's own limit is half a minute; where that thread still waits, it ends with the process.
        flush = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        flush.start()
        flush.join(FLUSH_S)


class _Watched(SpanExporter):
    """Says once that spans are lost, and once that they arrive again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._lost = 0
        for name in REPEATING:
            logging.getLogger(name).addFilter(self)

    def filter(self, _: logging.LogRecord) -> bool:
        """Let the library give its reasons until the loss is told."""
        return not self._lost

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send some spans."""
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            if not self._lost:
                place = settings.OTEL_EXPORTER_OTLP_ENDPOINT
                log.warning("OTEL_EXPORTER_OTLP_ENDPOINT=%r takes no spans: they are dropped until it does", place)
            self._lost += len(spans)
        elif self._lost:
            log.warning("spans arrive again; %d or more were dropped", self._lost)
            self._lost = 0
        return result

    def shutdown(self) -> None:
        """Send nothing any more."""
        self._exporter.shutdown()
        for name in REPEATING:
            logging.getLogger(name).removeFilter(self)


def _exporter() -> SpanExporter:
    if settings.OTEL_TRACES_EXPORTER == "console":
        return ConsoleSpanExporter(formatter=lambda span: span.to_json(indent=None) + "\n")
    # Headers, certificates and time-outs are read by the exporter, from the variables that it documents.
    return OTLPSpanExporter(endpoint=f"{settings.OTEL_EXPORTER_OTLP_ENDPOINT.rstrip('/')}/v1/traces")
