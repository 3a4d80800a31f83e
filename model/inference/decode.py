"""An image's bytes to pixels: one function for every format, checked by its header before anything is decoded.

Plain JPEG goes through libjpeg-turbo. Pillow decodes the rest; every mode of pixel becomes RGB as it is meant to be
seen.
"""

import math
import threading
import warnings
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import simplejpeg
from PIL import Image

from inference.arrays import Pixels
from inference.errors import IMAGE_BROKEN, UNSUPPORTED_TYPE, ImageError
from inference.image_headers import JpegHeader, exif_orientation, first_image, is_turned, read_jpeg_header
from inference.limits import (
    LARGE_PIXELS,
    MAX_PIXELS,
    MAX_SCALED_PIXELS,
    UNLIMITED,
    BudgetedFile,
    DecodeBudget,
    check_bytes,
    check_size,
)

Box = tuple[int, int, int, int]  # left, top, right, bottom
# The factors for which libjpeg-turbo has SIMD code; 3/8, 5/8 and the like are slower than twice the pixels.
JPEG_FACTORS = (8, 4, 2)
SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
)
# What libjpeg-turbo warns of although the image is whole, and a sampling that simplejpeg does not take: Pillow reads
# these, and refuses what is cut off all the same. Every other warning means that pixels are missing.
TOLERATED = ("extraneous bytes", "unknown JFIF", "Unknown Adobe", "Invalid SOS parameters", "subsampling level")
# 25 megapixels take up to 400 MB while they are decoded (WebP; 230 MB others): two at a time in each process, so that
# an expensive image holds up no other large one.
_few_large = threading.BoundedSemaphore(2)

# Pillow raises an error beyond twice this. In between it warns, which other code may silence: `_check_size` does not.
Image.MAX_IMAGE_PIXELS = MAX_SCALED_PIXELS
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
SIXTEEN_BIT_GREY = ("I", "I;16", "I;16B", "I;16L")
WITH_ALPHA = ("RGBA", "LA", "PA")
WHITE = (255, 255, 255)
# Modes that Pillow can average in, transparency weighed in.
AVERAGED = ("L", "RGB", "RGBA", "LA")
# Bytes that a PNG decoder gets between two checks of the budget: they unpack to up to a thousand times as many.
LEAST_PNG_BLOCK, LARGEST_PNG_BLOCK = 4096, 16_384
PNG_BLOCKS = 256


@dataclass(frozen=True, slots=True)
class View:
    """The part of an image that the model gets, and its size in pixels.

    A centred square of `crop_ratio` of the shorter side, or all of the image where that is None. One that
    `takes_single_pixels` wants them as they are in the image, none of them averaged beforehand.
    """

    height: int
    width: int
    crop_ratio: float | None
    takes_single_pixels: bool = False

    def box(self, width: int, height: int) -> Box:
        """Return the part of an image of this size."""
        if self.crop_ratio is None:
            return 0, 0, width, height
        # Each edge is rounded by itself: keeping the middle where it is matters more than an exact square.
        half = min(width, height) * self.crop_ratio / 2
        left, right = round(width / 2 - half), round(width / 2 + half)
        top, bottom = round(height / 2 - half), round(height / 2 + half)
        return left, top, max(right, left + 1), max(bottom, top + 1)

    def shrinkage(self, width: int, height: int) -> float:
        """Return how many pixels of an image of this size become one, on the side where they are fewest."""
        left, top, right, bottom = self.box(width, height)
        return min((right - left) / self.width, (bottom - top) / self.height)

    def jpeg_factor(self, width: int, height: int) -> int:
        """Return by how much a JPEG of this size may be scaled down while it is decoded."""
        if self.takes_single_pixels and width * height <= MAX_PIXELS:
            return 1
        return next((factor for factor in JPEG_FACTORS if self.shrinkage(width, height) >= factor), 1)

    def as_stored(self, orientation: int) -> "View":
        """Return the same view of an image that is stored in this EXIF orientation."""
        return replace(self, height=self.width, width=self.height) if is_turned(orientation) else self


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """The pixels of a view, in RGB and as they are stored, and the EXIF orientation to see them in.

    `size` is the width and height of the whole image when it is upright.
    """

    pixels: Pixels
    orientation: int
    size: tuple[int, int]


def kind_of(content: bytes) -> str:
    """Return JPEG, PNG, GIF, BMP or WEBP by the first bytes; raise ImageError for anything else."""
    for signature, kind in SIGNATURES:
        if content.startswith(signature):
            return kind
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "WEBP"
    raise ImageError(UNSUPPORTED_TYPE, f"begins with {content[:8]!r}; JPEG, PNG, GIF, WebP and BMP are taken")


