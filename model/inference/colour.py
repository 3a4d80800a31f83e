"""Colours as sRGB has them, of pixels that a colour profile or a gamma describes otherwise.

A model's input is converted rather than the whole image: it is small, and the labels are the same.
"""

import hashlib
import io
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from inference.arrays import Pixels

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform

# Matrix profiles take a few hundred bytes, those with tables up to a megabyte. What is larger is passed over.
MIN_PROFILE_BYTES, MAX_PROFILE_BYTES = 128, 2 * 1024**2
RGB, SPACE_AT = b"RGB ", 16
DIGEST_BYTES = 16
MAX_KNOWN = 16
# Levels of each channel in what a profile is tried on, and how far from itself the result may be for one like sRGB.
LEVELS, MAX_DIFFERENCE = (0, 36, 73, 109, 146, 182, 219, 255), 3
SRGB_GAMMA, MIN_GAMMA, MAX_GAMMA, GAMMA_TOLERANCE = 1 / 2.2, 0.05, 5.0, 0.05

_known: "OrderedDict[bytes, ImageCmsTransform | None]" = OrderedDict()
_lock = threading.Lock()


def to_srgb(pixels: Pixels, profile: bytes, gamma: float) -> None:
    """Convert pixels in place by a profile, or by a gamma where there is none; 0 is none, and so is what is broken."""
    if profile:
        transform = _transform(profile)
        if transform is not None:
            pixels[...] = _applied(transform, pixels)
    elif gamma and MIN_GAMMA <= gamma <= MAX_GAMMA and abs(gamma / SRGB_GAMMA - 1) > GAMMA_TOLERANCE:
        levels = np.linspace(0, 1, 256) ** (SRGB_GAMMA / gamma)
        cv2.LUT(pixels, (levels * 255).round().astype(np.uint8), dst=pixels)


def _transform(profile: bytes) -> "ImageCmsTransform | None":
    """Return what converts from a profile to sRGB; None for one that is like sRGB, or that cannot be used.

    The latest ones are known by their digest: nearly all images have one of a few.
    """
    digest = hashlib.blake2b(profile, digest_size=DIGEST_BYTES).digest()
    with _lock:
        if digest in _known:
            _known.move_to_end(digest)
            return _known[digest]
    transform = _made(profile)
    with _lock:
        _known[digest] = transform
        if len(_known) > MAX_KNOWN:
            _known.popitem(last=False)
    return transform


def _made(profile: bytes) -> "ImageCmsTransform | None":
    if not MIN_PROFILE_BYTES <= len(profile) <= MAX_PROFILE_BYTES or profile[SPACE_AT : SPACE_AT + 4] != RGB:
        return None
    from PIL import ImageCms  # noqa: PLC0415  of those whose images are all of sRGB, nobody waits for it

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
        transform = ImageCms.buildTransform(source, target, "RGB", "RGB", intent, flags)
        grid = np.stack(np.meshgrid(LEVELS, LEVELS, LEVELS), -1).reshape(1, -1, 3).astype(np.uint8)
        difference = np.abs(_applied(transform, grid).astype(int) - grid).max()
    except Exception:  # noqa: BLE001  whatever littleCMS trips over, the image is looked at without its profile
        return None
    return transform if difference > MAX_DIFFERENCE else None


def _applied(transform: "ImageCmsTransform", pixels: Pixels) -> Pixels:
    from PIL import ImageCms  # noqa: PLC0415  as above

    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(ImageCms.applyTransform(image, transform))
