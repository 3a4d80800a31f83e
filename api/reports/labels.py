"""How a label is spelled: as the model spells it, whose labels workers publish, and as reviewers have renamed it."""

from collections.abc import Callable, Sequence
from functools import lru_cache

from predict import job_queue
from reports.record import report_store
from storage.reports.port import CaseClass
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
    return not newness()(label) if current() else None


def newness() -> Callable[[str], bool]:
    """Return the check whether a label is new to the current model; while its labels are unknown, none is."""
    labels, renames = current(), report_store().renames()
    spelled, names = _spelling(labels, renames), _names(labels, renames)
    return lambda label: bool(labels) and spelled.of(label) not in names


def reviewed() -> list[CaseClass]:
    """Return the classes that reviewers have named, by their names now: most images first, what was merged as one."""
    found: dict[str, CaseClass] = {}
    known = report_store().classes()
    known_as = spelling().extended(each.label for each in known)
    for each in known:
        label = known_as.of(each.label)
        images = each.images + (found[label].images if label in found else 0)
        found[label] = CaseClass(label, images, found[label].filename if label in found else each.filename)
    return sorted(found.values(), key=lambda each: (-each.images, each.label))


@lru_cache(maxsize=2)
def _spelling(labels: Labels, renames: Renames) -> Spelling:
    return Spelling(labels, renames)


@lru_cache(maxsize=2)
def _names(labels: Labels, renames: Renames) -> frozenset[str]:
    return frozenset(map(_spelling(labels, renames).of, labels))
