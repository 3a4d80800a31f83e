"""Estimates of accuracy on new images, from the answers of versions that were trained on a share of each class.

The errors of a new class fall with the number n of its images about as n ** -EXPONENT, so that cross-validation alone
underestimates the accuracy, most where a class has three images (docs/decisions/0009-last-layer.md has the
measurements). The ends of an interval take the slowest and the fastest fall, and fewer images than there are: those of
one class are answered by versions that were trained on each other.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from evaluation.statistics import wilson

EXPONENT, SLOWEST, FASTEST = 0.5, 0.2, 1.2
CORRELATION = 0.2  # of the answers to images of one class
# One of two images does not show how a class is learned from both: at least three are required.
MIN_SHARE = 0.6


class Estimate(NamedTuple):
    """A share with the ends of its 95 % interval."""

    share: float
    low: float
    high: float


def accuracy(rights: Sequence[bool], shares: Sequence[float], labels: Sequence[str]) -> Estimate:
    """Return the accuracy of a version whose answers are those of versions with these shares of each label's images."""
    left, wrong = np.array(shares), 1 - np.array(rights, float)
    held_out = {label for label, share in zip(labels, shares, strict=True) if share < 1}
    together = sum(label in held_out for label in labels) / max(1, len(held_out))
    independent = 1 + CORRELATION * max(0.0, together - 1)
    low, high = wilson(sum(rights) / independent, len(rights) / independent)
    if not rights:
        return Estimate(0.0, low, high)
    return Estimate(
        float(1 - (wrong * left**EXPONENT).mean()),
        float(1 - (1 - low) * (left**SLOWEST).mean()),
        float(1 - (1 - high) * (left**FASTEST).mean()),
    )
