"""From the rows of all repeats to one line for each thing measured: medians and spreads."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.results import Row

DIMENSIONS = ("experiment", "system", "part", "precision", "workers", "pictures", "body", "connections", "depth")
Key = tuple[object, ...]


@dataclass(frozen=True)
class Figure:
    """The median of the repeats, with the lowest and the highest."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """What was measured (dimensions) and what came out (figures by metric)."""

    dimensions: Row
    figures: dict[str, Figure]

    def matches(self, wanted: Row) -> bool:
        """Return whether every wanted dimension is this line's."""
        return all(self.dimensions.get(name) == value for name, value in wanted.items())


def summarise(rows: Iterable[Row]) -> list[Line]:
    """Group the rows that differ only in the repeat."""
    groups: dict[Key, list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(name) for name in DIMENSIONS), []).append(row)
    return [_line(key, group) for key, group in groups.items()]


def _line(key: Key, group: list[Row]) -> Line:
    dimensions = {name: value for name, value in zip(DIMENSIONS, key, strict=True) if value is not None}
    metrics = dict.fromkeys(name for row in group for name in row if name not in DIMENSIONS and name != "repeat")
    return Line(dimensions, {name: _figure([float(row[name]) for row in group if name in row]) for name in metrics})


def _figure(values: list[float]) -> Figure:
    return Figure(statistics.median(values), min(values), max(values))


def ratio(rows: list[Row], numerator: Row, denominator: Row, metric: str) -> Figure | None:
    """Return the ratio of two things' figures, formed within each repeat: the machine drifts."""
    above, below = _by_repeat(rows, numerator, metric), _by_repeat(rows, denominator, metric)
    # A system without answers in a repeat gives no ratio for it.
    both = sorted(repeat for repeat in above.keys() & below.keys() if below[repeat])
    if not both:
        return None
    return _figure([above[repeat] / below[repeat] for repeat in both])


def _by_repeat(rows: list[Row], wanted: Row, metric: str) -> dict[int, float]:
    return {
        row["repeat"]: row[metric]
        for row in rows
        if metric in row and all(row.get(name) == value for name, value in wanted.items())
    }
