"""Image files of odd kinds, made by code: what encoders, cameras and damaged disks write, besides the usual forms.

Each yields the image that it shows, to be compared with what is decoded, or the code that it has to be refused with.
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image

from sightline_testing.sample_images import encode, scene

SIZE = (320, 240)
# Mean differences of a pixel: none, what rounding does, and what lossy encoders do to fine grain.
EXACT, ROUNDED, LOSSY = 0.0, 0.1, 3.5


@dataclass(frozen=True, slots=True)
class OddFile:
    """The content of a file and what it shows, within a tolerance; `code` where it has to be refused."""

    name: str
    content: Callable[[], bytes]
    shows: Callable[[], Image.Image] | None = None
    tolerance: float = EXACT
    code: str = ""


Odd = Iterator[OddFile]


def original() -> Image.Image:
    """Return the image that most of the files show."""
    return scene(*SIZE)


def again(image: Image.Image, kind: str, **options: Any) -> Image.Image:
    """Return an image as a usual encoder and decoder leave it."""
    with Image.open(io.BytesIO(encode(image, kind, **options))) as decoded:
        return decoded.convert("RGB")


def all_files() -> list[OddFile]:
    """Return every file, each of another name."""
    from sightline_testing.odd_files import jpegs, others, phones, pngs  # noqa: PLC0415  they import this module

    files = [*jpegs.files(), *pngs.files(), *others.files(), *phones.files()]
    names = [file.name for file in files]
    if len(set(names)) < len(names):
        raise ValueError(f"named twice: {sorted({name for name in names if names.count(name) > 1})}")
    return files
