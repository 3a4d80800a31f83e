"""The classes of a model, in the order of its outputs."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from inference.errors import BundleError

# The largest list in use, that of ImageNet-21k, has 21,843 labels of at most 200 characters.
MAX_BYTES, MAX_LABELS, MAX_CHARACTERS = 4 * 1024**2, 65_536, 500

Predictions = tuple[tuple[str, float], ...]


def parse(content: bytes) -> tuple[str, ...]:
    """One label on each line of UTF-8; every one is there once."""
    try:
        labels = tuple(content.decode("utf-8").splitlines())
    except UnicodeDecodeError as fault:
        raise BundleError(f"labels.txt is no UTF-8: {fault}") from None
    if not labels:
        raise BundleError("labels.txt is empty; one label on each line is expected")
    if len(labels) > MAX_LABELS:
        raise BundleError(f"labels.txt has {len(labels)} labels; at most {MAX_LABELS} are read")
    seen: set[str] = set()
    for number, label in enumerate(labels, 1):
        if not label.strip() or label in seen:
            raise BundleError(f"labels.txt line {number} is {label!r}; labels are neither empty nor repeated")
        if len(label) > MAX_CHARACTERS:
            raise BundleError(
                f"labels.txt line {number} has {len(label)} characters; at most {MAX_CHARACTERS} are read"
            )
        seen.add(label)
    return labels


def best(scores: npt.NDArray[np.float32], labels: Sequence[str], count: int) -> Predictions:
    """The `count` likeliest labels with their probabilities, best first."""
    count = min(count, len(labels))
    likeliest = np.argpartition(scores, -count)[-count:]
    ordered = likeliest[np.argsort(scores[likeliest])[::-1]]
    return tuple((labels[index], float(scores[index])) for index in ordered)
