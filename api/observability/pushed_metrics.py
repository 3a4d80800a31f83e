"""Metrics that are sent to a collector in addition to /metrics; off unless OTEL_METRICS_EXPORTER names a destination.

Off, nothing of OpenTelemetry is even loaded.
"""

from typing import TYPE_CHECKING

from flask import Flask

import settings
from observability import metrics

if TYPE_CHECKING:
    from wire.telemetry.metrics import MetricExport


class _State:
    """What sends the metrics of this process; None while nothing does."""

    export: "MetricExport | None" = None


_state = _State()


def start(app: Flask) -> None:
    """Start to send the counters of this process, if that is enabled."""
    if settings.OTEL_METRICS_EXPORTER != "none":
        from wire.telemetry.metrics import MetricExport  # noqa: PLC0415  loaded where it is wanted, and nowhere else

        _state.export = MetricExport(
            lambda: metrics.of_this_process(app),
            settings.OTEL_SERVICE_NAME,
            exporter=settings.OTEL_METRICS_EXPORTER,
            endpoint=settings.OTEL_EXPORTER_OTLP_ENDPOINT,
            interval_s=settings.OTEL_METRIC_EXPORT_INTERVAL / 1000,
        )


def stop() -> None:
    """Send the last values."""
    export, _state.export = _state.export, None
    if export is not None:
        export.stop()
