"""An image's bytes to pixels: one function for every format, checked by its header before anything is decoded.

Plain JPEG goes through libjpeg-turbo. Pillow decodes the rest; every mode of pixel becomes RGB as it is meant to be
seen.
"""

import ctypes
import math
import threading
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from inference import heif
from inference.arrays import Pixels
from inference.errors import IMAGE_BROKEN, UNSUPPORTED_TYPE, ImageError
from inference.image_headers import END, JpegHeader, exif_orientation, first_image, is_turned, read_jpeg_header
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
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)
# By Pillow's names, where they differ from the formats' own.
PILLOW_NAMES = {"HEIC": "HEIF"}
# What libjpeg-turbo warns of although the image is whole, and a sampling that simplejpeg does not take: Pillow reads
# these, and refuses what is cut off all the same. Every other warning means that pixels are missing.
EXTRANEOUS = "extraneous bytes"
TOLERATED = (
    EXTRANEOUS, "unknown JFIF", "Unknown Adobe", "bad ICC marker", "Invalid SOS parameters", "subsampling level",
)  # fmt: skip
# 25 megapixels take up to 400 MB while they are decoded (WebP; 230 MB others): two at a time in each process, so that
# an expensive image holds up no other large one.
_few_large = threading.BoundedSemaphore(2)

# Pillow raises an error beyond twice this. In between it warns, which other code may silence: `_check_size` does not.
Image.MAX_IMAGE_PIXELS = MAX_SCALED_PIXELS
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
# Whose decoders turn the image upright themselves.
LATE_SIZE = frozenset(("HEIC", "TIFF"))
SIXTEEN_BIT_GREY = ("I", "I;16", "I;16B", "I;16L")
# Formats whose further frames are checked where the first is of one colour, up to so many of so many pixels.
ANIMATED, MAX_FRAMES, MAX_LATER_PIXELS, SAMPLED = frozenset(("GIF", "WEBP")), 20, 2_000_000, (8, 8)
# A profile of RGB describes neither greys nor inks.
UNPROFILED = ("L", "LA", "1", "CMYK", *SIXTEEN_BIT_GREY)
WITH_ALPHA = ("RGBA", "LA", "PA")
WHITE = (255, 255, 255)
# Modes that Pillow can average in, transparency weighed in.
AVERAGED = ("L", "RGB", "RGBA", "LA")
# Bytes that a decoder gets between two checks of the budget: a small file may stand for many pixels.
MIN_BLOCK, LARGEST_BLOCK = {"PNG": 4096, "JPEG": 512}, 16_384
BLOCKS = 256
# What each scan of a JPEG takes for each pixel on the reference processor, and the part of the budget above which such
# an image is decoded by Pillow: as fast and to the same pixels, in steps, but without noticing all damage.
SCAN_PIXEL_S, UNINTERRUPTED_PART = 1e-9, 0.25


