"""What a worker counts, as Prometheus reads it at /metrics of the worker's own port."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

import settings
from wire import Answer, Delivery, Failure, __version__

if TYPE_CHECKING:
    from wire.telemetry.metrics import MetricExport

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
ANSWERED = "answered"

registry = CollectorRegistry()
ProcessCollector(registry=registry)
Info("sightline_build", "The version of the worker.", registry=registry).info({"version": __version__})

STAGE = Histogram(
    "sightline_stage_duration_seconds",
    "Time that a job waited (queue), and that its image (decode) and its batch (infer) took.",
    ("stage",),
    buckets=SECONDS,
    registry=registry,
)
BATCH_SIZE = Histogram("sightline_batch_size", "Jobs in a batch.", buckets=SIZES, registry=registry)
JOBS = Counter("sightline_jobs", "Jobs that were ended, by outcome.", ("outcome",), registry=registry)
SERVES = Gauge(
    "sightline_worker_serves", "What this worker serves.", ("worker", "model", "version", "engine"), registry=registry
)
_stages = {stage: STAGE.labels(stage) for stage in ("queue", "decode", "infer")}
JOBS.labels(ANSWERED)


def name(worker: str, model: str, version: str, engine: str) -> None:
    """Set which worker counts, and what it serves now."""
    SERVES.clear()
    SERVES.labels(worker, model, version, engine).set(1)


def pushed(worker: str) -> "MetricExport | None":
    """Start to send the counters of the worker of this name to a collector, if that is enabled."""
    if settings.OTEL_METRICS_EXPORTER == "none":
        return None
    from wire.telemetry.metrics import MetricExport  # noqa: PLC0415  loaded where it is wanted, and nowhere else

    return MetricExport(
        registry.collect,
        settings.OTEL_SERVICE_NAME,
        exporter=settings.OTEL_METRICS_EXPORTER,
        endpoint=settings.OTEL_EXPORTER_OTLP_ENDPOINT,
        interval_s=settings.OTEL_METRIC_EXPORT_INTERVAL / 1000,
        instance=worker,
    )


def count_batch(outcomes: Sequence[tuple[Delivery, Answer | Failure]]) -> None:
    """Count the jobs of one batch."""
    BATCH_SIZE.observe(len(outcomes))
    for delivery, reply in outcomes:
        JOBS.labels(reply.code if isinstance(reply, Failure) else ANSWERED).inc()
        if isinstance(reply, Answer):
            exemplar = _exemplar_of(delivery.job.traceparent)
            for stage, histogram in _stages.items():
                histogram.observe(reply.timings[stage] / 1000, exemplar)


def _exemplar_of(traceparent: str) -> dict[str, str] | None:
    """Return the ids of the trace that a job belongs to, where this worker records it."""
    if settings.OTEL_TRACES_EXPORTER == "none" or not int(traceparent[-2:] or "0", 16) & 1:
        return None
    _, trace_id, span_id, _ = traceparent.split("-")
    return {"trace_id": trace_id, "span_id": span_id}
