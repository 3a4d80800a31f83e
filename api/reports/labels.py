"""How a label is spelled: as the model spells it, whose labels workers publish, and as reviewers have renamed it."""

from collections.abc import Sequence
from functools import lru_cache

from predict import job_queue
from reports.record import report_store
from wire.tables.labels import Spelling

Labels = tuple[str, ...]
Renames = Sequence[tuple[str, str]]


def current() -> Labels:
    """Return the labels of the model that serves, none while they are not known; without waiting."""
    state = job_queue.queue_state()
    return () if state is None else state.labels


def spelling() -> Spelling:
    """Return the names of the classes that are known now."""
    return _spelling(current(), report_store().renames())


def is_known(label: str) -> bool | None:
    """Return whether the model has a class of that label; None while its labels are not known."""
    labels, renames = current(), report_store().renames()
    return _names(labels, renames).issuperset((_spelling(labels, renames).of(label),)) if labels else None


@lru_cache(maxsize=2)
def _spelling(labels: Labels, renames: Renames) -> Spelling:
    return Spelling(labels, renames)


@lru_cache(maxsize=2)
def _names(labels: Labels, renames: Renames) -> frozenset[str]:
    return frozenset(map(_spelling(labels, renames).of, labels))