@dataclass(frozen=True, slots=True)
class View:
    """The part of an image that the model gets, and its size in pixels.

    The middle: the largest part in the shape of the input, times `crop_ratio`; that ratio of each side where it
    `is_stretched`; or all of the image where the ratio is None. One that `takes_single_pixels` wants them as they are
    in the image, none of them averaged beforehand.
    """

    height: int
    width: int
    crop_ratio: float | None
    takes_single_pixels: bool = False
    is_stretched: bool = False

    def box(self, width: int, height: int) -> Box:
        """Return the part of an image of this size."""
        if self.crop_ratio is None:
            return 0, 0, width, height
        # Each edge is rounded by itself: keeping the middle where it is matters more than an exact square.
        across, down = self._part(width, height)
        left, right = round(width / 2 - across / 2), round(width / 2 + across / 2)
        top, bottom = round(height / 2 - down / 2), round(height / 2 + down / 2)
        return left, top, max(right, left + 1), max(bottom, top + 1)

    def _part(self, width: int, height: int) -> tuple[float, float]:
        """Return how wide and how high the part of an image of this size is."""
        ratio = 1.0 if self.crop_ratio is None else self.crop_ratio
        if self.is_stretched:
            return width * ratio, height * ratio
        longer = max(self.width, self.height)
        side = min(width * longer / self.width, height * longer / self.height) * ratio
        return side * (self.width / longer), side * (self.height / longer)

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

    `size` is the width and height of the whole image when it is upright. `profile` and `gamma` describe its colours
    (inference.colour); empty and 0 for those of sRGB.
    """

    pixels: Pixels
    orientation: int
    size: tuple[int, int]
    profile: bytes = b""
    gamma: float = 0.0


def kind_of(content: bytes) -> str:
    """Return the format by the first bytes: JPEG, PNG, GIF, BMP, WEBP, TIFF, HEIC or AVIF; raise ImageError."""
    for signature, kind in SIGNATURES:
        if content.startswith(signature):
            return kind
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "WEBP"
    if content[4:8] == b"ftyp" and (kind := heif.kind_of(content)):
        return kind
    taken = "JPEG, PNG, GIF, WebP, BMP, HEIC, AVIF and TIFF are taken"
    raise ImageError(UNSUPPORTED_TYPE, f"begins with {content[:12]!r}; {taken}")


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
    scans_s = SCAN_PIXEL_S * header.width * header.height * header.scans
    if not (header.is_single_scan or header.lacks_end) and scans_s > UNINTERRUPTED_PART * budget.seconds:
        return decode_by_pillow("JPEG", content, view, budget)
    stored_view = view.as_stored(header.orientation)
    try:
        pixels = _by_libjpeg(header, content, stored_view.jpeg_factor(header.width, header.height))
    except ValueError as fault:
        # Pillow does not notice what is missing before an end marker that is not the file's own.
        if header.lacks_end or not any(text in str(fault) for text in TOLERATED):
            raise ImageError(IMAGE_BROKEN, f"JPEG cannot be decoded: {fault}") from None
        return decode_by_pillow("JPEG", content, view, budget)
    left, top, right, bottom = stored_view.box(pixels.shape[1], pixels.shape[0])
    size = _upright_size(header.width, header.height, header.orientation)
    return DecodedImage(pixels[top:bottom, left:right], header.orientation, size, header.profile)


def _by_libjpeg(header: JpegHeader, content: bytes, factor: int) -> Pixels:
    """Return the pixels scaled down by a factor; raise ValueError for any warning of libjpeg-turbo."""
    # Not the fast DCT: it saves 2 % of the time and changes 3 of 100 labels.
    decoded: Callable[[bytes], Pixels] = partial(
        simplejpeg.decode_jpeg,
        min_height=-(-header.height // factor),
        min_width=-(-header.width // factor),
        min_factor=factor,
    )
    if not header.lacks_end:
        return decoded(content)
    try:
        return decoded(content + END)
    except ValueError as fault:
        if EXTRANEOUS not in str(fault):
            raise
        return decoded(content.rstrip(b"\0") + END)  # a buffer that the image does not fill


def _upright_size(width: int, height: int, orientation: int) -> tuple[int, int]:
    return (height, width) if is_turned(orientation) else (width, height)


def decode_by_pillow(kind: str, content: bytes, view: View, budget: DecodeBudget = UNLIMITED) -> DecodedImage:
    """Return the pixels of a view of the first frame; the size has been checked.

    The budget is checked whenever Pillow reads on. WebP is read as a whole, so its header alone bounds what it takes.
    """
    # Any decoder error caused by hostile bytes is the image's fault: Pillow raises ten kinds of exceptions.
    try:
        with Image.open(BudgetedFile(content, budget), formats=(_pillow_name(kind),)) as image:
            if image.width * image.height > (MAX_PIXELS if kind in LATE_SIZE else MAX_SCALED_PIXELS):
                raise ImageError(IMAGE_BROKEN, f"{image.width}x{image.height} pixels are a decompression bomb")
            if kind in MIN_BLOCK:
                image.decodermaxblock = min(max(len(content) // BLOCKS, MIN_BLOCK[kind]), LARGEST_BLOCK)
            stored = image.size
            factor = view.jpeg_factor(*stored)
            image.draft("RGB", (image.width // factor, image.height // factor))
            image.load()
            if kind in LATE_SIZE:
                stored = image.size
            frame = _first_shown(image, budget) if kind in ANIMATED else image
            orientation = exif_orientation(frame.info.get("exif") or b"")
            pixels = _rgb(_shrunk(frame, view.as_stored(orientation)))
            colours = _colours(frame)
            return DecodedImage(pixels, orientation, _upright_size(*stored, orientation), *colours)
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise ImageError(
            IMAGE_BROKEN, f"{kind} cannot be decoded: its header is damaged or of an unknown kind"
        ) from None
    except Exception as fault:  # noqa: BLE001
        raise ImageError(IMAGE_BROKEN, f"{kind} cannot be decoded: {fault}") from None


def _pillow_name(kind: str) -> str:
    """Return Pillow's name of a format, and make sure that Pillow knows it; raise ImageError where it cannot."""
    if kind == "AVIF":
        from PIL import AvifImagePlugin  # noqa: PLC0415  of those who do not use it, nobody waits for it

        AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # consumers are the parallelism
    elif kind == "HEIC":
        _register_heic()
    elif kind == "TIFF":
        _silence_libtiff()
    return PILLOW_NAMES.get(kind, kind)


