"""A picture's bytes to pixels: one function for every format, checked by its header before anything is decoded."""

import math
import threading
from contextlib import nullcontext
from dataclasses import dataclass

import simplejpeg

from inference import containers, exif, jpeg_header, pillow_pixels
from inference.arrays import Pixels
from inference.decode_budget import DecodeBudget
from inference.errors import IMAGE_BROKEN, UNSUPPORTED_TYPE, ImageError
from inference.jpeg_header import JpegHeader
from inference.limits import check_bytes, check_size, is_large
from inference.view import View

SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
)
# What libjpeg-turbo warns of although the picture is whole, and a sampling that simplejpeg does not take: Pillow reads
# these, and refuses what is cut off all the same. Every other warning means that pixels are missing.
TOLERATED = ("extraneous bytes", "unknown JFIF", "Unknown Adobe", "Invalid SOS parameters", "subsampling level")
# 25 megapixels take up to 400 MB while they are decoded (WebP; 230 MB others): two at a time, however many lanes, so
# that an expensive image holds up no other large one.
_few_large = threading.BoundedSemaphore(2)


@dataclass(frozen=True, slots=True)
class Picture:
    """What the view shows of a picture as it is stored, and the EXIF orientation in which to look at it."""

    pixels: Pixels
    orientation: int


def kind_of(content: bytes) -> str:
    """JPEG, PNG, GIF, BMP or WEBP by the first bytes; names and declared types are not asked."""
    for signature, kind in SIGNATURES:
        if content.startswith(signature):
            return kind
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "WEBP"
    raise ImageError(UNSUPPORTED_TYPE, f"begins with {content[:8]!r}; JPEG, PNG, GIF, WebP and BMP are taken")


def decode(content: bytes, view: View, budget_s: float = math.inf) -> Picture:
    """The pixels that the view shows, in RGB; large pictures come scaled down, never below what the view wants.

    An image that takes more than `budget_s` of this thread's processor time is given up, wherever its decoder can be
    interrupted: ImageError.
    """
    check_bytes(len(content))
    kind, budget = kind_of(content), DecodeBudget(budget_s)
    return _decode_jpeg(content, view, budget) if kind == "JPEG" else _decode_other(kind, content, view, budget)


def upright_size(content: bytes) -> tuple[int, int]:
    """Width and height of a picture as it is meant to be seen; its header is all that is read."""
    check_bytes(len(content))
    kind = kind_of(content)
    if kind == "JPEG":
        header = jpeg_header.read(content)
        (width, height), orientation = (header.width, header.height), header.orientation
    else:
        (width, height), first_picture = containers.first_picture(kind, content)
        orientation = pillow_pixels.orientation(kind, first_picture)
    return (height, width) if exif.is_turned(orientation) else (width, height)


def _decode_jpeg(content: bytes, view: View, budget: DecodeBudget) -> Picture:
    header = jpeg_header.read(content)
    # Several scans: every coefficient of the picture is held until the last of them.
    is_whole = not header.is_single_scan or view.takes_single_pixels
    is_alone = is_whole and is_large(header.width, header.height)
    with _few_large if is_alone else nullcontext():
        return _decode_scans(header, content, view, budget)


def _decode_scans(header: JpegHeader, content: bytes, view: View, budget: DecodeBudget) -> Picture:
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
        return Picture(*pillow_pixels.decode("JPEG", content, view, budget))
    left, top, right, bottom = view.box(pixels.shape[1], pixels.shape[0])
    return Picture(pixels[top:bottom, left:right], header.orientation)


def _decode_other(kind: str, content: bytes, view: View, budget: DecodeBudget) -> Picture:
    size, first_picture = containers.first_picture(kind, content, budget)
    check_size(*size)
    with _few_large if is_large(*size) else nullcontext():
        return Picture(*pillow_pixels.decode(kind, first_picture, view, budget))
