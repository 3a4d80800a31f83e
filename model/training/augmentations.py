"""Other views of a reviewed picture, so that a few reports say what may vary: mirrored, turned, recoloured, seen askew.

Measured with ten and with three reports of a class (docs/decisions/0009-last-layer.md): these four help; stronger ones
(strong perspective, negatives of everything) help no more and make new classes grasp at old ones.
"""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from inference.arrays import Pixels

Numbers = npt.NDArray[Any]
VIEWS = 5  # with the picture itself
LARGEST_ZOOM, TILT_DEGREES, SHIFT, SKEW = 1.2, 4.0, 0.035, 0.025


def views(pixels: Pixels, seed: int) -> Iterator[Pixels]:
    """The picture (height, width, RGB) as it is, then four other views; the same ones for the same seed."""
    draw = np.random.default_rng(seed)
    yield pixels
    yield pixels[:, ::-1]
    yield _turned(pixels, clockwise=bool(draw.integers(2)))
    yield _recoloured(draw, pixels if draw.integers(2) else pixels[:, ::-1])
    yield _recoloured(draw, _askew(draw, pixels))


def _turned(pixels: Pixels, *, clockwise: bool) -> Pixels:
    height, width = pixels.shape[:2]
    turned = cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE if clockwise else cv2.ROTATE_90_COUNTERCLOCKWISE)
    fitting: Pixels = cv2.resize(turned, (width, height))  # type: ignore[assignment]
    return fitting


def _recoloured(draw: np.random.Generator, pixels: Pixels) -> Pixels:
    """Channels exchanged, greyed or inverted now and then; always another light; sometimes blur and noise."""
    values: Numbers = pixels.astype(np.float32)
    if draw.random() < 0.15:
        values = 255 - values
    if draw.random() < 0.5:
        values = values[:, :, draw.permutation(3)]
    if draw.random() < 0.15:
        values = np.repeat(values.mean(axis=2, keepdims=True), 3, axis=2)
    values = values * draw.uniform(0.75, 1.12) * draw.uniform(0.92, 1.05, 3) + draw.normal(0, 8)
    if draw.random() < 0.3:
        values = cv2.GaussianBlur(values, (0, 0), draw.uniform(0.4, 1.2))
    if draw.random() < 0.3:
        values = values + draw.normal(0, draw.uniform(2, 8), values.shape)
    recoloured: Pixels = np.clip(values, 0, 255).astype(np.uint8)
    return recoloured


def _askew(draw: np.random.Generator, pixels: Pixels) -> Pixels:
    """A little nearer or farther, tilted, shifted and out of square; mirrored one time in two."""
    height, width = pixels.shape[:2]
    size = np.array([width, height])
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    seen = corners * LARGEST_ZOOM ** draw.uniform(-1, 1) * np.exp(draw.normal(0, 0.06, 2))
    seen += draw.normal(0, SKEW / 2, (4, 2))
    if draw.integers(2):
        seen[:, 0] *= -1
    angle = np.deg2rad(draw.normal(0, TILT_DEGREES))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    seen = (seen @ turn.T + 0.5 + draw.uniform(-SHIFT, SHIFT, 2)) * size
    lens = cv2.getPerspectiveTransform(seen.astype(np.float32), ((corners + 0.5) * size).astype(np.float32))
    askew: Pixels = cv2.warpPerspective(
        pixels, lens, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )  # type: ignore[assignment]
    return askew
