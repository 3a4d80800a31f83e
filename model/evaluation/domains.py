"""What the images of wrong answers have in common: rotation, darkness, no colours, lines on a plain ground."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress

import cv2
import numpy as np

from evaluation.comparison import Pair
from evaluation.statistics import wilson
from inference.arrays import Pixels
from inference.model import Model
from training.features import model_input

MAX_IMAGES = 60  # of wrong and of right answers each
MIN_ERRORS = 5
# At least such a share of the errors makes a domain; by a rotation, hardly any error becomes right that is not rotated.
MOST, MAX_ROTATED = 0.5, 0.3
# Brightness, spread of colours relative to that of brightness, changes between pixels: one photograph in twenty is
# below.
DARK, ONE_TONE, BLURRED = 60, 0.05, 4
# Lines on a ground: few colours, most pixels of about one brightness, and some of quite another one.
FEW_COLOURS, GROUND, GROUND_BINS, BIN, CONTRAST = 0.1, 0.55, 5, 8, 60
FLAT = 0.7  # pixels that are like their neighbour
ROTATIONS = {1: "90° counter-clockwise", 2: "180°", 3: "90° clockwise"}


def notes(version: Model, pairs: Sequence[Pair]) -> list[str]:
    """Return a sentence for each trait that most images share of which the first version's top-1 is not the label."""
    wrong = [pair for pair in pairs if pair.label and not pair.rights[0]]
    if len(wrong) < MIN_ERRORS:
        return []
    right = [pair for pair in pairs if pair.label and pair.rights[0]]
    errors = list(_read(version, wrong[:MAX_IMAGES]))
    others = [pixels for _, pixels in _read(version, right[:MAX_IMAGES])]
    return [*_rotated(version, errors), *_shared([pixels for _, pixels in errors], others)]


def _read(version: Model, pairs: Sequence[Pair]) -> Iterator[tuple[Pair, Pixels]]:
    for pair in pairs:
        with suppress(OSError):
            pixels = model_input(version.bundle.preprocessing, pair.read(pair.path))
            if pixels is not None:
                yield pair, pixels


def _rotated(version: Model, errors: Sequence[tuple[Pair, Pixels]]) -> Iterator[str]:
    mended = {
        name: sum(_top1(version, np.rot90(pixels, turns)) == pair.label for pair, pixels in errors)
        for turns, name in ROTATIONS.items()
    }
    name = max(mended, key=mended.__getitem__)
    if mended[name] >= max(MIN_ERRORS, MAX_ROTATED * len(errors)):
        yield f"{mended[name]} of {len(errors)} errors of A are right once turned by {name}: most show rotated images."


def _top1(version: Model, pixels: Pixels) -> str:
    height, width = version.bundle.preprocessing.size
    if pixels.shape[:2] != (height, width):
        return ""  # not square: a turned image is no input
    label, _ = version.top_k(version.predict(np.ascontiguousarray(pixels)[None])[0], 1)[0]
    return label


def _shared(errors: Sequence[Pixels], others: Sequence[Pixels]) -> Iterator[str]:
    traits, usual_traits = [_trait(pixels) for pixels in errors], [_trait(pixels) for pixels in others]
    for name in TRAITS:
        found, usual = traits.count(name), usual_traits.count(name)
        share = usual / len(others) if others else 0.0
        if found >= max(MIN_ERRORS, MOST * len(errors)) and wilson(found, len(errors)).low > share:
            yield f"{found} of {len(errors)} errors of A are of {name} images; of its right answers {share:.0%} are."


def _trait(pixels: Pixels) -> str:
    """Return the first trait that an image has, "" for none."""
    return next((name for name, is_so in TRAITS.items() if is_so(pixels)), "")


def _is_dark(pixels: Pixels) -> bool:
    return bool(pixels.mean() < DARK)


def _is_of_one_tone(pixels: Pixels) -> bool:
    return _colours(pixels) < ONE_TONE


def _is_drawn(pixels: Pixels) -> bool:
    light = pixels.mean(axis=2)
    counts = np.bincount((light // BIN).astype(int).ravel())
    ground = np.convolve(counts, np.ones(GROUND_BINS)).max() / light.size
    low, high = np.percentile(light, (2, 98))
    return bool(ground > GROUND and high - low > CONTRAST and _colours(pixels) < FEW_COLOURS)


def _colours(pixels: Pixels) -> float:
    """Return how far colours differ from a single line, from dark to light, relative to the length of that line."""
    lengths = np.linalg.eigvalsh(np.cov(pixels.reshape(-1, 3).T.astype(float))).clip(0)
    return float((lengths[:-1].sum() / max(lengths[-1], 1.0)) ** 0.5)


def _is_blurred(pixels: Pixels) -> bool:
    return bool(cv2.Laplacian(pixels.mean(axis=2).astype(np.float32), cv2.CV_32F).std() < BLURRED)


def _is_flat(pixels: Pixels) -> bool:
    alike = np.abs(np.diff(pixels.mean(axis=2), axis=1)) <= 1
    return bool(alike.mean() > FLAT)


TRAITS: Mapping[str, Callable[[Pixels], bool]] = {
    "sketch-like (lines on a plain ground)": _is_drawn,
    "dark": _is_dark,
    "grey or single-tone": _is_of_one_tone,
    "blurred": _is_blurred,
    "flat (screenshots, graphics)": _is_flat,
}
