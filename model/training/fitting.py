"""Fits the last layer again on reviewed cases, close to the old one. Arrays in, a last layer out.

Only the rows of the reported labels move, whether these are old or new; every other class keeps its weights to the last
bit. What holds the moving rows back is the rehearsal set: features for which the old layer's answers must stay.
Results hardly change within a factor of three of each constant (docs/decisions/0009-last-layer.md).
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from inference.arrays import Classes, Doubles, Flags, Floats
from onnx_tools.head import Head

STIFFNESS = 0.1  # against moving a row, where features vary by one
LABEL_WEIGHT = 0.4  # of all cases of one label, against one of the whole rehearsal set
REHEARSAL_PER_LABEL = 0.2
CHUNK = 1024

REHEARSAL_SHARE = 10 / 11  # of the covariance; the rest is the cases' own
VARIANCE_FLOOR = 0.1  # of the mean variance, added to every direction

MAX_STEPS, TOLERANCE = 300, 1e-7
REMEMBERED_STEPS = 10
SUFFICIENT_DECREASE = 1e-4
SHORTEST_STEP = 1e-10

Function = Callable[[Doubles], tuple[float, Doubles]]  # a point to the value and the gradient there


@dataclass(frozen=True)
class Cases:
    """Features of reviewed images, several augmentations of each, and the class that each must get."""

    features: Floats
    classes: Classes
    images: Classes  # the image that each row is an augmentation of; its first row is the image itself

    def only(self, rows: Flags) -> "Cases":
        """Return the cases of these rows."""
        return Cases(self.features[rows], self.classes[rows], self.images[rows])


def fit(old: Head, cases: Cases, rehearsal: Floats, pseudo: Floats) -> Head:
    """Return the old head with the rows of the cases' classes moved, and rows for classes beyond it.

    `rehearsal` are features of images, `pseudo` are generated ones; the scale of features is measured without these.
    """
    moving = np.unique(cases.classes)
    head = old.extended(max(0, int(moving[-1]) + 1 - len(old.weights)))
    measure = whitening(cases, rehearsal)
    task = _task(old, head, cases, np.concatenate([rehearsal, pseudo]), measure)
    shifts = minimise(task.loss, np.zeros(task.stiffness.size)).reshape(len(moving), -1)
    weights, biases = head.weights.copy(), head.biases.copy()
    weights[moving] += measure.rows(shifts[:, :-1])
    biases[moving] += (shifts[:, -1] - measure.centre @ measure.rows(shifts[:, :-1]).T).astype(np.float32)
    return replace(head, weights=weights, biases=biases)


@dataclass(frozen=True)
class _Task:
    """Cross-entropy over the moving classes and one more, all the others, whose logit is fixed."""

    features: Floats  # white, with a column of ones for the bias
    logits: Floats  # before anything has moved; all the others in the last column
    targets: Floats
    weights: Floats
    stiffness: Doubles  # of each weight and the bias of each moving row

    def loss(self, flat: Doubles) -> tuple[float, Doubles]:
        """Return the value and its gradient at these shifts of the rows."""
        shifts = flat.reshape(self.stiffness.shape)
        logits = self.logits.copy()
        logits[:, :-1] += self.features @ shifts.T.astype(np.float32)
        total = log_sum_exp(logits)
        value = float(self.weights @ (total - (logits * self.targets).sum(axis=1)))
        errors = (np.exp(logits - total[:, None]) - self.targets)[:, :-1] * self.weights[:, None]
        resistance = self.stiffness * shifts
        gradient = errors.T @ self.features + resistance
        return value + float((resistance * shifts).sum()) / 2, gradient.astype(np.float64).reshape(-1)


def _task(old: Head, head: Head, cases: Cases, rehearsal: Floats, measure: "Whitening") -> _Task:
    moving = np.unique(cases.classes)
    features = np.concatenate([cases.features, rehearsal])
    logits = _collapsed(head, features, moving, len(old.weights))
    count = len(cases.features)
    targets = np.zeros_like(logits)
    targets[np.arange(count), np.searchsorted(moving, cases.classes)] = 1
    # The old answers to the rehearsal set, in which new classes had no share.
    answers = logits[count:].copy()
    answers[:, :-1][:, moving >= len(old.weights)] = -np.inf
    targets[count:] = np.exp(answers - log_sum_exp(answers)[:, None])
    white = measure.apply(features)
    stiffness = np.full((len(moving), white.shape[1] + 1), STIFFNESS)
    stiffness[moving >= len(old.weights), -1] = 0  # nothing is known of a new class's bias
    ones = np.ones((len(white), 1), np.float32)
    return _Task(np.concatenate([white, ones], axis=1), logits, targets, _weights(cases, len(rehearsal)), stiffness)


def _collapsed(head: Head, features: Floats, moving: Classes, old_count: int) -> Floats:
    """Return the logits of the moving classes, and in the last column one that stands for all the others."""
    logits = np.empty((len(features), len(moving) + 1), np.float32)
    others = np.setdiff1d(np.arange(old_count), moving)
    for at in range(0, len(features), CHUNK):
        part = slice(at, at + CHUNK)
        all_logits = head.logits(features[part])
        logits[part, :-1] = all_logits[:, moving]
        logits[part, -1] = log_sum_exp(all_logits[:, others]) if len(others) else -np.inf
    return logits


def _weights(cases: Cases, rehearsed: int) -> Floats:
    """Weigh each label the same, whatever its cases; the whole rehearsal set at least as much as all labels."""
    labels, positions, counts = np.unique(cases.classes, return_inverse=True, return_counts=True)
    of_cases = LABEL_WEIGHT / counts[positions]
    of_rehearsal = np.full(rehearsed, max(1.0, REHEARSAL_PER_LABEL * len(labels)) / rehearsed)
    return np.concatenate([of_cases, of_rehearsal]).astype(np.float32)


@dataclass(frozen=True)
class Whitening:
    """A linear map to features that vary alike in every direction: white = (features - centre) @ matrix.

    Moving a row of weights where features hardly vary changes nothing that was seen; in white features it has its cost.
    """

    centre: Doubles
    matrix: Doubles

    def apply(self, features: Floats) -> Floats:
        """Return the white features."""
        white: Floats = ((features - self.centre) @ self.matrix).astype(np.float32)
        return white

    def rows(self, white_rows: Doubles) -> Doubles:
        """Return the rows of weights over plain features that do what these do over white ones."""
        return white_rows @ self.matrix.T


def whitening(cases: Cases, rehearsal: Floats) -> Whitening:
    """Return the map for how features vary in the rehearsal set and, within each class, in the cases."""
    centre = rehearsal.mean(axis=0, dtype=np.float64)
    within = cases.features.astype(np.float64)
    for label in np.unique(cases.classes):
        rows = cases.classes == label
        within[rows] -= within[rows].mean(axis=0)
    covariance = REHEARSAL_SHARE * _covariance(rehearsal - centre) + (1 - REHEARSAL_SHARE) * _covariance(within)
    variances, directions = np.linalg.eigh(covariance)
    floor = VARIANCE_FLOOR * variances.mean()
    return Whitening(centre, directions / np.sqrt(np.maximum(variances, 0) + floor))


def _covariance(deviations: Doubles) -> Doubles:
    covariance: Doubles = deviations.T @ deviations / len(deviations)
    return covariance


def log_sum_exp(logits: Floats) -> Floats:
    """Return the logarithm of the sum of the exponentials of each row, without overflow."""
    highest = logits.max(axis=-1, keepdims=True)
    result: Floats = (highest + np.log(np.exp(logits - highest).sum(axis=-1, keepdims=True)))[..., 0]
    return result


def minimise(function: Function, start: Doubles) -> Doubles:
    """Return the lowest point of a smooth convex function, by L-BFGS (Nocedal 1980).

    It ends when a step lowers the value by less than TOLERANCE of it. SciPy has the same, but is not in the image.
    """
    point = start
    value, gradient = function(point)
    steps: deque[tuple[Doubles, Doubles]] = deque(maxlen=REMEMBERED_STEPS)
    for _ in range(MAX_STEPS):
        direction = -_scaled(gradient, steps)
        next_point, next_value, next_gradient = _line_search(function, point, direction, (value, gradient))
        moved, turned = next_point - point, next_gradient - gradient
        gain = value - next_value
        point, value, gradient = next_point, next_value, next_gradient
        if gain <= TOLERANCE * max(1.0, abs(value)):
            break
        if moved @ turned > 0:
            steps.append((moved, turned))
    return point


def _scaled(gradient: Doubles, steps: deque[tuple[Doubles, Doubles]]) -> Doubles:
    """Return the gradient times the inverse curvature that the last steps have shown (the two-loop recursion)."""
    if not steps:
        shortened: Doubles = gradient / max(1.0, float(np.linalg.norm(gradient)))
        return shortened
    result, shares = gradient.copy(), []
    for moved, turned in reversed(steps):
        share = (moved @ result) / (turned @ moved)
        shares.append(share)
        result -= share * turned
    moved, turned = steps[-1]
    result *= (moved @ turned) / (turned @ turned)
    for (moved, turned), share in zip(steps, reversed(shares), strict=True):
        result += moved * (share - (turned @ result) / (turned @ moved))
    return result


def _line_search(
    function: Function, point: Doubles, direction: Doubles, here: tuple[float, Doubles]
) -> tuple[Doubles, float, Doubles]:
    """Halve the step until it lowers the value enough."""
    value, gradient = here
    slope, length = float(gradient @ direction), 1.0
    while True:
        next_point = point + length * direction
        next_value, next_gradient = function(next_point)
        if next_value <= value + SUFFICIENT_DECREASE * length * slope:
            return next_point, next_value, next_gradient
        length /= 2
        if length < SHORTEST_STEP:
            return point, value, gradient
