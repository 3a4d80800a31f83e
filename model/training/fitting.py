"""Fits the last layer anew on reviewed cases, close to the old one.

Only the rows of the labels that were reported move, old or new; every other class keeps its weights to the last bit.
What holds the new rows back are anchors, pictures on which the old model's answers must stay: ordinary ones made by
code, unreported traffic where there is any, and features that never were a picture (see replay.py).
"""

from dataclasses import dataclass, replace

import numpy as np

from inference.arrays import Classes, Doubles, Flags, Floats
from onnx_tools.head import Head
from training.lbfgs import minimise
from training.replay import replayed
from training.softmax import log_sum_exp
from training.whitening import Whitening, whitening

# Measured in docs/decisions/0009-last-layer.md; results hardly change within a factor of three of each.
STIFFNESS = 0.1  # against moving a row, where features vary by one
LABEL_WEIGHT = 0.4  # of all cases of one label, against one of all anchors
ANCHORS_PER_LABEL = 0.2
REPLAYS = 500
MOST_STEPS = 300
CHUNK = 1024


@dataclass(frozen=True)
class Cases:
    """Features of reviewed pictures, several views of each, and the class that each must get."""

    features: Floats
    classes: Classes
    pictures: Classes  # which views belong to one picture

    def only(self, rows: Flags) -> "Cases":
        """Those of these rows."""
        return Cases(self.features[rows], self.classes[rows], self.pictures[rows])


def fit(old: Head, cases: Cases, anchors: Floats, *, replays: int = REPLAYS) -> Head:
    """The old head with the rows of the cases' classes moved, and rows for classes beyond it."""
    moving = np.unique(cases.classes)
    head = old.extended(max(0, int(moving[-1]) + 1 - len(old.weights)))
    held = np.concatenate([anchors, replayed(old, anchors, cases.features, replays)])
    measure = whitening(cases, anchors)
    task = _task(old, head, cases, held, measure)
    shifts = minimise(task.loss, np.zeros(task.size), most_steps=MOST_STEPS).reshape(len(moving), -1)
    weights, biases = head.weights.copy(), head.biases.copy()
    weights[moving] += measure.rows(shifts[:, :-1])
    biases[moving] += (shifts[:, -1] - measure.centre @ measure.rows(shifts[:, :-1]).T).astype(np.float32)
    return replace(head, weights=weights, biases=biases)


@dataclass(frozen=True)
class _Task:
    """Cross-entropy over the moving classes and one more, the rest, whose logit is fixed."""

    features: Floats  # white, with a column of ones for the bias
    logits: Floats  # before anything has moved; the rest in the last column
    targets: Floats
    weights: Floats
    stiffness: Doubles  # of each weight and the bias of each moving row

    @property
    def size(self) -> int:
        return self.stiffness.size

    def loss(self, flat: Doubles) -> tuple[float, Doubles]:
        """The value and its gradient at these shifts of the rows."""
        shifts = flat.reshape(self.stiffness.shape)
        logits = self.logits.copy()
        logits[:, :-1] += self.features @ shifts.T.astype(np.float32)
        total = log_sum_exp(logits)
        value = float(self.weights @ (total - (logits * self.targets).sum(axis=1)))
        errors = (np.exp(logits - total[:, None]) - self.targets)[:, :-1] * self.weights[:, None]
        resistance = self.stiffness * shifts
        gradient = errors.T @ self.features + resistance
        return value + float((resistance * shifts).sum()) / 2, gradient.astype(np.float64).reshape(-1)


def _task(old: Head, head: Head, cases: Cases, held: Floats, measure: Whitening) -> _Task:
    moving = np.unique(cases.classes)
    features = np.concatenate([cases.features, held])
    logits = _collapsed(head, features, moving, len(old.weights))
    count = len(cases.features)
    targets = np.zeros_like(logits)
    targets[np.arange(count), np.searchsorted(moving, cases.classes)] = 1
    # What the old model said; it had no new classes to say it of.
    said = logits[count:].copy()
    said[:, :-1][:, moving >= len(old.weights)] = -np.inf
    targets[count:] = np.exp(said - log_sum_exp(said)[:, None])
    white = measure.apply(features)
    stiffness = np.full((len(moving), white.shape[1] + 1), STIFFNESS)
    stiffness[moving >= len(old.weights), -1] = 0  # nothing is known of a new class's bias
    ones = np.ones((len(white), 1), np.float32)
    return _Task(np.concatenate([white, ones], axis=1), logits, targets, _weights(cases, len(held)), stiffness)


def _collapsed(head: Head, features: Floats, moving: Classes, old_count: int) -> Floats:
    """The logits of the moving classes, and in the last column one that stands for all the others."""
    logits = np.empty((len(features), len(moving) + 1), np.float32)
    others = np.setdiff1d(np.arange(old_count), moving)
    for at in range(0, len(features), CHUNK):
        part = slice(at, at + CHUNK)
        all_logits = head.logits(features[part])
        logits[part, :-1] = all_logits[:, moving]
        logits[part, -1] = log_sum_exp(all_logits[:, others]) if len(others) else -np.inf
    return logits


def _weights(cases: Cases, held: int) -> Floats:
    """Each label counts the same, however many cases it has; the anchors together at least as much as all labels."""
    labels, positions, counts = np.unique(cases.classes, return_inverse=True, return_counts=True)
    of_cases = LABEL_WEIGHT / counts[positions]
    of_anchors = np.full(held, max(1.0, ANCHORS_PER_LABEL * len(labels)) / held)
    return np.concatenate([of_cases, of_anchors]).astype(np.float32)
