"""What a model expects as input, as data, and how an image's bytes become that: values in, values out."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import cv2
import numpy as np
from PIL import Image

from inference.arrays import Pixels
from inference.colour import to_srgb
from inference.decode import Box, View, decode
from inference.errors import BundleError, shown
from inference.image_headers import UPRIGHT, is_turned

# Consumers are the parallelism: a second layer of threads under them only makes them wait for each other.
cv2.setNumThreads(1)

INTERPOLATIONS: dict[str, int | None] = {
    "nearest": cv2.INTER_NEAREST_EXACT,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos": None,  # Pillow's: OpenCV's takes twice as long and is another one
}
CHOICES = {
    "resize": ("center-crop", "stretch", "stretch-crop"),
    "interpolation": tuple(INTERPOLATIONS),
    "channels": ("RGB", "BGR"),
    "layout": ("NCHW", "NHWC"),
}
# How many times the size an image is averaged to before Pillow filters it, so that large ones take no longer.
REDUCING_GAP = 3.0
# Levels by which pixels may differ in an image of one colour, and the step between those that are checked first.
FLAT_DIFFERENCE, FLAT_STEP = 2, 16
MAX_MODEL_SIDE = 2_048
# Pixels are 0 to 255. Beyond these, float32 has no finite results.
MIN_CROP_RATIO, MOST, MIN_STD = 0.05, 1e6, 1e-6
DIGEST_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """The table [preprocessing] of a bundle; x' = (x - mean) / std, x from 0 to 255, in the order of channels."""

    resize: str
    crop_ratio: float
    size: tuple[int, int]  # height, width
    interpolation: str
    channels: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    layout: str

    @property
    def view(self) -> View:
        """The part of an image that the model gets."""
        crop_ratio = None if self.resize == "stretch" else self.crop_ratio
        takes_single_pixels = self.interpolation == "nearest"
        return View(*self.size, crop_ratio, takes_single_pixels, is_stretched=self.resize == "stretch-crop")

    @property
    def digest(self) -> str:
        """A short name for exactly these numbers: two models with one digest get the same pixels."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:DIGEST_LENGTH]

    def prepare(self, content: bytes, out: Pixels, budget_s: float = math.inf) -> tuple[int, int]:
        """Decode an image's bytes and write the model's input into `out` (height, width, RGB).

        `budget_s` is the processor time that decoding may take. Return the upright image's width and height; raise
        ImageError.
        """
        image = decode(content, self.view, budget_s)
        if image.orientation == UPRIGHT:
            self._resize(image.pixels, out)
        else:
            # Turned when it is small: a centred crop is the same whichever side is up.
            stored = np.empty_like(upright(out, image.orientation), order="C")
            self._resize(image.pixels, stored)
            out[...] = upright(stored, image.orientation)
        if image.profile or image.gamma:
            to_srgb(out, image.profile, image.gamma)
        return image.size

    def box(self, width: int, height: int) -> Box:
        """Return the part of an upright image of this size that the model gets."""
        left, top, right, bottom = self.view.box(width, height)
        return max(left, 0), max(top, 0), min(right, width), min(bottom, height)

    def _resize(self, pixels: Pixels, out: Pixels) -> None:
        """Shrink without aliasing, which OpenCV's interpolations by themselves do not care for; each side by itself.

        To twice the size first, then to the mean of each two: for the bicubic case that is 1 of 255 from Pillow's
        antialiased filter (and 99 of 100 labels the same) at a quarter of its time.
        """
        (height, width), interpolation = out.shape[:2], INTERPOLATIONS[self.interpolation]
        if interpolation is None:
            image = Image.fromarray(np.ascontiguousarray(pixels))
            out[...] = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=REDUCING_GAP))
            return
        if interpolation == cv2.INTER_AREA:
            pixels = _averaged(pixels, height, width)
        elif interpolation != cv2.INTER_NEAREST_EXACT:
            rows, columns = pixels.shape[:2]
            between = 2 * height if rows > height else height, 2 * width if columns > width else width
            if between != (height, width):
                pixels = _averaged(pixels, *between)
                if pixels.shape[:2] != between:
                    pixels = _resized(pixels, *between, interpolation)
                interpolation = cv2.INTER_AREA
        cv2.resize(pixels, (width, height), dst=out, interpolation=interpolation)


def is_of_one_colour(pixels: Pixels) -> bool:
    """Return whether a model's input shows nothing; a few pixels of most say that it does."""
    return all(
        int(np.ptp(part.reshape(-1, 3), axis=0).max()) <= FLAT_DIFFERENCE
        for part in (pixels[::FLAT_STEP, ::FLAT_STEP], pixels)
    )


def _averaged(pixels: Pixels, height: int, width: int) -> Pixels:
    """Return means of the pixels along each side that has more than this; OpenCV takes none where the other grows."""
    sides = min(pixels.shape[0], height), min(pixels.shape[1], width)
    return _resized(pixels, *sides, cv2.INTER_AREA) if sides != pixels.shape[:2] else pixels


def _resized(pixels: Pixels, height: int, width: int, interpolation: int) -> Pixels:
    out = np.empty((height, width, 3), np.uint8)
    cv2.resize(pixels, (width, height), dst=out, interpolation=interpolation)
    return out


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """Return a view of the pixels turned by their EXIF orientation."""
    if is_turned(orientation):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = np.flip(pixels, 0)
    if orientation in (2, 3, 6, 7):
        pixels = np.flip(pixels, 1)
    return pixels


def from_table(table: Mapping[str, Any]) -> Preprocessing:
    """Read the table [preprocessing] of a bundle; raise BundleError, which names the key and the value."""
    known = {field.name for field in fields(Preprocessing)}
    if differing := sorted(known ^ table.keys()):
        raise BundleError(f"[preprocessing] must have the keys {sorted(known)}; differing: {shown(differing)}")
    ratio, sides, mean, std = (table[key] for key in ("crop_ratio", "size", "mean", "std"))
    is_size = _is_numbers(sides, 2) and all(type(side) is int and 1 <= side <= MAX_MODEL_SIDE for side in sides)
    is_std = _is_numbers(std, 3) and all(abs(number) >= MIN_STD for number in std)
    three = f"three numbers from {-MOST:.0f} to {MOST:.0f}"
    checks = {key: (table[key] in allowed, f"one of {list(allowed)}") for key, allowed in CHOICES.items()} | {
        "crop_ratio": (_is_number(ratio) and MIN_CROP_RATIO <= ratio <= 1, f"a number from {MIN_CROP_RATIO} to 1"),
        "size": (is_size, f"[height, width], whole numbers from 1 to {MAX_MODEL_SIDE}"),
        "mean": (_is_numbers(mean, 3), three),
        "std": (is_std, f"{three} other than 0, of at least {MIN_STD}"),
    }
    for key, (is_valid, expected) in checks.items():
        if not is_valid:
            raise BundleError(f"[preprocessing] {key} = {shown(table[key])}; expected {expected}")
    values: dict[str, Any] = {key: tuple(item) if isinstance(item, list) else item for key, item in table.items()}
    return Preprocessing(**values)


def _is_numbers(value: Any, count: int) -> bool:
    return isinstance(value, list) and len(value) == count and all(map(_is_number, value))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -MOST <= value <= MOST  # neither NaN nor infinite, then
