"""The port of the history, and its SQL, which SQLite and PostgreSQL share. A parameter stands as `?` in a query."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

MINUTE: Final = 60
HOUR: Final = 3600
DAY: Final = 86_400
# How long the sums of each period are kept at least, in seconds.
KEPT_S: Final = {MINUTE: 26 * HOUR, HOUR: 9 * DAY, DAY: 400 * DAY}
# What has hundreds of details is kept by day alone.
BY_DAY: Final = frozenset({"label"})

Ask: TypeAlias = Callable[[str, Sequence[Any]], Sequence[Any]]

COLUMNS: Final = ("period", "at", "name", "key", "detail", "amount")
_ADD: Final = f"""
INSERT INTO history ({", ".join(COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (period, at, name, key, detail) DO UPDATE SET amount = history.amount + excluded.amount
"""  # noqa: S608  our own words
_IS_ANY_OLD: Final = "SELECT at FROM history WHERE period = ? AND at < ? LIMIT 1"
_FORGET: Final = """
DELETE FROM history WHERE period = ? AND at < ? AND at < (
  SELECT MIN(at) FROM (SELECT DISTINCT at FROM history WHERE period = ? ORDER BY at DESC LIMIT ?) AS newest
)
"""
_READ: Final = "SELECT at, name, key, detail, amount FROM history WHERE period = ? AND at >= ? AND at < ?"


class Sample(NamedTuple):
    """By how much a counter has grown; `key` and `detail` say which one of that name."""

    name: str
    key: str
    detail: str
    amount: float


class Sum(NamedTuple):
    """The sum of a counter's samples over the period that begins at `at`, in seconds since 1970."""

    at: int
    name: str
    key: str
    detail: str
    amount: float


class History(ABC):
    """Sums of samples by period, for any number of processes. Methods raise OSError or StorageError."""

    @abstractmethod
    def add(self, now: float, samples: Sequence[Sample]) -> None:
        """Add samples to the periods of `now`, seconds since 1970; all of them or none."""

    @abstractmethod
    def read(self, period: int, since: float, until: float, names: Collection[str]) -> list[Sum]:
        """Return the sums of these names whose period begins in [since, until), in the order of time."""


def add(ask: Ask, now: float, samples: Sequence[Sample]) -> None:
    """Add samples, and remove the sums that have had their time, the oldest ones of more than fit into that time.

    By the clock alone, one reading that is days ahead would remove everything.
    """
    rows = [
        (period, int(now) // period * period, *sample)
        for period in KEPT_S
        for sample in samples
        if period == DAY or sample.name not in BY_DAY
    ]
    # In one order, so that processes that add at the same time wait for one another and not in a circle.
    for row in sorted(rows):
        ask(_ADD, row)
    for period, kept_s in KEPT_S.items():
        before = int(now) - kept_s
        if ask(_IS_ANY_OLD, (period, before)):
            ask(_FORGET, (period, before, period, kept_s // period + 1))


def read(ask: Ask, period: int, since: float, until: float, names: Collection[str]) -> list[Sum]:
    """Return the sums of a period: see History.read."""
    marks = ", ".join("?" * len(names))
    query = f"{_READ} AND name IN ({marks}) ORDER BY at, name, key, detail"
    rows = ask(query, (period, int(since), int(until), *sorted(names)))
    return [Sum(*(row[column] for column in Sum._fields)) for row in rows]
