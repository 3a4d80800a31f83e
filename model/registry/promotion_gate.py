"""Whether one version may take the place of another: what stands against it, in words."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2

from evaluation import batch_prediction
from inference import image_store
from inference.model import Model
from training.synthetic_images import ordinary_pictures

# With fewer pictures of its own traffic, a service holds a version against pictures made by code.
LEAST_TRAFFIC = 20
PICTURES_MADE = 128


class Limits(NamedTuple):
    """What a version may lose at most, and how often it must agree at least, as shares."""

    most_loss: float
    least_agreement: float


class Evidence(NamedTuple):
    """What two versions are held against."""

    labelled: Sequence[tuple[Path, str]]
    uploads: Path
    traffic: Sequence[str]  # names of unreported pictures


def objections(
    serving: Model, candidate: Model, evidence: Evidence, limits: Limits, say: Callable[[str], None]
) -> list[str]:
    """What speaks against the candidate; empty: nothing."""
    found = []
    if evidence.labelled:
        was, now = (_right(judged, evidence.labelled) for judged in (serving, candidate))
        say(f"labelled pictures: {was} right before, {now} now, of {len(evidence.labelled)}")
        if now < was - limits.most_loss * len(evidence.labelled):
            found.append(f"it names {now} of {len(evidence.labelled)} labelled pictures right, where {was} were")
    agreeing, count, what = _agreement(serving, candidate, evidence)
    say(f"{what}: {agreeing} of {count} named as before")
    if agreeing < limits.least_agreement * count:
        found.append(f"it names {agreeing} of {count} {what} as before; {limits.least_agreement:.0%} are asked for")
    return found


def _right(judged: Model, pictures: Sequence[tuple[Path, str]]) -> int:
    found = batch_prediction.answers(judged, (path.read_bytes() for path, _ in pictures))
    return sum(answer is not None and answer[0][0] == label for answer, (_, label) in zip(found, pictures, strict=True))


def _agreement(serving: Model, candidate: Model, evidence: Evidence) -> tuple[int, int, str]:
    if len(evidence.traffic) >= LEAST_TRAFFIC:
        what = "unreported pictures"
        was, now = (_firsts(judged, _stored(evidence)) for judged in (serving, candidate))
    else:
        what = "pictures made by code"
        was, now = (_firsts(judged, _made(judged)) for judged in (serving, candidate))
    pairs = [pair for pair in zip(was, now, strict=True) if None not in pair]
    return sum(one == other for one, other in pairs), len(pairs), what


def _firsts(judged: Model, contents: Iterable[bytes | None]) -> list[str | None]:
    return [None if answer is None else answer[0][0] for answer in batch_prediction.answers(judged, contents)]


def _stored(evidence: Evidence) -> Iterator[bytes | None]:
    return (image_store.read_same(evidence.uploads, name) for name in evidence.traffic)


def _made(judged: Model) -> Iterator[bytes]:
    for pixels in ordinary_pictures(PICTURES_MADE, *judged.bundle.preprocessing.size):
        _, encoded = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        yield encoded.tobytes()
