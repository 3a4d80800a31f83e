"""Pictures made by code that stand for ordinary ones: something to hold on to when no other picture is stored.

Fitted on reports alone, new classes take over everything. Overlapping leaves of all sizes, with the noise and the soft
shades of photographs, are far from any photograph, yet they make a network's features vary as photographs do (Lee,
Mumford and Huang, "Occlusion models for natural images", 2001). Nothing is stored, and every network can look at them.
"""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from inference.arrays import Pixels

Numbers = npt.NDArray[Any]
SEED = 1
COLOURS = 12
CORNERS = (3, 8)
# Leaves are this many at most, and as large as this share of a side; small ones outnumber large ones as in nature.
MOST_LEAVES = 220
LARGEST = (0.08, 0.4)
SMALLEST = (0.03, 0.2)  # of the largest


def ordinary_pictures(count: int, height: int, width: int) -> Iterator[Pixels]:
    """So many pictures, the same each time."""
    textures = [_noise(np.random.default_rng((SEED, at)), height, width) for at in range(4)]
    for index in range(count):
        yield _picture(np.random.default_rng((SEED, 1, index)), height, width, textures)


def _picture(draw: np.random.Generator, height: int, width: int, textures: list[Numbers]) -> Pixels:
    palette = np.clip(draw.normal(draw.uniform(0.25, 0.65, 3), draw.uniform(0.08, 0.28), (COLOURS, 3)), 0, 1)
    picture = np.full((height, width, 3), palette[0] * 255, np.uint8)
    side = min(height, width)
    largest = side * draw.uniform(*LARGEST)
    smallest = largest * draw.uniform(*SMALLEST)
    for _ in range(draw.integers(5, MOST_LEAVES)):
        # Areas with a power law: however close one looks, the picture has the same statistics.
        radius = (smallest**-2 + draw.random() * (largest**-2 - smallest**-2)) ** -0.5
        colour = np.clip(palette[draw.integers(COLOURS)] + draw.normal(0, 0.04, 3), 0, 1) * 255
        _leaf(draw, picture, (draw.random() * width, draw.random() * height), radius, colour.tolist())
    return _shaded(draw, picture, textures)


def _leaf(
    draw: np.random.Generator, picture: Pixels, middle: tuple[float, float], radius: float, colour: list[float]
) -> None:
    centre = (round(middle[0]), round(middle[1]))
    if draw.random() < 0.5:
        axes = (max(1, round(radius)), max(1, round(radius * draw.uniform(0.2, 1))))
        cv2.ellipse(picture, centre, axes, draw.uniform(0, 180), 0, 360, colour, cv2.FILLED, cv2.LINE_AA)
        return
    corners = int(draw.integers(*CORNERS))
    angles = np.sort(draw.random(corners)) * 2 * np.pi
    reach = radius * draw.uniform(0.6, 1.2, corners)
    points = np.stack([middle[0] + reach * np.cos(angles), middle[1] + reach * np.sin(angles)], axis=1)
    cv2.fillPoly(picture, [points.astype(np.int32)], colour, cv2.LINE_AA)


def _shaded(draw: np.random.Generator, picture: Pixels, textures: list[Numbers]) -> Pixels:
    """Texture, light from a side, and a lens."""
    height, width = picture.shape[:2]
    values = picture.astype(np.float32)
    for texture in textures[:: int(draw.integers(1, 4))]:
        moved = np.roll(texture, draw.integers(0, (height, width)), (0, 1))
        values += moved[:, :, None] * (draw.uniform(0, 20) * draw.uniform(0.5, 1, 3)).astype(np.float32)
    across = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :, None] * draw.normal(0, 0.3)
    down = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None, None] * draw.normal(0, 0.3)
    blurred = cv2.GaussianBlur(values * (1 + across + down), (0, 0), draw.uniform(0.3, 1.2))
    shaded: Pixels = np.clip(blurred, 0, 255).astype(np.uint8)
    return shaded


def _noise(draw: np.random.Generator, height: int, width: int) -> Numbers:
    """Noise whose power falls with frequency as it does in photographs, of deviation 1."""
    squares = np.fft.fftfreq(height)[:, None] ** 2 + np.fft.rfftfreq(width)[None] ** 2
    squares[0, 0] = 1
    spectrum = np.fft.rfft2(draw.standard_normal((height, width))) * squares ** (-draw.uniform(0.5, 1.6) / 2)
    noise = np.fft.irfft2(spectrum, (height, width))
    scaled: Numbers = ((noise - noise.mean()) / noise.std()).astype(np.float32)
    return scaled