def _colours(image: Image.Image) -> tuple[bytes, float]:
    """Return the colour profile and the gamma that an image has."""
    profile = image.info.get("icc_profile")
    gamma = 0.0 if "srgb" in image.info else image.info.get("gamma", 0.0)
    return profile if isinstance(profile, bytes) and image.mode not in UNPROFILED else b"", gamma


def _first_shown(image: Image.Image, budget: DecodeBudget) -> Image.Image:
    """Return the first frame of an animation that is not of one colour; the first where there is none, or none whole.

    Many begin with a black or a transparent one.
    """
    if image.width * image.height > MAX_LATER_PIXELS or not _is_flat(image):
        return image
    first = image.copy()
    try:
        for number in range(1, MAX_FRAMES):
            budget.check()
            image.seek(number)
            image.load()
            if not _is_flat(image):
                return image
    except ImageError:
        raise
    except Exception:  # noqa: BLE001  the last frame, or whatever is wrong behind the first
        return first
    return first


def _is_flat(image: Image.Image) -> bool:
    """Return whether an image is of one colour or fully transparent; a few pixels of most say that it is not."""
    return all(
        all(low == high for low, high in _bands(part)) or (part.mode in WITH_ALPHA and _bands(part)[-1] == (0, 0))
        for part in map(image.resize, (SAMPLED, image.size), (Image.Resampling.NEAREST, Image.Resampling.NEAREST))
    )


def _bands(image: Image.Image) -> list[tuple[float, float]]:
    """Return the least and the largest value of each band."""
    found: Any = image.getextrema()
    return [found] if isinstance(found[0], (int, float)) else list(found)


@cache
def _register_heic() -> None:
    try:
        import pillow_heif  # noqa: PLC0415  as above; and an installation may leave it out
    except ImportError:
        raise ImageError(UNSUPPORTED_TYPE, "HEIC is not decoded here: pillow-heif is not installed") from None
    pillow_heif.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)


@cache
def _silence_libtiff() -> None:
    """Keep libtiff from writing what is wrong with an image to standard error, which is for log lines alone."""
    for path in Path(Image.__file__).parents[1].glob("pillow.libs/libtiff-*"):
        ctypes.CDLL(str(path)).TIFFSetErrorHandler(None)


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
        values = np.asarray(image)
        grey = (values.clip(0, 65_535).astype(np.uint32) + 128) // 257
        if "transparency" in image.info:
            grey[values == image.info["transparency"]] = WHITE[0]
        return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode in WITH_ALPHA or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGB", image.size, WHITE)
        ground.paste(image, mask=image.getchannel("A"))
        return np.asarray(ground)
    return np.asarray(image.convert("RGB"))
