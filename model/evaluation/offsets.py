"""How many images of new classes are found, and how many old answers stay, over an offset of these classes' logits."""

from typing import NamedTuple

import numpy as np

from inference.arrays import Floats
from training.fitting import Cases
from training.train import HeldOut, TrainingSet

OFFSETS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
LOWEST = np.float32(1e-30)


class Point(NamedTuple):
    """The shares of new classes' images that get their label, and of known images that keep their answers."""

    offset: float
    found: float
    kept: float


def curve(cases: Cases, training_set: TrainingSet, held_out: HeldOut) -> list[Point]:
    """Return a point for each offset, by cross-validation; none where no class is new."""
    base = training_set.base
    classes = cases.originals.classes
    is_new = classes >= len(base.weights)
    if not is_new.any():
        return []
    before = base.logits(training_set.known).argmax(axis=1)
    of_cases, known = _logs(held_out.cases[is_new]), _logs(held_out.rehearsal[: len(before)])
    new = np.arange(known.shape[1]) >= len(base.weights)
    return [
        Point(
            offset,
            float(((of_cases + offset * new).argmax(axis=1) == classes[is_new]).mean()),
            float(((known + offset * new).argmax(axis=1) == before).mean()),
        )
        for offset in OFFSETS
    ]


def notes(cases: Cases, training_set: TrainingSet, held_out: HeldOut) -> list[str]:
    """Return the curve as a sentence."""
    points = curve(cases, training_set, held_out)
    shown = "; ".join(f"{point.offset:+.0f}: {point.found:.0%}, {point.kept:.1%}" for point in points)
    what = (
        "Were the logits of the new classes higher by an offset, so many of their images would be found, and so many "
    )
    return [f"{what}answers to images that come with the model and synthetic ones kept: {shown}."] if points else []


def _logs(probabilities: Floats) -> Floats:
    logs: Floats = np.log(np.maximum(probabilities, LOWEST))
    return logs
