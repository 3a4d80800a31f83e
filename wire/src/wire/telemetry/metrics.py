"""Send the metrics of a process to a collector, now and then, from a thread of their own.

Imported only where enabled, since it loads OpenTelemetry. What is sent is what Prometheus would read at
/metrics: there are no other counters. No one waits for a collector; one that does not answer is one line in the log.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, Protocol

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ConsoleMetricExporter,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from wire.telemetry.loss import ExportLoss

# How long the end of the process may wait for the last of them.
FLUSH_S = 2.0
LOGGERS = ("opentelemetry.exporter.otlp.proto.http.metric_exporter",)
_CUMULATIVE = AggregationTemporality.CUMULATIVE


class Sample(Protocol):
    """One value of a family, as Prometheus' client has it."""

    name: str
    labels: Mapping[str, str]
    value: float


class Family(Protocol):
    """A metric with the samples of all its labels, as Prometheus' client has it."""

    name: str
    type: str
    documentation: str
    samples: list[Any]


class MetricExport:
    """Send what `collect` returns every `interval_s`, and once at the end; to be made after the last fork.

    `exporter` is "console" or "otlp"; `endpoint` is the collector's base URL, for the latter.
    """

    def __init__(  # noqa: PLR0913  what is sent, as whom, where to and how often
        self,
        collect: Callable[[], Iterable[Family]],
        service: str,
        *,
        exporter: str,
        endpoint: str,
        interval_s: float,
        instance: str = "",
    ) -> None:
        # Each process counts from 0: without an id of its own, its counters would seem to jump.
        instance = instance or f"{socket.gethostname()}:{os.getpid()}"
        self._resource = Resource.create({"service.name": service, "service.instance.id": instance})
        self._collect, self._interval_s = collect, interval_s
        self._begin = time.time_ns()
        self._exporter = _exporter(exporter, endpoint)
        self._loss = ExportLoss("metrics", endpoint, LOGGERS)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metric-export", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send the last values, for at most FLUSH_S; where the thread still waits then, it ends with the process."""
        self._stopping.set()
        self._thread.join(FLUSH_S)

    def _run(self) -> None:
        is_over = False
        while not is_over:
            is_over = self._stopping.wait(self._interval_s)
            self._send()
        self._loss.close()
        self._exporter.shutdown()

    def _send(self) -> None:
        metrics = list(_metrics_of(self._collect(), self._begin, time.time_ns()))
        scope = ScopeMetrics(InstrumentationScope("sightline"), metrics, "")
        data = MetricsData([ResourceMetrics(self._resource, [scope], "")])
        self._loss.note(len(metrics), is_sent=self._exporter.export(data) is MetricExportResult.SUCCESS)


def _metrics_of(families: Iterable[Family], begin: int, now: int) -> Iterator[Metric]:
    for family in families:
        if not family.samples:
            continue  # labels that nothing has had yet
        if family.type == "histogram":
            histogram = Histogram(list(_histogram_points(family, begin, now)), _CUMULATIVE)
            yield Metric(family.name, family.documentation, "", histogram)
            continue
        is_counter = family.type == "counter"
        # A counter's total carries its start time.
        samples = [each for each in family.samples if not is_counter or each.name.endswith("_total")]
        points = [NumberDataPoint(dict(each.labels), begin, now, float(each.value)) for each in samples]
        data = Sum(points, _CUMULATIVE, is_monotonic=True) if is_counter else Gauge(points)
        yield Metric(family.name, family.documentation, "", data)


def _histogram_points(family: Family, begin: int, now: int) -> Iterator[HistogramDataPoint]:
    def labels(sample: Sample) -> tuple[tuple[str, str], ...]:
        return tuple(sorted((name, value) for name, value in sample.labels.items() if name != "le"))

    for key, group in groupby(sorted(family.samples, key=labels), labels):
        values = {(each.name.removeprefix(family.name), each.labels.get("le", "")): each.value for each in group}
        upper = sorted((float(le), value) for (name, le), value in values.items() if name == "_bucket")
        # Prometheus counts what is up to a bound, OpenTelemetry what is between two of them.
        counts = [int(value - before) for (_, value), (_, before) in zip(upper, [(0.0, 0.0), *upper], strict=False)]
        total, bounds = int(upper[-1][1]), [bound for bound, _ in upper[:-1]]
        unknown: Any = None  # what was least and most
        told = (dict(key), begin, now, total, values["_sum", ""], counts, bounds)
        yield HistogramDataPoint(*told, min=unknown, max=unknown)


def _exporter(kind: str, endpoint: str) -> MetricExporter:
    if kind == "console":
        return ConsoleMetricExporter(formatter=lambda data: data.to_json(indent=None) + "\n")
    # Headers, certificates and time-outs are read by the exporter, from the variables that it documents.
    return OTLPMetricExporter(endpoint=f"{endpoint.rstrip('/')}/v1/metrics")
