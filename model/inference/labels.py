"""The classes of a model, in the order of its outputs."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from inference.errors import BundleError

Predictions = tuple[tuple[str, float], ...]


def parse(content: bytes) -> tuple[str, ...]:
    """One label on each line of UTF-8; every one is there once."""
    try:
        labels = tuple(content.decode("utf-8").splitlines())
    except UnicodeDecodeError as fault:
        raise BundleError(f"labels.txt is no UTF-8: {fault}") from None
    if not labels:
        raise BundleError("labels.txt is empty; one label on each line is expected")
    seen: set[str] = set()
    for number, label in enumerate(labels, 1):
        if not label.strip() or label in seen:
            raise BundleError(f"labels.txt line {number} is {label!r}; labels are neither empty nor repeated")
        seen.add(label)
    return labels


def best(scores: npt.NDArray[np.float32], labels: Sequence[str], count: int) -> Predictions:
    """The `count` likeliest labels with their probabilities, best first."""
    count = min(count, len(labels))
    likeliest = np.argpartition(scores, -count)[-count:]
    ordered = likeliest[np.argsort(scores[likeliest])[::-1]]
    return tuple((labels[index], float(scores[index])) for index in ordered)
