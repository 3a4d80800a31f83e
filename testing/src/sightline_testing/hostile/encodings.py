"""One image in every way in which files store pixels.

ENCODINGS holds them by name: LOSSLESS keeps every colour, GREY every shade of the grey image, LOSSY nearly all.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial

from PIL import Image, ImageCms, ImageOps

from sightline_testing.sample_images import (
    STORED_BY_ORIENTATION,
    encode,
    exif,
    inverted_cmyk_jpeg,
    png,
    png_chunk,
    scene,
    sixteen_bit_png,
    turned_jpeg,
)

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Where the seven passes of an interlaced PNG begin, and their steps: x, y, across, down.
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


class Kind(Enum):
    """What an encoding keeps of the image."""

    LOSSLESS = "lossless"
    GREY = "grey"
    LOSSY = "lossy"


def _stored(orientation: int) -> Image.Image:
    turned = STORED_BY_ORIENTATION.get(orientation)
    return scene() if turned is None else scene().transpose(turned)


def _turned(kind: str, orientation: int, **options: object) -> bytes:
    return encode(_stored(orientation), kind, exif=exif(orientation).removeprefix(b"Exif\0\0"), **options)


def _interlaced_png() -> bytes:
    image, rows = scene(), b""
    for x, y, across, down in PASSES:
        for row in range(y, image.height, down):
            line = image.crop((0, row, image.width, row + 1)).tobytes()
            rows += b"\0" + b"".join(line[3 * at : 3 * at + 3] for at in range(x, image.width, across))
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", *image.size, 8, 2, 0, 0, 1))
    return PNG_SIGNATURE + header + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")


def _png_with(*chunks: bytes) -> bytes:
    return png(scene().size, 8, 2, scene().tobytes(), b"".join(chunks))


def _png_in_pieces() -> bytes:
    image = scene()
    rows = b"".join(b"\0" + image.crop((0, y, image.width, y + 1)).tobytes() for y in range(image.height))
    data = zlib.compress(rows)
    pieces = b"".join(png_chunk(b"IDAT", data[at : at + 5000]) for at in range(0, len(data), 5000))
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", *image.size, 8, 2, 0, 0, 0))
    return PNG_SIGNATURE + header + pieces + png_chunk(b"IEND", b"")


def _srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _top_down_bmp() -> bytes:
    content = bytearray(encode(scene().transpose(Image.Transpose.FLIP_TOP_BOTTOM), "BMP"))
    struct.pack_into("<i", content, 22, -scene().height)
    return bytes(content)


def _old_bmp() -> bytes:
    content = encode(scene(), "BMP")
    head = struct.pack("<2sIHHI", b"BM", len(content) - 28, 0, 0, 26)
    return head + struct.pack("<IHHHH", 12, *scene().size, 1, 24) + content[54:]


def _rgb_jpeg() -> bytes:
    """Red, green and blue stored as they are, as an Adobe marker declares."""
    return encode(scene(), "JPEG", quality=97, keep_rgb=True)


def _animated(kind: str, **options: object) -> bytes:
    return encode(scene(), kind, save_all=True, append_images=[ImageOps.invert(scene())], duration=50, **options)


def _opaque(image: Image.Image, mode: str) -> Image.Image:
    with_alpha = image.convert(mode)
    with_alpha.putalpha(255)
    return with_alpha


def _grey() -> Image.Image:
    return scene().convert("L")


def _depth(bits: int) -> bytes:
    out = io.BytesIO()
    scene().quantize(2**bits).save(out, "PNG", bits=bits)
    return out.getvalue()


_GAMMA = png_chunk(b"gAMA", struct.pack(">I", 45_455))
_PRIMARIES = png_chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))

LOSSLESS: Mapping[str, Callable[[], bytes]] = {
    "colour.png": lambda: encode(scene(), "PNG"),
    "stored.png": lambda: encode(scene(), "PNG", compress_level=0),
    "squeezed.png": lambda: encode(scene(), "PNG", optimize=True),
    "unfiltered.png": _png_with,
    "pieces.png": _png_in_pieces,
    "interlaced.png": _interlaced_png,
    "16_bits.png": lambda: sixteen_bit_png(grey=False),
    "opaque.png": lambda: encode(_opaque(scene(), "RGBA"), "PNG"),
    "gamma.png": lambda: _png_with(_GAMMA, _PRIMARIES),
    "profile.png": lambda: encode(scene(), "PNG", icc_profile=_srgb_profile()),
    "text.png": lambda: _png_with(png_chunk(b"tEXt", b"Comment\0cat"), png_chunk(b"tIME", bytes(range(1, 8)))),
    "tail.png": lambda: encode(scene(), "PNG") + b"tail",
    "animated.png": lambda: _animated("PNG"),
    **{f"turned_{value}.png": partial(_turned, "PNG", value) for value in range(1, 9)},
    "lossless.webp": lambda: encode(scene(), "WEBP", lossless=True),
    "lossless_opaque.webp": lambda: encode(_opaque(scene(), "RGBA"), "WEBP", lossless=True, exact=True),
    "lossless_profile.webp": lambda: encode(scene(), "WEBP", lossless=True, icc_profile=_srgb_profile()),
    "lossless_animated.webp": lambda: _animated("WEBP", lossless=True),
    **{f"turned_{value}.webp": partial(_turned, "WEBP", value, lossless=True) for value in (3, 6, 8)},
    "colour.bmp": lambda: encode(scene(), "BMP"),
    "32_bits.bmp": lambda: encode(_opaque(scene(), "RGBA"), "BMP"),
    "top_down.bmp": _top_down_bmp,
    "old.bmp": _old_bmp,
}

GREY: Mapping[str, Callable[[], bytes]] = {
    "grey.png": lambda: encode(_grey(), "PNG"),
    "grey_16_bits.png": lambda: sixteen_bit_png(grey=True),
    "grey_opaque.png": lambda: encode(_opaque(_grey(), "LA"), "PNG"),
    "grey_as_colour.png": lambda: encode(_grey().convert("RGB"), "PNG"),
    "grey_palette.png": lambda: encode(_grey().convert("P"), "PNG"),
    "grey.gif": lambda: encode(_grey(), "GIF"),
    "grey.bmp": lambda: encode(_grey(), "BMP"),
    "grey.webp": lambda: encode(_grey(), "WEBP", lossless=True),
}

LOSSY: Mapping[str, Callable[[], bytes]] = {
    "420.jpg": lambda: encode(scene(), "JPEG", quality=95, subsampling="4:2:0"),
    "422.jpg": lambda: encode(scene(), "JPEG", quality=95, subsampling="4:2:2"),
    "444.jpg": lambda: encode(scene(), "JPEG", quality=95, subsampling="4:4:4"),
    "420_progressive.jpg": lambda: encode(scene(), "JPEG", quality=95, subsampling="4:2:0", progressive=True),
    "444_progressive.jpg": lambda: encode(scene(), "JPEG", quality=95, subsampling="4:4:4", progressive=True),
    "optimized.jpg": lambda: encode(scene(), "JPEG", quality=95, optimize=True),
    "restarts.jpg": lambda: encode(scene(), "JPEG", quality=95, restart_marker_rows=1),
    "profile.jpg": lambda: encode(scene(), "JPEG", quality=95, icc_profile=_srgb_profile()),
    "commented.jpg": lambda: encode(scene(), "JPEG", quality=95, comment=b"cat"),
    "rgb.jpg": _rgb_jpeg,
    "cmyk_inverted.jpg": inverted_cmyk_jpeg,
    "ycck.jpg": lambda: inverted_cmyk_jpeg(transform=2),
    **{f"turned_{value}.jpg": partial(turned_jpeg, value) for value in range(1, 9)},
    "turned_6_motorola.jpg": lambda: turned_jpeg(6, byte_order=">"),
    "lossy.webp": lambda: encode(scene(), "WEBP", quality=95),
    "palette.png": lambda: _depth(8),
    "palette.gif": lambda: encode(scene(), "GIF"),
    "animated.gif": lambda: _animated("GIF"),
    "palette.bmp": lambda: encode(scene().quantize(256), "BMP"),
}

ENCODINGS: Mapping[str, tuple[Kind, Callable[[], bytes]]] = {
    **{name: (Kind.LOSSLESS, make) for name, make in LOSSLESS.items()},
    **{name: (Kind.GREY, make) for name, make in GREY.items()},
    **{name: (Kind.LOSSY, make) for name, make in LOSSY.items()},
}
