"""Metrics of the api and of the queue, which Prometheus reads at /metrics.

Under gunicorn every process counts in files of a folder that they share (gunicorn.conf.py), and the one that gets a
scrape adds them up. What happens is noted in memory and added to the files by `fold`: ten times a second by the server,
and before anything is read here. The state of the queue is the one that each process holds anyway, so that a scrape
never waits.
"""

import gzip
import time
from bisect import bisect_left
from collections import Counter as Counts
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from operator import itemgetter
from typing import Any

from flask import Blueprint, Flask, Request, Response, current_app, has_request_context, request
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

import settings
from observability.exemplars import EXEMPLAR, Exemplars
from openapi.operation import OF_AN_IMAGE, Answer, Operation, operations_of
from wire import JobFailed, QueueSnapshot, __version__, errors

# A counter of the history: its name, its key, and what further distinguishes it.
Counted = tuple[str, str, str]
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
TENTHS = tuple(tenth / 10 for tenth in range(1, 11))
NO_ENDPOINT = "none"
# Metrics are very similar: more takes longer and saves little.
GZIP_LEVEL = 3
TEXT = "text/plain"
# Beginnings of media types that an answer of /metrics has; any other one is left out of Accept.
_FORMATS = ("application/openmetrics-text", TEXT, "text/*", "*/*")
# Versions of the model with labels of their own in one process; further ones share OTHER.
MAX_VERSIONS, OTHER = 32, "other"
_VERSION = "sightline.model_version"

router = Blueprint("metrics", __name__)
_registry = CollectorRegistry()

REQUESTS = Counter(
    "sightline_requests",
    "Responses, by route, status, and the version that answered, if one did.",
    ("endpoint", "code", "model_version"),
    registry=_registry,
)
DURATION = Histogram(
    "sightline_request_duration_seconds",
    "From a request's headers to its response.",
    ("endpoint", "model_version"),
    buckets=SECONDS,
    registry=_registry,
)
_exemplars = Exemplars("sightline_request_duration_seconds", SECONDS)
STAGE = Histogram(
    "sightline_stage_duration_seconds",
    "What the api adds: receiving and storing an image (upload), and sending jobs and receiving answers (reply).",
    ("stage",),
    buckets=SECONDS,
    registry=_registry,
)
DROPPED = Counter("sightline_dropped", "Jobs without an answer, by reason.", ("reason",), registry=_registry)
CACHE = Counter("sightline_cache", "Look-ups in the result cache.", ("result",), registry=_registry)
CONFIDENCE = Histogram(
    "sightline_confidence", "Score of the best class.", ("model_version",), buckets=TENTHS, registry=_registry
)
FEEDBACK = Counter("sightline_feedback", "Reports that were stored.", registry=_registry)

UPLOAD, _REPLY = STAGE.labels("upload"), STAGE.labels("reply")
# Created at the start, so that the rate of what has never happened is 0.
_dropped = {reason: DROPPED.labels(reason) for reason in ("expired", "cancelled", "rejected", "poison")}
_REASONS = {
    errors.QueueFull: "rejected",
    errors.ShareUsed: "rejected",
    errors.DeadlineExceeded: "expired",
    errors.Abandoned: "cancelled",
}
_cache = {result: CACHE.labels(result) for result in ("hit", "miss")}
# How often each version has answered with each class. Too many series for Prometheus; the history keeps them by day.
_classes: dict[str, Counts[str]] = {}


def install(app: Flask, queue_state: Callable[[], QueueSnapshot | None]) -> None:
    """Count every response of `app`; `queue_state` returns the state of the queue, None where it is unknown."""
    app.extensions["sightline.queue_metrics"] = _QueueMetrics(queue_state)
    app.extensions["sightline.fold_metrics"] = fold
    app.register_blueprint(router)
    app.after_request(_count_answer)


