"""Previews: stored images as small JPEGs, for browsers that cannot show the formats of phones and scanners."""

import numpy as np
import simplejpeg
from PIL import Image

import settings
from inference.colour import to_srgb
from inference.decode import View, decode
from inference.preprocessing import upright

QUALITY = 80
# Averages of whole pixels come first, which is faster and gives the same result.
REDUCING_GAP = 2.0


def draw(content: bytes, side: int) -> bytes:
    """Return an upright image in sRGB as a JPEG whose sides are at most so many pixels long; raise ImageError."""
    image = decode(content, View(side, side, None), settings.DECODE_BUDGET_S)
    # Not that of the pixels: each side of them may have been scaled down by itself.
    width, height = image.size
    scale = min(1.0, side / max(width, height))
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    decoded = Image.fromarray(np.ascontiguousarray(upright(image.pixels, image.orientation)))
    pixels = np.array(decoded.resize(size, Image.Resampling.LANCZOS, reducing_gap=REDUCING_GAP))
    if image.profile or image.gamma:
        to_srgb(pixels, image.profile, image.gamma)
    return bytes(simplejpeg.encode_jpeg(pixels, QUALITY))
