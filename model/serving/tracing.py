"""Traces of jobs, in OpenTelemetry's form; off unless OTEL_TRACES_EXPORTER names a destination.

Off, nothing of OpenTelemetry is even loaded. spans.py makes the spans.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Final

import settings
from wire import Answer, Delivery, Failure


class Recorder:
    """Receives the stages of a consumer's jobs; this one discards them, while traces are off."""

    def note(self, stage: str, begin: float, jobs: Sequence[Delivery], fault: str = "") -> None:
        """Record a stage that ends now, which began then by the performance counter."""

    def end(self, outcomes: Sequence[tuple[Delivery, Answer | Failure]]) -> None:
        """Make spans of what was noted of these jobs; they are answered."""


class Traces:
    """Gives each consumer its recorder; these are off. `engine` is the one that computes."""

    engine = ""

    def recorder(self) -> Recorder:
        """Give one that forgets."""
        return UNTRACED

    def stop(self) -> None:
        """Send the last spans."""


UNTRACED: Final = Recorder()


def opened(worker: str) -> Traces:
    """Start to send the traces of a worker of this name, if that is enabled."""
    if settings.OTEL_TRACES_EXPORTER == "none":
        return Traces()
    # Loaded on demand, and not by an import statement, because spans.py builds on this module.
    traces: Traces = import_module("serving.spans").SpanTraces(worker)
    return traces
