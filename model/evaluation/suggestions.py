"""Selection of images to review, with reasons: by the answers of versions, and by properties of the images.

Features are compared by the cosine of their deviations from the mean of the training images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from inference.arrays import Floats
from wire.orders.suggestions import DISPUTED, NEAR, UNLIKE, UNSURE
from wire.tables.labels import key

# Below this score the page labels the answer as uncertain.
MAX_UNSURE = 0.5
# An image is unlike all others where it is further from them than 99 in 100 of these are from one another.
UNLIKE_QUANTILE = 0.01
MIN_KNOWN, MIN_CASES = 50, 3
MAX_FURTHEST, DIGITS = 12, 4
SHORTEST = np.float32(1e-12)


class Look(NamedTuple):
    """An image by its SHA-256 and name, what the active version answers, and the class of the candidate, if any.

    `features` is a row of the active version's features, None where the model has none.
    """

    image: str
    filename: str
    prediction: str
    score: float
    candidate: str
    features: Floats | None


@dataclass(frozen=True)
class Known:
    """The features of images in training: a row for each, and the label of those that are cases, else ""."""

    features: Floats
    labels: Sequence[str]


class Found(NamedTuple):
    """An image to review, with the reasons as wire.orders.suggestions has them."""

    look: Look
    reasons: Mapping[str, str]


class Distances(NamedTuple):
    """How far images are from the nearest one in training, as 1 - cosine; for comparison, those in training.

    `quantiles` and `in_training` are the median and the 95th percentile; `furthest` are the names of images and their
    distances, the furthest first.
    """

    images: int
    quantiles: tuple[float, float]
    in_training: tuple[float, float]
    furthest: list[tuple[str, float]]


def distances(looks: Sequence[Look], known: Known | None) -> Distances | None:
    """Return how far images are from training; None without features, or with too few images to compare with."""
    found = [(look.filename, row) for look in looks if (row := look.features) is not None]
    if known is None or not found or len(known.features) < MIN_KNOWN:
        return None
    likeness, among = _likeness(np.stack([row for _, row in found]), known)
    own, usual = 1 - likeness.max(axis=1), 1 - among.max(axis=1)
    order = np.argsort(-own)[:MAX_FURTHEST]
    furthest = [(found[at][0], round(float(own[at]), DIGITS)) for at in order]
    return Distances(len(found), _quantiles(own), _quantiles(usual), furthest)


def _quantiles(values: Floats) -> tuple[float, float]:
    median, high = np.quantile(values, (0.5, 0.95))
    return round(float(median), DIGITS), round(float(high), DIGITS)


def choose(looks: Sequence[Look], known: Known | None) -> list[Found]:
    """Return the images to review: the first of each reason first."""
    strengths = [_by_answers(look) for look in looks]
    with_features = [at for at, look in enumerate(looks) if look.features is not None]
    if known is not None and with_features:
        rows = np.stack([row for look in looks if (row := look.features) is not None])
        found = _by_features(rows, [looks[at].prediction for at in with_features], known)
        for at, more in zip(with_features, found, strict=True):
            strengths[at] |= more
    places = _places(strengths)
    chosen = sorted(places, key=lambda at: (places[at], -len(strengths[at]), looks[at].image))
    return [Found(looks[at], {name: text for name, (_, text) in strengths[at].items()}) for at in chosen]


# How strongly each reason holds, and its description.
_Strengths = dict[str, tuple[float, str]]


def _by_answers(look: Look) -> _Strengths:
    found: _Strengths = {}
    if look.score < MAX_UNSURE:
        found[UNSURE] = (1 - look.score, "")
    if look.candidate and key(look.candidate) != key(look.prediction):
        found[DISPUTED] = (look.score, look.candidate)
    return found


def _by_features(rows: Floats, predictions: Sequence[str], known: Known) -> list[_Strengths]:
    likeness, among = _likeness(rows, known)
    found: list[_Strengths] = [{} for _ in predictions]
    if len(known.features) >= MIN_KNOWN:
        limit = np.quantile(among.max(axis=1), UNLIKE_QUANTILE)
        for strengths, nearest in zip(found, likeness.max(axis=1), strict=True):
            if nearest < limit:
                strengths[UNLIKE] = (float(limit - nearest), "")
    limits = _limits(among, known.labels)
    for strengths, row, prediction in zip(found, likeness, predictions, strict=True):
        label = known.labels[int(row.argmax())]
        if label in limits and row.max() >= limits[label] and key(label) != key(prediction):
            strengths[NEAR] = (float(row.max()), label)
    return found


def _likeness(rows: Floats, known: Known) -> tuple[Floats, Floats]:
    """Return how like each row is to each image in training, and how like these are to one another."""
    mean = known.features.mean(axis=0)
    others = _directions(known.features - mean)
    among = others @ others.T
    np.fill_diagonal(among, -np.inf)
    return _directions(rows - mean) @ others.T, among


def _limits(among: Floats, labels: Sequence[str]) -> dict[str, float]:
    """Return how like its cases an image has to be to be near a class: as half of them are like another one of them."""
    found, names = {}, np.array(labels)
    for label in sorted(set(labels) - {""}):
        places = np.flatnonzero(names == label)
        if len(places) >= MIN_CASES:
            found[label] = float(np.median(among[np.ix_(places, places)].max(axis=1)))
    return found


def _directions(rows: Floats) -> Floats:
    directions: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), SHORTEST)
    return directions


def _places(strengths: Sequence[_Strengths]) -> dict[int, int]:
    """Return the place of each image that has a reason: the best that it has among those with the same reason."""
    places: dict[int, int] = {}
    for reason in (DISPUTED, NEAR, UNLIKE, UNSURE):
        having = [at for at, each in enumerate(strengths) if reason in each]
        for place, at in enumerate(sorted(having, key=lambda at: -strengths[at][reason][0])):
            places[at] = min(place, places.get(at, place))
    return places