@router.route("/metrics")
@Operation("GET", "Get metrics in Prometheus format", {200: Answer("text", media_types=[TEXT])})
def metrics() -> Response:
    """Return the metrics of all processes and of the queue, in the format that Accept requests."""
    try:
        encode, content_type = choose_encoder(_preferred_format())
    except TypeError:  # the version in Accept is no version
        encode, content_type = choose_encoder("")
    response = Response(encode(_Scrape(current_app)), content_type=content_type)
    response.vary.update(("Accept", "Accept-Encoding"))
    if request.accept_encodings["gzip"]:
        response.data = gzip.compress(response.data, GZIP_LEVEL)
        response.content_encoding = "gzip"
    return response


def _preferred_format() -> str:
    """Return the media type that Accept prefers; the client library has the formats, and ignores the preference."""
    accepted = [(quality, each) for each, quality in request.accept_mimetypes if quality and each.startswith(_FORMATS)]
    return max(accepted, key=itemgetter(0))[1] if accepted else ""


class _Scrape:
    """What is shown at /metrics."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of all processes, with exemplars, and those of the queue."""
        yield from _exemplars.added_to(_all_processes().collect())
        yield from self._app.extensions["sightline.queue_metrics"].collect()


def of_this_process(app: Flask) -> Iterator[Metric]:
    """Yield the metrics of this process alone, and those of the queue."""
    fold()
    yield from _registry.collect()
    yield from app.extensions["sightline.queue_metrics"].collect()


def _all_processes() -> Any:
    """Return a registry of the metrics of all processes."""
    fold()
    registry: Any = CollectorRegistry()
    if settings.metrics_folder():
        MultiProcessCollector(registry, settings.metrics_folder())  # type: ignore[no-untyped-call]
    else:
        registry.register(_registry)
    return registry


def total(name: str, labels: Mapping[str, str]) -> float:
    """Return the sum of a metric's samples of all processes that have these labels."""
    samples = (sample for metric in _all_processes().collect() for sample in metric.samples)
    return float(sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items()))


def counted_here(app: Flask) -> Counts[Counted]:
    """Return what this process alone has counted so far, of the routes that take images and of the answers.

    `answers` by status; `duration` and `confidence` by the upper bound of the bucket; `dropped` by reason; `cache` by
    result; `version`, the answers of each version; `label`, the classes that it answered.
    """
    fold()
    found: Counts[Counted] = Counts()
    of_images = image_routes(app)
    for name, metric, key in (
        ("answers", REQUESTS, "code"),
        ("dropped", DROPPED, "reason"),
        ("cache", CACHE, "result"),
    ):
        for sample in _samples(metric, "_total"):
            if sample.labels.get("endpoint", "") in {*of_images, ""}:
                found[name, sample.labels[key], ""] += int(sample.value)
    for name, histogram in (("duration", DURATION), ("confidence", CONFIDENCE)):
        _add_buckets(found, name, [each for each in _samples(histogram, "_bucket") if _is_of(each, of_images)])
    for sample in _samples(CONFIDENCE, "_count"):
        found["version", sample.labels["model_version"], ""] += int(sample.value)
    for version, classes in _classes.copy().items():
        for label, count in classes.copy().items():
            found["label", version, label] += count
    return +found


def image_routes(app: Flask) -> frozenset[str]:
    """Return the rules of the routes that take an image, as the metrics call them.

    Left out are the page's own form, whose rule is that of the page, and reports, which seldom bring their image.
    """
    rules = [rule for rule in app.url_map.iter_rules() if rule.rule not in {"/", "/feedback"}]
    views = {rule.rule: app.view_functions[rule.endpoint] for rule in rules}
    return frozenset(
        rule
        for rule, view in views.items()
        if any(set(OF_AN_IMAGE) <= set(operation.problems) for operation in operations_of(view).values())
    )


def _samples(metric: Any, suffix: str) -> list[Any]:
    [collected] = metric.collect()
    return [sample for sample in collected.samples if sample.name == collected.name + suffix]


def _is_of(sample: Any, routes: frozenset[str]) -> bool:
    return sample.labels.get("endpoint") in {None, *routes}


def _add_buckets(found: Counts[Counted], name: str, samples: list[Any]) -> None:
    """Add what is in each bucket: Prometheus counts in each what is in the smaller ones, too."""
    below: dict[tuple[str, ...], float] = {}
    for sample in samples:
        series = tuple(value for label, value in sample.labels.items() if label != "le")
        found[name, sample.labels["le"], ""] += int(sample.value - below.get(series, 0.0))
        below[series] = sample.value


