"""Decoding by Pillow: every format but plain JPEG, and every mode of pixel turned to RGB as it is meant to be seen."""

import io
import warnings

import numpy as np
from PIL import Image

from inference import exif
from inference.arrays import Pixels
from inference.decode_budget import UNLIMITED, BudgetedFile, DecodeBudget
from inference.errors import IMAGE_BROKEN, ImageError
from inference.limits import MAX_SCALED_PIXELS
from inference.view import View

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


def decode(kind: str, content: bytes, view: View, budget: DecodeBudget = UNLIMITED) -> tuple[Pixels, int]:
    """RGB pixels of what the view shows of the first frame, and the EXIF orientation; the size has been checked.

    The budget is checked whenever Pillow reads on. WebP is read at once, so its header alone bounds what it takes.
    """
    # Whatever a decoder trips over in hostile bytes is the picture's fault: Pillow raises ten kinds of exceptions.
    try:
        with Image.open(BudgetedFile(content, budget), formats=(kind,)) as picture:
            _check_size(picture)
            if kind == "PNG":
                picture.decodermaxblock = min(max(len(content) // PNG_BLOCKS, LEAST_PNG_BLOCK), LARGEST_PNG_BLOCK)
            factor = view.jpeg_factor(*picture.size)
            picture.draft("RGB", (picture.width // factor, picture.height // factor))
            picture.load()
            turned = exif.orientation(picture.info.get("exif", b""))
            return _rgb(_shrunk(picture, view.as_stored(turned))), turned
    except (ImageError, MemoryError):
        raise
    except Exception as fault:  # noqa: BLE001
        raise ImageError(IMAGE_BROKEN, f"{kind} cannot be decoded: {fault}") from None


def orientation(kind: str, content: bytes) -> int:
    """The EXIF orientation that stands before the pixels; upright where there is none."""
    try:
        with Image.open(io.BytesIO(content), formats=(kind,)) as picture:
            return exif.orientation(picture.info.get("exif", b""))
    except Exception as fault:  # noqa: BLE001  as above
        raise ImageError(IMAGE_BROKEN, f"{kind} cannot be read: {fault}") from None


def _check_size(picture: Image.Image) -> None:
    """Raise ImageError where Pillow finds more pixels in a file than its header was checked for."""
    if picture.width * picture.height > MAX_SCALED_PIXELS:
        raise ImageError(IMAGE_BROKEN, f"{picture.width}x{picture.height} pixels are a decompression bomb")


def _shrunk(picture: Image.Image, view: View) -> Image.Image:
    """What the view shows, averaged down to twice the pixels it wants before any further copy is made."""
    box = view.box(*picture.size)
    is_averaged = picture.mode in AVERAGED and "transparency" not in picture.info
    if is_averaged and not view.takes_single_pixels and view.shrinkage(*picture.size) > 2:
        return picture.resize((2 * view.width, 2 * view.height), Image.Resampling.BOX, box)
    return picture.crop(box)


def _rgb(picture: Image.Image) -> Pixels:
    if picture.mode in SIXTEEN_BIT_GREY:
        # Pillow's own conversion saturates: every value above 255 of 65535 would be white.
        grey = (np.asarray(picture).clip(0, 65_535).astype(np.uint32) + 128) // 257
        return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)
    if picture.mode in WITH_ALPHA or "transparency" in picture.info:
        return np.asarray(_on_white(picture.convert("RGBA")))
    return np.asarray(picture.convert("RGB"))


def _on_white(picture: Image.Image) -> Image.Image:
    ground = Image.new("RGB", picture.size, WHITE)
    ground.paste(picture, mask=picture.getchannel("A"))
    return ground
