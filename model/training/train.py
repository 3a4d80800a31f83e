"""What a version is trained on, and how: one function for improving, for cross-validation and for every later check.

Arrays in, a last layer out; the same arrays give the same layer.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from inference.arrays import Classes, Doubles, Flags, Floats
from onnx_tools.head import Head
from training.fitting import CHUNK, NEVER, Cases, fit, log_sum_exp
from training.progress import Progress, silent

SEED = 1
FOLDS = 5
# An unreported image that the first fit takes for one of the reported classes perhaps shows what no one has reported
# yet: it is no evidence against the class. Where the old model was sure of something else, a doubt is not enough.
DISPUTED, SURE, TAKEN = 0.05, 0.9, 0.5
# Generated features: how many, and how sure the old head is of each. From 0.5 to 0.95, new classes miss their own.
PSEUDO, PSEUDO_SURE = 500, (0.99, 0.999)
# So many more, of the classes that the old head puts first in reported images.
LIKELY, LIKELY_CLASSES = 300, 3
MAX_MOVES = 8
MAX_LOGITS = 2**20  # at a time: more would not stay in the cache of the processor


@dataclass(frozen=True)
class TrainingSet:
    """What a version is trained on besides the cases: the layer to start from, and what its answers must stay on."""

    base: Head
    known: Floats  # features of the bank and of synthetic images, which show none of the cases' new classes
    traffic: Floats  # of unreported and ordinary images, which may show them; may be empty


class Trained(NamedTuple):
    """A last layer, and how many unreported and ordinary images are in the rehearsal set that it was held to."""

    head: Head
    rehearsed: int


def train(cases: Cases, training_set: TrainingSet, progress: Progress = silent) -> Trained:
    """Return the base with the rows of the cases' classes fitted; traffic that may show these classes is left out."""
    *_, trained = progress("fitting", 1 + bool(len(training_set.traffic)), _fits(cases, training_set))
    return trained


def _fits(cases: Cases, training_set: TrainingSet) -> Iterator[Trained]:
    base, known = training_set.base, training_set.known
    pseudo = pseudo_features(base, known, cases.features, PSEUDO)
    head = fit(base, cases, known, pseudo)
    yield Trained(head, 0)
    if len(training_set.traffic):
        kept = training_set.traffic[undisputed(head, cases.classes, training_set)]
        yield Trained(fit(base, cases, np.concatenate([known, kept]), pseudo), len(kept))


class HeldOut(NamedTuple):
    """The probabilities for images by versions that were neither trained on them nor held to them."""

    cases: Floats  # a row for each image
    rehearsal: Floats  # a row for each known image, then for each of the traffic
    shares: Doubles  # of the images of its class, which each image's version was trained on


def cross_validate(cases: Cases, training_set: TrainingSet, progress: Progress = silent) -> HeldOut:
    """Return the probabilities for all images of the cases and of the training set, each by a version without it.

    The images of the cases are cut into FOLDS that have equal shares of each label, the others into as many at random;
    classes that no other image shows have the probability 0.
    """
    originals = cases.originals
    features = originals.features, np.concatenate([training_set.known, training_set.traffic])
    folds = stratified_folds(originals.classes), random_folds(len(features[1]))
    width = max(int(cases.classes.max()) + 1, len(training_set.base.weights))
    logits = [np.full((len(each), width), -np.inf, np.float32) for each in features]

    def fitted() -> Iterator[Head]:
        for fold in range(FOLDS):
            yield _without(cases, originals.images[folds[0] == fold], held_to_others(training_set, folds[1] != fold))

    for fold, head in enumerate(progress("cross-validation", FOLDS, fitted())):
        for found, rows, of_fold in zip(logits, features, folds, strict=True):
            found[np.ix_(of_fold == fold, np.arange(len(head.weights)))] = head.logits(rows[of_fold == fold])
    return HeldOut(softmax(logits[0]), softmax(logits[1]), _shares(originals.classes, folds[0]))


def _shares(classes: Classes, folds: Classes) -> Doubles:
    counts = np.zeros((int(classes.max()) + 1, FOLDS))
    np.add.at(counts, (classes, folds), 1)
    shares: Doubles = 1 - counts[classes, folds] / counts[classes].sum(axis=1)
    return shares


def random_folds(count: int) -> Classes:
    """Return the fold of each of so many images."""
    folds: Classes = np.random.default_rng(SEED).permutation(count) % FOLDS
    return folds


