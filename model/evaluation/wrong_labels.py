"""Reviewed images whose label may be wrong: a version that was trained without them is sure of another reported one."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from inference.arrays import Classes, Floats
from registry.versions import Case

DOUBTFUL = 0.5  # the score of another reported class that makes a label doubtful
LISTED = 10


class WrongLabel(NamedTuple):
    """A case that a version trained without it takes for another reported class."""

    image: str
    label: str
    answer: str
    score: float


def find(used: Sequence[Case], classes: Classes, labels: Sequence[str], held_out: Floats) -> list[WrongLabel]:
    """Return the doubtful ones of these cases, by their classes and the probabilities from cross-validation."""
    own, answers = ([labels[number] for number in numbers] for numbers in (classes, held_out.argmax(axis=1)))
    reported = set(own)
    return [
        WrongLabel(case.image, label, answer, score)
        for case, label, answer, score in zip(used, own, answers, held_out.max(axis=1).tolist(), strict=True)
        if answer != label and answer in reported and score > DOUBTFUL
    ]


def lines(found: Sequence[WrongLabel], images: int) -> Iterator[str]:
    """Yield what is doubtful among so many images, for a person to look at."""
    if found:
        yield f"labels that may be wrong, {len(found)} of {images} reviewed images:"
    for each in found[:LISTED]:
        yield f"  {each.image}: {each.label}; a version trained without it predicts {each.answer} ({each.score:.0%})"
