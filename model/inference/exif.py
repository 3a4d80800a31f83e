"""The EXIF orientation of a picture, and how to put it upright."""

import struct

import numpy as np

from inference.arrays import Pixels

UPRIGHT = 1
ORIENTATION_TAG = 0x0112
SHORT = 3
MAX_ENTRIES = 1_000
PREFIX = b"Exif\0\0"


def orientation(block: bytes) -> int:
    """The orientation 1 to 8 in an EXIF block; 1 where it is absent or broken: metadata never fails a picture."""
    try:
        return _orientation(block.removeprefix(PREFIX))
    except struct.error:
        return UPRIGHT


def _orientation(tiff: bytes) -> int:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return UPRIGHT
    (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
    (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
    for index in range(min(entries, MAX_ENTRIES)):
        tag, kind, count, value = struct.unpack_from(f"{order}HHIH", tiff, directory + 2 + 12 * index)
        if tag == ORIENTATION_TAG:
            is_valid = kind == SHORT and count == 1 and 1 <= value <= 8
            return int(value) if is_valid else UPRIGHT
    return UPRIGHT


def is_turned(value: int) -> bool:
    """Whether this orientation exchanges width and height."""
    return value >= 5


def upright(pixels: Pixels, value: int) -> Pixels:
    """A view of the pixels as the orientation wants them seen."""
    if is_turned(value):
        pixels = pixels.swapaxes(0, 1)
    if value in (3, 4, 7, 8):
        pixels = np.flip(pixels, 0)
    if value in (2, 3, 6, 7):
        pixels = np.flip(pixels, 1)
    return pixels
