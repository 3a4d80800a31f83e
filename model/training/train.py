"""What a version is trained on, and how: one function for improving, for cross-validation and for every later check.

Arrays in, a last layer out; the same arrays give the same layer.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from inference.arrays import Classes, Doubles, Flags, Floats
from onnx_tools.head import Head
from training.fitting import Cases, fit, log_sum_exp

SEED = 1
FOLDS = 5
# An unreported image that the first fit takes for one of the reported classes perhaps shows what nobody has reported
# yet: it says nothing against the class, unless the old model was sure of something else.
DISPUTED, SURE = 0.02, 0.9
# Generated features: how many, and how sure the old head is of each. From 0.5 to 0.95, new classes miss their own.
PSEUDO, PSEUDO_SURE = 500, (0.99, 0.999)
# So many more, of the classes that the old head puts first in reported images.
LIKELY, LIKELY_CLASSES = 300, 3
MAX_MOVES = 8


@dataclass(frozen=True)
class TrainingSet:
    """What a version is trained on besides the cases: the layer to start from, and what its answers must stay on."""

    base: Head
    synthetic: Floats  # features of images made by code
    traffic: Floats  # of unreported images; may be empty


class Trained(NamedTuple):
    """A last layer, and how many unreported images are in the rehearsal set that it was held to."""

    head: Head
    rehearsed: int


def train(cases: Cases, training_set: TrainingSet) -> Trained:
    """Return the base with the rows of the cases' classes fitted; traffic that may show these classes is left out."""
    head = _fitted(training_set.base, cases, training_set.synthetic)
    if not len(training_set.traffic):
        return Trained(head, 0)
    kept = training_set.traffic[_undisputed(head, cases, training_set)]
    return Trained(_fitted(training_set.base, cases, np.concatenate([training_set.synthetic, kept])), len(kept))


def cross_validate(cases: Cases, training_set: TrainingSet) -> Floats:
    """Return the probabilities for each image of the cases, by a version that was trained without it.

    The images are cut into FOLDS; classes that no other image shows have the probability 0.
    """
    images, first_rows = np.unique(cases.images, return_index=True)
    features, count = cases.features[first_rows], len(images)
    folds = np.random.default_rng(SEED).permutation(count) % min(FOLDS, max(2, count))
    base_count = len(training_set.base.weights)
    logits = np.full((count, max(int(cases.classes.max()) + 1, base_count)), -np.inf, np.float32)
    for fold in np.unique(folds):
        rows = folds == fold
        others = cases.only(~np.isin(cases.images, images[rows]))
        head = train(others, training_set).head if len(others.classes) else training_set.base
        logits[np.ix_(rows, np.arange(len(head.weights)))] = head.logits(features[rows])
    return softmax(logits)


def softmax(logits: Floats) -> Floats:
    """Return the probabilities of each row."""
    result: Floats = np.exp(logits - log_sum_exp(logits)[..., None])
    return result


def _fitted(base: Head, cases: Cases, rehearsal: Floats) -> Head:
    return fit(base, cases, rehearsal, pseudo_features(base, rehearsal, cases.features, PSEUDO))


def _undisputed(head: Head, cases: Cases, training_set: TrainingSet) -> Flags:
    before = softmax(training_set.base.logits(training_set.traffic))
    after = softmax(head.logits(training_set.traffic))
    moved = np.unique(cases.classes)
    known = moved[moved < before.shape[1]]
    gained = after[:, moved].sum(axis=1) - before[:, known].sum(axis=1)
    undisputed: Flags = (gained < DISPUTED) | (before.max(axis=1) >= SURE)
    return undisputed


def pseudo_features(head: Head, rehearsal: Floats, reported: Floats, count: int) -> Floats:
    """Return generated features, each of another class as far as there are others (pseudo-rehearsal, Robins 1995).

    Each starts between an image of the rehearsal set and a reported one, and is moved along a class's own row of
    weights until the old head is sure of that class. That it stays sure keeps the moving rows off old classes of which
    no image is stored. LIKELY more are of the classes that reported images were taken for, which new classes would
    swallow first.
    """
    draw = np.random.default_rng(SEED)
    order = np.concatenate([draw.permutation(len(head.weights)) for _ in range(-(-count // len(head.weights)))])
    likely = np.argsort(-head.logits(reported), axis=1)[:, :LIKELY_CLASSES].reshape(-1)
    classes = np.concatenate([order[:count], draw.choice(likely, LIKELY)])
    between = draw.random((len(classes), 1))
    starts = between * rehearsal[draw.integers(0, len(rehearsal), len(classes))]
    starts += (1 - between) * reported[draw.integers(0, len(reported), len(classes))]
    return _moved(head, starts.astype(np.float32), classes, draw.uniform(*PSEUDO_SURE, len(classes)))


def _moved(head: Head, features: Floats, classes: Classes, sure: Doubles) -> Floats:
    """Move features along the rows of the classes until their probability is `sure`; pooled features are positive."""
    rows = head.weights - head.weights.mean(axis=0)
    directions = rows[classes] / (rows[classes] ** 2).sum(axis=1, keepdims=True)
    wanted, each = np.log(sure / (1 - sure)), np.arange(len(features))
    for _ in range(MAX_MOVES):
        logits = head.logits(features)
        own = logits[each, classes]
        logits[each, classes] = -np.inf
        missing = np.maximum(0, wanted - (own - log_sum_exp(logits)))
        features = np.maximum(0, features + missing[:, None] * directions).astype(np.float32)
    return features