def held_to_others(training_set: TrainingSet, others: Flags) -> TrainingSet:
    """Return the training set with these of its known and traffic images alone."""
    known, traffic = np.split(others, [len(training_set.known)])
    return replace(training_set, known=training_set.known[known], traffic=training_set.traffic[traffic])


def _without(cases: Cases, images: Classes, training_set: TrainingSet) -> Head:
    others = cases.only(~np.isin(cases.images, images))
    return train(others, training_set).head if len(others.classes) else training_set.base


def stratified_folds(classes: Classes) -> Classes:
    """Return the fold of each image: at random, the images of each class spread evenly over the FOLDS."""
    draw = np.random.default_rng(SEED)
    shuffled = draw.permutation(len(classes))
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    folds = np.empty(len(classes), np.intp)
    # One class after the other is dealt out, each from where the one before ended, so that folds are of one size.
    folds[by_class] = np.arange(len(classes)) % min(FOLDS, max(2, len(classes)))
    return folds


def softmax(logits: Floats) -> Floats:
    """Return the probabilities of each row."""
    result: Floats = np.exp(logits - log_sum_exp(logits)[..., None])
    return result


def undisputed(head: Head, classes: Classes, training_set: TrainingSet) -> Flags:
    """Return which rows of the traffic do not show one of these classes according to a first fit."""
    before = softmax(training_set.base.logits(training_set.traffic))
    after = softmax(head.logits(training_set.traffic))
    moved = np.unique(classes)
    known = moved[moved < before.shape[1]]
    gained = after[:, moved].sum(axis=1) - before[:, known].sum(axis=1)
    result: Flags = gained < np.where(before.max(axis=1) >= SURE, TAKEN, DISPUTED)
    return result


def pseudo_features(head: Head, rehearsal: Floats, reported: Floats, count: int) -> Floats:
    """Return generated features, each of another class as far as there are others (pseudo-rehearsal, Robins 1995).

    Each starts between an image of the rehearsal set and a reported one, and is moved along a class's own row of
    weights until the old head is sure of that class. That it stays sure keeps the moving rows off old classes of which
    no image is stored. LIKELY more are of the classes that reported images were taken for, which new classes would
    swallow first.
    """
    draw = np.random.default_rng(SEED)
    order = np.concatenate([draw.permutation(len(head.weights)) for _ in range(-(-count // len(head.weights)))])
    classes = np.concatenate([order[:count], draw.choice(_likely(head, reported), LIKELY)])
    between = draw.random((len(classes), 1), np.float32)
    starts = between * rehearsal[draw.integers(0, len(rehearsal), len(classes))]
    starts += (1 - between) * reported[draw.integers(0, len(reported), len(classes))]
    lowest = min(rehearsal.min(), reported.min())
    return _moved(head, starts, classes, draw.uniform(*PSEUDO_SURE, len(classes)), lowest)


def _likely(head: Head, reported: Floats) -> Classes:
    """Return the classes that the head puts first in each reported image, a few at a time for want of memory."""
    parts = (head.logits(reported[at : at + CHUNK]) for at in range(0, len(reported), CHUNK))
    return np.concatenate([np.argsort(-part, axis=1)[:, :LIKELY_CLASSES].reshape(-1) for part in parts])


def _moved(head: Head, features: Floats, classes: Classes, sure: Doubles, lowest: np.float32) -> Floats:
    """Move features along the rows of the classes until their probability is `sure`, and none below `lowest`.

    After ReLU no feature is negative; after other functions some are, and no network gives any value below its lowest.
    """
    rows = head.weights - head.weights.mean(axis=0)
    directions = rows[classes] / (rows[classes] ** 2).sum(axis=1, keepdims=True)
    wanted, moved = np.log(sure / (1 - sure)), features.copy()
    together = max(1, MAX_LOGITS // len(head.weights))
    for at in range(0, len(features), together):
        rows = np.arange(at, min(at + together, len(features)))
        for _ in range(MAX_MOVES):
            missing = wanted[rows] - _lead(head.logits(moved[rows]), classes[rows])
            rows, missing = rows[missing > 0], missing[missing > 0]
            moved[rows] = np.maximum(lowest, moved[rows] + missing[:, None] * directions[rows])
    return moved


def _lead(logits: Floats, classes: Classes) -> Floats:
    """Return how far the logit of each row's class is above that of all others together; overwrite `logits`."""
    each = np.arange(len(logits))
    own = logits[each, classes]
    logits[each, classes] = NEVER
    lead: Floats = own - log_sum_exp(logits)
    return lead
