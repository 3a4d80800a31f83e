"""Metrics of the api and of the queue, which Prometheus reads at /metrics.

Under gunicorn every process counts in files of a folder that they share (gunicorn.conf.py), and the one that is asked
adds them up. The state of the queue is the one that each process holds anyway, so that a scrape never waits.
"""

import time
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from flask import Blueprint, Flask, Response, current_app, request
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

import settings
from openapi.operation import Answer, Operation
from wire import JobFailed, QueueSnapshot, __version__, errors

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
TENTHS = tuple(tenth / 10 for tenth in range(1, 11))
NO_ENDPOINT = "none"
TEXT = "text/plain"

router = Blueprint("metrics", __name__)
_registry = CollectorRegistry()

REQUESTS = Counter("sightline_requests", "Responses, by route and status.", ("endpoint", "code"), registry=_registry)
DURATION = Histogram(
    "sightline_request_duration_seconds",
    "From a request's headers to its response.",
    ("endpoint",),
    buckets=SECONDS,
    registry=_registry,
)
STAGE = Histogram(
    "sightline_stage_duration_seconds",
    "What the api adds: receiving and storing an image (upload), and sending jobs and receiving answers (reply).",
    ("stage",),
    buckets=SECONDS,
    registry=_registry,
)
DROPPED = Counter("sightline_dropped", "Jobs without an answer, by reason.", ("reason",), registry=_registry)
CACHE = Counter("sightline_cache", "Look-ups in the result cache.", ("result",), registry=_registry)
CONFIDENCE = Histogram("sightline_confidence", "Score of the best class.", buckets=TENTHS, registry=_registry)
FEEDBACK = Counter("sightline_feedback", "Reports that were stored.", registry=_registry)

_UPLOAD, _REPLY = STAGE.labels("upload"), STAGE.labels("reply")
# Created at the start, so that the rate of what has never happened is 0.
_dropped = {reason: DROPPED.labels(reason) for reason in ("expired", "cancelled", "rejected", "poison")}
_REASONS = {errors.QueueFull: "rejected", errors.DeadlineExceeded: "expired", errors.Abandoned: "cancelled"}
_cache = {result: CACHE.labels(result) for result in ("hit", "miss")}


def install(app: Flask, queue_state: Callable[[], QueueSnapshot | None]) -> None:
    """Count every response of `app`; `queue_state` returns the state of the queue, None where it is unknown."""
    app.extensions["sightline.queue_metrics"] = _QueueMetrics(queue_state)
    app.register_blueprint(router)
    app.after_request(_count_answer)


@router.route("/metrics")
@Operation("GET", "What is counted, for Prometheus", {200: Answer("text", media_types=[TEXT])})
def metrics() -> Response:
    """Return the metrics of all processes and of the queue, in the format that Accept asks for."""
    registry: Any = CollectorRegistry()
    if settings.metrics_folder():
        MultiProcessCollector(registry, settings.metrics_folder())  # type: ignore[no-untyped-call]
    else:
        registry.register(_registry)
    registry.register(current_app.extensions["sightline.queue_metrics"])
    try:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
    except TypeError:  # the version in Accept is no version
        encode, content_type = choose_encoder("")
    return Response(encode(registry), content_type=content_type)


def count_upload(seconds: float) -> None:
    """Count an image that was stored, in so many seconds."""
    _UPLOAD.observe(seconds)


def count_prediction(answer: tuple[str, float], seconds: float) -> None:
    """Count an answer of `model_predict`, which took so many seconds."""
    CONFIDENCE.observe(answer[1])
    timings = getattr(answer, "timings", None)
    if timings:
        worker_ms = timings.get("queue", 0.0) + timings.get("decode", 0.0) + timings.get("infer", 0.0)
        _REPLY.observe(max(seconds - worker_ms / 1000, 0.0))
    result = getattr(answer, "cache", "")
    if result in _cache:
        _cache[result].inc()


def count_drop(error: errors.WireError) -> None:
    """Count a job without an answer, unless its image was the reason."""
    is_poison = isinstance(error, JobFailed) and error.failure.code == "poison"
    reason = "poison" if is_poison else _REASONS.get(type(error))
    if reason is not None:
        _dropped[reason].inc()


def count_refusal() -> None:
    """Count an image that was refused before it was read."""
    _of_endpoint("/predict", 503)[0].inc()
    _dropped["rejected"].inc()


def _count_answer(response: Response) -> Response:
    endpoint = request.url_rule.rule if request.url_rule is not None else NO_ENDPOINT
    requests, duration = _of_endpoint(endpoint, response.status_code)
    requests.inc()
    started = request.environ.get("sightline.started")
    if started is not None:
        duration.observe(time.perf_counter() - started)
    return response


@cache
def _of_endpoint(endpoint: str, status: int) -> tuple[Counter, Histogram]:
    return REQUESTS.labels(endpoint, str(status)), DURATION.labels(endpoint)


class _QueueMetrics:
    """Gauges of the queue; without a recent state of it, only `sightline_redis_up`."""

    def __init__(self, queue_state: Callable[[], QueueSnapshot | None]) -> None:
        self._queue_state = queue_state

    def collect(self) -> Iterable[Metric]:
        """Yield the version and the gauges."""
        yield InfoMetricFamily("sightline_build", "The version of the api.", value={"version": __version__})
        state = self._queue_state()
        yield GaugeMetricFamily("sightline_redis_up", "Whether the queue's state is known.", value=state is not None)
        if state is None:
            return
        for name, meaning, value in (
            ("sightline_queue_depth", "Jobs that wait or are in progress.", state.jobs),
            ("sightline_queue_oldest_age_seconds", "Age of the oldest of them.", state.oldest_age_s),
            ("sightline_queue_bound", "Jobs above which more are refused.", state.bound),
            ("sightline_capacity", "Jobs a second that all workers can do.", state.rate),
            ("sightline_workers", "Live workers.", len(state.workers)),
        ):
            yield GaugeMetricFamily(name, meaning, value=value)
        up = GaugeMetricFamily("sightline_worker_up", "A live worker.", labels=("worker", "model", "version"))
        for worker in state.workers:
            up.add_metric((worker.id, worker.model, worker.version), 1)
        yield up
