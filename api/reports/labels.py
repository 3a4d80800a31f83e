"""The labels of the model that serves, as its workers publish them."""

from functools import lru_cache

from predict import job_queue

Labels = tuple[str, ...]


def current() -> Labels:
    """Give the labels, none while they are not known; without waiting."""
    state = job_queue.queue_state()
    return () if state is None else state.labels


def is_known(label: str) -> bool | None:
    """Say whether the model has a label; None while its labels are not known."""
    labels = current()
    return label in labels if labels else None


def spelled(label: str) -> str:
    """Give a label as the model spells it, whatever case, blanks or underscores it came with; others as they are."""
    return _spellings(current()).get(_plain(label), label)


@lru_cache(maxsize=2)
def _spellings(labels: Labels) -> dict[str, str]:
    # The first of two that differ in nothing else.
    return {_plain(label): label for label in reversed(labels)}


def _plain(label: str) -> str:
    return " ".join(label.replace("_", " ").casefold().split())