def decode(content: bytes, view: View, budget_s: float = math.inf) -> DecodedImage:
    """Return the pixels of a view; those of large images come scaled down, never below the view's size.

    Raise ImageError for an image that cannot be decoded, or that takes more than `budget_s` of this thread's processor
    time, wherever its decoder can be interrupted.
    """
    check_bytes(len(content))
    kind, budget = kind_of(content), DecodeBudget(budget_s)
    if kind == "JPEG":
        header = read_jpeg_header(content)
        # Several scans: every coefficient of the image is held until the last of them.
        is_whole = not header.is_single_scan or view.takes_single_pixels
        with _few_large if is_whole and header.width * header.height > LARGE_PIXELS else nullcontext():
            return _decode_jpeg(header, content, view, budget)
    (width, height), first = first_image(kind, content, budget)
    check_size(width, height)
    with _few_large if width * height > LARGE_PIXELS else nullcontext():
        return decode_by_pillow(kind, first, view, budget)


def _decode_jpeg(header: JpegHeader, content: bytes, view: View, budget: DecodeBudget) -> DecodedImage:
    view = view.as_stored(header.orientation)
    factor = view.jpeg_factor(header.width, header.height)
    try:
        # Not the fast DCT: it saves 2 % of the time and changes 3 of 100 labels.
        pixels = simplejpeg.decode_jpeg(
            content, min_height=-(-header.height // factor), min_width=-(-header.width // factor), min_factor=factor
        )
    except ValueError as fault:
        if not any(text in str(fault) for text in TOLERATED):
            raise ImageError(IMAGE_BROKEN, f"JPEG cannot be decoded: {fault}") from None
        return decode_by_pillow("JPEG", content, view, budget)
    left, top, right, bottom = view.box(pixels.shape[1], pixels.shape[0])
    size = _upright_size(header.width, header.height, header.orientation)
    return DecodedImage(pixels[top:bottom, left:right], header.orientation, size)


def _upright_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    return (height, width) if is_turned(orientation) else (width, height)


def decode_by_pillow(kind: str, content: bytes, view: View, budget: DecodeBudget = UNLIMITED) -> DecodedImage:
    """Return the pixels of a view of the first frame; the size has been checked.

    The budget is checked whenever Pillow reads on. WebP is read at once, so its header alone bounds what it takes.
    """
    # Whatever a decoder trips over in hostile bytes is the image's fault: Pillow raises ten kinds of exceptions.
    try:
        with Image.open(BudgetedFile(content, budget), formats=(kind,)) as image:
            if image.width * image.height > MAX_SCALED_PIXELS:
                raise ImageError(IMAGE_BROKEN, f"{image.width}x{image.height} pixels are a decompression bomb")
            if kind == "PNG":
                image.decodermaxblock = min(max(len(content) // PNG_BLOCKS, LEAST_PNG_BLOCK), LARGEST_PNG_BLOCK)
            stored = image.size
            factor = view.jpeg_factor(*stored)
            image.draft("RGB", (image.width // factor, image.height // factor))
            image.load()
            orientation = exif_orientation(image.info.get("exif", b""))
            pixels = _rgb(_shrunk(image, view.as_stored(orientation)))
            return DecodedImage(pixels, orientation, _upright_size(*stored, orientation))
    except (ImageError, MemoryError):
        raise
    except Exception as fault:  # noqa: BLE001
        raise ImageError(IMAGE_BROKEN, f"{kind} cannot be decoded: {fault}") from None


def _shrunk(image: Image.Image, view: View) -> Image.Image:
    """Return the view, averaged down to twice the pixels it wants before any further copy is made."""
    box = view.box(*image.size)
    is_averaged = image.mode in AVERAGED and "transparency" not in image.info
    if is_averaged and not view.takes_single_pixels and view.shrinkage(*image.size) > 2:
        return image.resize((2 * view.width, 2 * view.height), Image.Resampling.BOX, box)
    return image.crop(box)


def _rgb(image: Image.Image) -> Pixels:
    if image.mode in SIXTEEN_BIT_GREY:
        # Pillow's own conversion saturates: every value above 255 of 65535 would be white.
        grey = (np.asarray(image).clip(0, 65_535).astype(np.uint32) + 128) // 257
        return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode in WITH_ALPHA or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGB", image.size, WHITE)
        ground.paste(image, mask=image.getchannel("A"))
        return np.asarray(ground)
    return np.asarray(image.convert("RGB"))
