"""What a worker counts, as Prometheus reads it at /metrics of the worker's own port."""

import logging
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, start_http_server

from wire import Answer, Failure, __version__
from wire.messages import Reply

log = logging.getLogger("ml_service")

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
ANSWERED = "answered"

_registry = CollectorRegistry()
ProcessCollector(registry=_registry)
Info("sightline_build", "The version of the worker.", registry=_registry).info({"version": __version__})

STAGE = Histogram(
    "sightline_stage_duration_seconds",
    "Time that a job waited (queue), and that its image (decode) and its batch (infer) took.",
    ("stage",),
    buckets=SECONDS,
    registry=_registry,
)
BATCH_SIZE = Histogram("sightline_batch_size", "Jobs in a batch.", buckets=SIZES, registry=_registry)
JOBS = Counter("sightline_jobs", "Jobs that were ended, by outcome.", ("outcome",), registry=_registry)
SERVES = Gauge(
    "sightline_worker_serves", "What this worker serves.", ("worker", "model", "version", "engine"), registry=_registry
)
_stages = {stage: STAGE.labels(stage) for stage in ("queue", "decode", "infer")}
JOBS.labels(ANSWERED)


def serve(host: str, port: int) -> None:
    """Answer at /metrics of this port; where it cannot be had, log that and go on."""
    try:
        start_http_server(port, host, _registry)
    except OSError as fault:
        log.error("METRICS_HOST=%s, METRICS_PORT=%d: no metrics are served there: %s", host, port, fault.strerror)


def name(worker: str, model: str, version: str, engine: str) -> None:
    """Set which worker counts, and what it serves now."""
    SERVES.clear()
    SERVES.labels(worker, model, version, engine).set(1)


def count_batch(replies: Sequence[Reply]) -> None:
    """Count the jobs of one batch."""
    BATCH_SIZE.observe(len(replies))
    for reply in replies:
        JOBS.labels(reply.code if isinstance(reply, Failure) else ANSWERED).inc()
        if isinstance(reply, Answer):
            for stage, histogram in _stages.items():
                histogram.observe(reply.timings[stage] / 1000)
