"""How a label is spelled: as the model spells it, whose labels its workers publish."""

from functools import lru_cache

from predict import job_queue

Labels = tuple[str, ...]


def current() -> Labels:
    """Return the labels of the model that serves, none while they are not known; without waiting."""
    state = job_queue.queue_state()
    return () if state is None else state.labels


def is_known(label: str) -> bool | None:
    """Return whether the model has a label; None while its labels are not known."""
    labels = current()
    return label in labels if labels else None


def normalized(label: str) -> str:
    """Return a label as the model spells it, whatever case, blanks or underscores it came with.

    Of a label that the model does not know, surplus blanks alone are removed.
    """
    return _spellings(current()).get(_folded(label), " ".join(label.split()))


@lru_cache(maxsize=2)
def _spellings(labels: Labels) -> dict[str, str]:
    # The first of two that differ in nothing else.
    return {_folded(label): label for label in reversed(labels)}


def _folded(label: str) -> str:
    return " ".join(label.replace("_", " ").casefold().split())
