"""Where the marks of the operator's charts stand, in the units of their SVG; the template draws them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from operate.figures import KINDS, Step, Traffic, interval, quantile
from storage.history.port import HOUR
from storage.reports.port import Row

WIDTH, HEIGHT = 720.0, 180.0
# Of the square of the reliability curve.
SIDE = 200.0
GAP = 0.25


class Bar(NamedTuple):
    """A part of a stacked bar."""

    kind: str
    x: float
    y: float
    width: float
    height: float


class Column(NamedTuple):
    """All that a step has: its bars, and their description."""

    title: str
    x: float
    width: float
    bars: Sequence[Bar]


class Mark(NamedTuple):
    """A vertical line where a version began to answer."""

    x: float
    title: str


class Tick(NamedTuple):
    """A value on the vertical axis; they stand at equal distances, from the lowest to the highest place."""

    at: float
    text: str


class RequestChart(NamedTuple):
    """Requests by step, as stacked bars, with the versions that began to answer."""

    columns: Sequence[Column]
    marks: Sequence[Mark]
    ticks: Sequence[Tick]
    times: Sequence[str]


class LatencyChart(NamedTuple):
    """Quantiles by step, as the points of two lines on a logarithmic axis."""

    p50: Sequence[str]
    p99: Sequence[str]
    ticks: Sequence[Tick]
    times: Sequence[str]


class Dot(NamedTuple):
    """The answers of a tenth of the scores: their mean score, and the interval of the share that was correct."""

    x: float
    y: float
    low: float
    high: float
    title: str


def requests(traffic: Traffic) -> RequestChart:
    """Return the chart of the requests of a window."""
    top = ceiling(max(step.total for step in traffic.steps))
    width = WIDTH / len(traffic.steps)
    columns = [_column(step, number * width, width, top) for number, step in enumerate(traffic.steps)]
    at = {step.at: number * width for number, step in enumerate(traffic.steps)}
    marks = [Mark(at[step.at], f"{version}, from {step.label}") for step, version in traffic.marks]
    ticks = [Tick(HEIGHT - HEIGHT * part, f"{top * part:g}") for part in (0, 0.5, 1)]
    return RequestChart(columns, marks, ticks, _times(traffic.steps))


def _column(step: Step, x: float, width: float, top: int) -> Column:
    bars, y = [], HEIGHT
    for kind in KINDS:
        height = HEIGHT * step.kinds[kind] / top
        if height:
            y -= height
            bars.append(
                Bar(kind, round(x + width * GAP / 2, 2), round(y, 2), round(width * (1 - GAP), 2), round(height, 2))
            )
    parts = ", ".join(f"{step.kinds[kind]} {kind}" for kind in KINDS if step.kinds[kind]) or "no requests"
    return Column(f"{step.label}: {parts}", round(x, 2), round(width, 2), bars)


def ceiling(value: float) -> int:
    """Return the least of 1, 2, 5, 10, 20, 50, … that is not below a value."""
    if value <= 1:
        return 1
    power = 10 ** math.floor(math.log10(value))
    return int(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= value))


def latencies(traffic: Traffic) -> LatencyChart:
    """Return the chart of the latencies of a window; a line is broken where there were no requests."""
    quantiles = [(quantile(step.buckets, 0.5), quantile(step.buckets, 0.99)) for step in traffic.steps]
    known = [value for pair in quantiles for value in pair if value]
    low = 10 ** math.floor(math.log10(min(known, default=0.01)))
    high = max(10 ** math.ceil(math.log10(max(known, default=1.0))), low * 10)
    decades = round(math.log10(high / low))

    width = WIDTH / len(traffic.steps)

    def point(number: int, value: float | None) -> tuple[float, float] | None:
        if value is None:
            return None
        y = HEIGHT * (1 - math.log10(max(value, low) / low) / decades)
        return round((number + 0.5) * width, 2), round(y, 2)

    p50, p99 = (_runs([point(*each) for each in enumerate(values)]) for values in zip(*quantiles, strict=True))
    ticks = [Tick(round(HEIGHT * (1 - n / decades), 2), _duration(low * 10**n)) for n in range(decades + 1)]
    return LatencyChart(p50, p99, ticks, _times(traffic.steps))


def _runs(points: Sequence[tuple[float, float] | None]) -> list[str]:
    """Return the points of each unbroken line; one that stands alone becomes a short line."""
    runs: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if point is None:
            runs.append([])
        else:
            runs[-1].append(point)
    runs = [run if len(run) > 1 else [(run[0][0] - 2, run[0][1]), (run[0][0] + 2, run[0][1])] for run in runs if run]
    return [" ".join(f"{x:g},{y:g}" for x, y in run) for run in runs]


def _duration(seconds: float) -> str:
    return f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1000:g} ms"


def _times(steps: Sequence[Step]) -> list[str]:
    """Return the times at the beginnings of the quarters: hours where the steps span a day at most, else days."""
    form = slice(11, 16) if steps[-1].at - steps[0].at < 25 * HOUR else slice(5, 10)
    return [steps[len(steps) * quarter // 4].label[form] for quarter in range(4)]


def reliability(rows: Sequence[Row]) -> list[Dot]:
    """Return the points of the reliability curve, one for each tenth of the scores that has reviewed cases."""
    dots = []
    for row in rows:
        share = interval(row["correct"], row["count"])
        if share is not None:
            title = f"score {row['score']:.2f}: {row['correct']} of {row['count']} correct"
            y, low, high = (round(SIDE * (1 - part), 2) for part in share)
            dots.append(Dot(round(SIDE * row["score"], 2), y, low, high, title))
    return dots
