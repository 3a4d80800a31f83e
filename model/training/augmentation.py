"""Images made by code: augmentations of a reviewed image, and synthetic images that stand in for traffic.

Augmentations show what may vary between images of a class. Measured with ten and with three reports of a class
(docs/decisions/0009-last-layer.md): these four help; stronger ones (strong perspective, negatives of everything) help
no more and make new classes take over images of existing ones. Where a mirrored or turned image shows another class, as
an arrow does, they do harm: `[training] augment` in bundle.toml names those to make.

Fitted on reports alone, new classes take over everything, so synthetic images hold the rest in place where no traffic
is stored. Overlapping leaves of all sizes, with the noise and the soft shades of photographs, make a network's features
vary as photographs do (Lee, Mumford and Huang, "Occlusion models for natural images", 2001).
"""

from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from inference import bundle
from inference.arrays import Pixels
from inference.bundle import DESCRIPTION_FILE
from inference.errors import BundleError, shown

Numbers = npt.NDArray[Any]

MIRROR, TURN, RECOLOUR, SKEW = KINDS = ("mirror", "turn", "recolour", "skew")

LARGEST_ZOOM, TILT_DEGREES, SHIFT, LARGEST_SKEW = 1.2, 4.0, 0.035, 0.025

SEED = 1
COLOURS = 12
CORNERS = (3, 8)
# Leaves are this many at most, and as large as this share of a side; small ones outnumber large ones as in nature.
MAX_LEAVES = 220
LARGEST = (0.08, 0.4)
SMALLEST = (0.03, 0.2)  # of the largest


def augmentations(pixels: Pixels, seed: int, kinds: Collection[str] = KINDS) -> Iterator[Pixels]:
    """Yield the image (height, width, RGB), then augmentations of these KINDS, in the order of KINDS."""
    draw = np.random.default_rng(seed)
    yield pixels
    if MIRROR in kinds:
        yield pixels[:, ::-1]
    clockwise = bool(draw.integers(2))
    if TURN in kinds:
        yield _turned(pixels, clockwise=clockwise)
    is_mirrored = not draw.integers(2) and MIRROR in kinds
    if RECOLOUR in kinds:
        yield _recoloured(draw, pixels[:, ::-1] if is_mirrored else pixels)
    # One more in place of each that is left out.
    for _ in range(1 + (MIRROR not in kinds) + (TURN not in kinds) if SKEW in kinds else 0):
        skewed = _skewed(draw, pixels, may_mirror=MIRROR in kinds)
        yield _recoloured(draw, skewed) if RECOLOUR in kinds else skewed


def chosen_kinds(folder: Path) -> tuple[str, ...]:
    """Return the KINDS that the bundle in this folder lists, all of them where it has no list; raise BundleError."""
    table = bundle.description(folder).get("training", {})
    chosen = table.get("augment", list(KINDS)) if isinstance(table, dict) else table
    if not isinstance(chosen, list) or not set(map(str, chosen)) <= set(KINDS):
        expected = f"a list of some of {', '.join(KINDS)}"
        raise BundleError(f"{folder / DESCRIPTION_FILE}: [training] augment = {shown(chosen)}; expected {expected}")
    return tuple(kind for kind in KINDS if kind in chosen)


def _turned(pixels: Pixels, *, clockwise: bool) -> Pixels:
    height, width = pixels.shape[:2]
    turned = cv2.rotate(pixels, cv2.ROTATE_90_CLOCKWISE if clockwise else cv2.ROTATE_90_COUNTERCLOCKWISE)
    fitting: Pixels = cv2.resize(turned, (width, height))  # type: ignore[assignment]
    return fitting


def _recoloured(draw: np.random.Generator, pixels: Pixels) -> Pixels:
    """Change the light; now and then exchange, grey or invert the channels, blur, and add noise."""
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


def _skewed(draw: np.random.Generator, pixels: Pixels, *, may_mirror: bool) -> Pixels:
    """Zoom, tilt, shift and skew a little; mirror one time in two, if that may be."""
    height, width = pixels.shape[:2]
    size = np.array([width, height])
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    seen = corners * LARGEST_ZOOM ** draw.uniform(-1, 1) * np.exp(draw.normal(0, 0.06, 2))
    seen += draw.normal(0, LARGEST_SKEW / 2, (4, 2))
    if draw.integers(2) and may_mirror:
        seen[:, 0] *= -1
    angle = np.deg2rad(draw.normal(0, TILT_DEGREES))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    seen = (seen @ turn.T + 0.5 + draw.uniform(-SHIFT, SHIFT, 2)) * size
    lens = cv2.getPerspectiveTransform(seen.astype(np.float32), ((corners + 0.5) * size).astype(np.float32))
    skewed: Pixels = cv2.warpPerspective(
        pixels, lens, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )  # type: ignore[assignment]
    return skewed


