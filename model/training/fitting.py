"""Fits the last layer again on reviewed cases, close to the old one. Arrays in, a last layer out.

Only the rows of the reported labels move, whether these are old or new; every other class keeps its weights to the last
bit. What holds the moving rows back is the rehearsal set: features for which the old layer's answers must stay. Where
the constants come from: docs/decisions/0009-last-layer.md.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.arrays import Classes, Doubles, Flags, Floats
from onnx_tools.head import Head

STIFFNESS = 0.3  # against moving a row, where features vary by one
LABEL_WEIGHT = 0.1  # of all cases of one label, against one of the whole rehearsal set
REHEARSAL_PER_LABEL = 0.2
# Few images make a short row: a new class of n images gets so many nats / n more, and none from ENOUGH images on.
SHORTAGE, ENOUGH = 1.5, 10
CHUNK = 1024
BLOCK = 128  # the side of a matrix that is inverted in one piece
NEVER = -1e4  # the bias of a class that is never answered; any engine can represent it

REHEARSAL_SHARE = 10 / 11  # of the covariance; the rest is the cases' own
VARIANCE_FLOOR = 0.1  # of the mean variance, added to every direction

MAX_STEPS, TOLERANCE = 300, 1e-7
REMEMBERED_STEPS = 10
SUFFICIENT_DECREASE = 1e-4
SHORTEST_STEP = 1e-10

Numbers = npt.NDArray[np.floating[Any]]
Function = Callable[[Doubles], tuple[float, Doubles]]  # a point to the value and the gradient there


@dataclass(frozen=True)
class Cases:
    """Features of reviewed images, several augmentations of each, and the class that each must get."""

    features: Floats
    classes: Classes
    images: Classes  # the image that each row is an augmentation of; its first row is the image itself

    @property
    def originals(self) -> "Cases":
        """Return the images themselves, one row each."""
        rows = np.unique(self.images, return_index=True)[1]
        return Cases(self.features[rows], self.classes[rows], self.images[rows])

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
    task = _task(old, head, cases, (rehearsal, pseudo), measure)
    shifts = minimise(task.loss, np.zeros(task.stiffness.size)).reshape(len(moving), -1)
    weights, biases = head.weights.copy(), head.biases.copy()
    weights[moving] += measure.rows(shifts[:, :-1])
    biases[moving] += (shifts[:, -1] - measure.centre @ measure.rows(shifts[:, :-1]).T).astype(np.float32)
    # Of classes that have a number and no case here.
    biases[np.setdiff1d(np.arange(len(old.weights), len(biases)), moving)] = NEVER
    for label in moving[moving >= len(old.weights)]:
        images = len(np.unique(cases.images[cases.classes == label]))
        biases[label] += SHORTAGE * max(0.0, 1 / images - 1 / ENOUGH)
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


def _task(old: Head, head: Head, cases: Cases, rehearsal: Sequence[Floats], measure: "Whitening") -> _Task:
    moving, count = np.unique(cases.classes), len(cases.features)
    total = count + sum(map(len, rehearsal))
    white = np.ones((total, head.weights.shape[1] + 1), np.float32)
    logits = np.empty((total, len(moving) + 1), np.float32)
    at = 0
    for part in _chunks([cases.features, *rehearsal]):
        rows = slice(at, at := at + len(part))
        white[rows, :-1] = measure.apply(part)
        logits[rows] = _collapsed(head.logits(part), moving, len(old.weights))
    targets = np.zeros_like(logits)
    targets[np.arange(count), np.searchsorted(moving, cases.classes)] = 1
    # The old answers to the rehearsal set, in which new classes had no share.
    answers = logits[count:].copy()
    answers[:, :-1][:, moving >= len(old.weights)] = NEVER
    targets[count:] = np.exp(answers - log_sum_exp(answers)[:, None])
    stiffness = np.full((len(moving), white.shape[1]), STIFFNESS)
    stiffness[moving >= len(old.weights), -1] = 0  # nothing is known of a new class's bias
    return _Task(white, logits, targets, _weights(cases, total - count), stiffness)


def _chunks(parts: Iterable[Floats]) -> Iterator[Floats]:
    return (part[at : at + CHUNK] for part in parts for at in range(0, len(part), CHUNK))


def _collapsed(logits: Floats, moving: Classes, old_count: int) -> Floats:
    """Return the logits of the moving classes, and in the last column one for all the others; overwrite `logits`."""
    chosen = logits[:, moving]
    known = moving[moving < old_count]
    others = logits[:, :old_count]
    others[:, known] = -np.inf
    last = log_sum_exp(others) if len(known) < old_count else np.full(len(logits), NEVER, np.float32)
    return np.concatenate([chosen, last[:, None]], axis=1)


def _weights(cases: Cases, rehearsed: int) -> Floats:
    """Weigh each label the same, for any number of cases; the whole rehearsal set at least as much as all labels."""
    labels, positions, counts = np.unique(cases.classes, return_inverse=True, return_counts=True)
    of_cases = LABEL_WEIGHT / counts[positions]
    of_rehearsal = np.full(rehearsed, max(1.0, REHEARSAL_PER_LABEL * len(labels)) / rehearsed)
    return np.concatenate([of_cases, of_rehearsal]).astype(np.float32)


@dataclass(frozen=True)
class Whitening:
    """A linear map to features with the same variance in every direction: white = (features - centre) @ matrix.

    Moving a row of weights where features hardly vary changes nothing that was seen; in white features it has its cost.
    """

    centre: Floats
    matrix: Floats

    def apply(self, features: Floats) -> Floats:
        """Return the white features."""
        return np.asarray((features - self.centre) @ self.matrix, np.float32)

    def rows(self, white_rows: Doubles) -> Doubles:
        """Return the rows of weights over plain features that do what these do over white ones."""
        return white_rows @ self.matrix.T


def whitening(cases: Cases, rehearsal: Floats) -> Whitening:
    """Return the map for how features vary in the rehearsal set and, within each class, in the cases."""
    centre = rehearsal.mean(axis=0, dtype=np.float64).astype(np.float32)
    covariance = REHEARSAL_SHARE * _covariance(rehearsal, centre[None], np.zeros(len(rehearsal), np.intp))
    labels, positions = np.unique(cases.classes, return_inverse=True)
    means = np.stack([cases.features[cases.classes == label].mean(axis=0) for label in labels])
    covariance += (1 - REHEARSAL_SHARE) * _covariance(cases.features, means, positions)
    covariance += VARIANCE_FLOOR * covariance.trace() / len(covariance) * np.eye(len(covariance))
    # Any root of the inverse gives the same optimum; this one costs a thirtieth of that of the eigenvectors.
    return Whitening(centre, inverse_of_triangle(np.linalg.cholesky(covariance)).T.astype(np.float32))


def inverse_of_triangle(lower: Numbers) -> Numbers:
    """Return the inverse of a lower triangular matrix, by halves; NumPy's own treats its zeros as numbers."""
    if len(lower) <= BLOCK:
        return np.linalg.inv(lower)
    at = len(lower) // 2
    first, last = inverse_of_triangle(lower[:at, :at]), inverse_of_triangle(lower[at:, at:])
    inverse = np.zeros_like(lower)
    inverse[:at, :at], inverse[at:, at:] = first, last
    inverse[at:, :at] = -last @ (lower[at:, :at] @ first)
    return inverse


def _covariance(features: Floats, centres: Floats, positions: Classes) -> Doubles:
    """Return the mean outer product of the deviations from the centre at each row's position."""
    total = np.zeros((features.shape[1],) * 2)
    for at in range(0, len(features), CHUNK):
        part = slice(at, at + CHUNK)
        deviations = features[part] - centres[positions[part]]
        total += deviations.T @ deviations
    mean: Doubles = total / len(features)
    return mean


def log_sum_exp(logits: Floats) -> Floats:
    """Return the logarithm of the sum of the exponentials of each row, without overflow."""
    highest = logits.max(axis=-1, keepdims=True)
    shares = logits - highest
    np.exp(shares, out=shares)  # a second array of this size would take longer than the exponentials
    result: Floats = (highest + np.log(shares.sum(axis=-1, keepdims=True)))[..., 0]
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
