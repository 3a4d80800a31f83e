"""A measure in which features vary alike in every direction.

To move a row of weights where features hardly vary is cheap on paper and says nothing; measured in white features it
costs what it does. How features vary is taken from the anchors and, within each class, from the cases.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from inference.arrays import Doubles, Floats

if TYPE_CHECKING:
    from training.fitting import Cases

ANCHORS_SHARE = 10 / 11  # of the covariance; the rest is the cases' own
FLOOR = 0.1  # of the mean variance, added to every direction


@dataclass(frozen=True)
class Whitening:
    """white = (features - centre) @ matrix."""

    centre: Doubles
    matrix: Doubles

    def apply(self, features: Floats) -> Floats:
        """The white features."""
        white: Floats = ((features - self.centre) @ self.matrix).astype(np.float32)
        return white

    def rows(self, white_rows: Doubles) -> Doubles:
        """Rows of weights over plain features that do what these do over white ones."""
        return white_rows @ self.matrix.T


def whitening(cases: Cases, anchors: Floats) -> Whitening:
    """The measure for these cases and anchors."""
    centre = anchors.mean(axis=0, dtype=np.float64)
    covariance = ANCHORS_SHARE * _covariance(anchors - centre)
    covariance += (1 - ANCHORS_SHARE) * _covariance(_within_classes(cases))
    variances, directions = np.linalg.eigh(covariance)
    floor = FLOOR * variances.mean()
    return Whitening(centre, directions / np.sqrt(np.maximum(variances, 0) + floor))


def _covariance(deviations: Doubles) -> Doubles:
    covariance: Doubles = deviations.T @ deviations / len(deviations)
    return covariance


def _within_classes(cases: Cases) -> Doubles:
    deviations = cases.features.astype(np.float64)
    for label in np.unique(cases.classes):
        rows = cases.classes == label
        deviations[rows] -= deviations[rows].mean(axis=0)
    return deviations