def synthetic_images(count: int, height: int, width: int) -> Iterator[Pixels]:
    """Yield `count` images, the same each time."""
    textures = _textures(height, width)
    for index in range(count):
        yield _image(np.random.default_rng((SEED, 1, index)), height, width, textures)


@lru_cache(maxsize=2)  # an import draws images of two sizes
def _textures(height: int, width: int) -> list[Numbers]:
    return [_noise(np.random.default_rng((SEED, at)), height, width) for at in range(4)]


def _image(draw: np.random.Generator, height: int, width: int, textures: list[Numbers]) -> Pixels:
    palette = np.clip(draw.normal(draw.uniform(0.25, 0.65, 3), draw.uniform(0.08, 0.28), (COLOURS, 3)), 0, 1)
    image = np.full((height, width, 3), palette[0] * 255, np.uint8)
    colours = palette.tolist()
    side = min(height, width)
    largest = side * draw.uniform(*LARGEST)
    smallest = largest * draw.uniform(*SMALLEST)
    for _ in range(draw.integers(5, MAX_LEAVES)):
        # Areas with a power law: the image has the same statistics at every scale.
        radius = (smallest**-2 + draw.random() * (largest**-2 - smallest**-2)) ** -0.5
        shade = zip(colours[draw.integers(COLOURS)], draw.normal(0, 0.04, 3).tolist(), strict=True)
        colour = [min(max(value + change, 0.0), 1.0) * 255 for value, change in shade]
        _leaf(draw, image, (draw.random() * width, draw.random() * height), radius, colour)
    return _shaded(draw, image, textures)


def _leaf(
    draw: np.random.Generator, image: Pixels, middle: tuple[float, float], radius: float, colour: list[float]
) -> None:
    if draw.random() < 0.5:
        centre = (round(middle[0]), round(middle[1]))
        axes = (max(1, round(radius)), max(1, round(radius * draw.uniform(0.2, 1))))
        cv2.ellipse(image, centre, axes, draw.uniform(0, 180), 0, 360, colour, cv2.FILLED, cv2.LINE_AA)
        return
    corners = int(draw.integers(*CORNERS))
    angles = np.sort(draw.random(corners)) * 2 * np.pi
    reach = radius * draw.uniform(0.6, 1.2, corners)
    points = np.empty((corners, 2))
    points[:, 0] = middle[0] + reach * np.cos(angles)
    points[:, 1] = middle[1] + reach * np.sin(angles)
    cv2.fillPoly(image, [points.astype(np.int32)], colour, cv2.LINE_AA)


def _shaded(draw: np.random.Generator, image: Pixels, textures: list[Numbers]) -> Pixels:
    """Add texture, light from a side, and the blur of a lens."""
    height, width = image.shape[:2]
    values = image.astype(np.float32)
    for texture in textures[:: int(draw.integers(1, 4))]:
        moved = np.roll(texture, draw.integers(0, (height, width)), (0, 1))
        values += cv2.merge(
            [moved * share for share in (draw.uniform(0, 20) * draw.uniform(0.5, 1, 3)).astype(np.float32)]
        )
    across = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :] * draw.normal(0, 0.3)
    down = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None] * draw.normal(0, 0.3)
    light = 1 + across + down
    values *= cv2.merge([light] * 3)
    blurred = cv2.GaussianBlur(values, (0, 0), draw.uniform(0.3, 1.2))
    shaded: Pixels = np.clip(blurred, 0, 255, out=blurred).astype(np.uint8)
    return shaded


def _noise(draw: np.random.Generator, height: int, width: int) -> Numbers:
    """Return noise whose power falls with frequency as it does in photographs, of deviation 1."""
    squares = np.fft.fftfreq(height)[:, None] ** 2 + np.fft.rfftfreq(width)[None] ** 2
    squares[0, 0] = 1
    spectrum = np.fft.rfft2(draw.standard_normal((height, width))) * squares ** (-draw.uniform(0.5, 1.6) / 2)
    noise = np.fft.irfft2(spectrum, (height, width))
    scaled: Numbers = ((noise - noise.mean()) / noise.std()).astype(np.float32)
    return scaled