# A counter, or a histogram and what it observed.
_noted: deque[tuple[Counter | Histogram, float]] = deque()
MAX_NOTED = 10_000


def note(metric: Counter | Histogram, value: float = 1.0) -> None:
    """Note one event of a metric with its labels, for `fold`."""
    _noted.append((metric, value))
    if len(_noted) > MAX_NOTED:  # in a program without the server's beat
        fold()


def fold() -> None:
    """Add what was noted to the metrics: each of their values once, however many events there were."""
    values: Counts[tuple[Any, int]] = Counts()
    sums: defaultdict[Any, float] = defaultdict(float)
    # As many as there are now; threads may continue to record.
    for _ in range(len(_noted)):
        metric, value = _noted.popleft()
        if isinstance(metric, Histogram):
            values[metric, bisect_left(metric._upper_bounds, value)] += 1
        sums[metric] += value
    for (histogram, bucket), count in values.items():
        histogram._buckets[bucket].inc(count)
    for metric, amount in sums.items():
        if isinstance(metric, Histogram):
            metric._sum.inc(amount)
        else:
            metric.inc(amount)


def count_prediction(answer: tuple[str, float], seconds: float) -> None:
    """Count an answer of `model_predict`, which took so many seconds."""
    version = getattr(answer, "model_version", "")
    confidence, classes = _of_version(version)
    note(confidence, answer[1])
    classes[answer[0]] += 1
    if has_request_context():  # an image of a batch is classified in a thread of its own
        request.environ[_VERSION] = version
    timings = getattr(answer, "timings", None)
    if timings:
        worker_ms = timings.get("queue", 0.0) + timings.get("decode", 0.0) + timings.get("infer", 0.0)
        note(_REPLY, max(seconds - worker_ms / 1000, 0.0))
    result = getattr(answer, "cache", "")
    if result in _cache:
        note(_cache[result])


def note_version(version: str) -> None:
    """Count the present request, once it is answered, for a version of the model."""
    request.environ[_VERSION] = version


def count_drop(error: errors.WireError) -> None:
    """Count a job without an answer, unless its image was the reason."""
    is_poison = isinstance(error, JobFailed) and error.failure.code == "poison"
    reason = "poison" if is_poison else _REASONS.get(type(error))
    if reason is not None:
        note(_dropped[reason])


def count_refusal() -> None:
    """Count an image that was refused before it was read."""
    note(_of_endpoint("/predict", 503, "")[0])
    note(_dropped["rejected"])


def _count_answer(response: Response) -> Response:
    answered: Request = request._get_current_object()  # type: ignore[attr-defined]
    rule, environ = answered.url_rule, answered.environ
    endpoint = rule.rule if rule is not None else NO_ENDPOINT
    requests, duration = _of_endpoint(endpoint, response.status_code, environ.get(_VERSION, ""))
    note(requests)
    started = environ.get("sightline.started")
    if started is not None:
        took_s = time.perf_counter() - started
        note(duration, took_s)
        if (ids := environ.get(EXEMPLAR)) is not None:
            version = _label_of(environ.get(_VERSION, ""))
            _exemplars.note({"endpoint": endpoint, "model_version": version}, took_s, ids)
    return response


_versions: set[str] = set()


def _label_of(version: str) -> str:
    """Return the label of a version: promoting one after the other does not make the metrics grow without end."""
    if len(_versions) < MAX_VERSIONS:
        _versions.add(version)
    return version if version in _versions else OTHER


@lru_cache(MAX_VERSIONS)
def _of_version(version: str) -> tuple[Histogram, Counts[str]]:
    label = _label_of(version)
    return CONFIDENCE.labels(label), _classes.setdefault(label, Counts())


@lru_cache(1024)
def _of_endpoint(endpoint: str, status: int, version: str) -> tuple[Counter, Histogram]:
    label = _label_of(version)
    return REQUESTS.labels(endpoint, str(status), label), DURATION.labels(endpoint, label)


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
