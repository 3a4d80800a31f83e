"""Softmax and its logarithm, row by row, without overflow."""

from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[Any]


def log_sum_exp(logits: Rows) -> Rows:
    """The logarithm of the sum of the exponentials of each row."""
    highest = logits.max(axis=-1, keepdims=True)
    result: Rows = (highest + np.log(np.exp(logits - highest).sum(axis=-1, keepdims=True)))[..., 0]
    return result


def softmax(logits: Rows) -> Rows:
    """Probabilities of each row."""
    result: Rows = np.exp(logits - log_sum_exp(logits)[..., None])
    return result
