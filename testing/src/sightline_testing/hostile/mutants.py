"""Images broken by chance: mutant number n of a seed number is the same bytes on every machine.

Half of them are mended where a format guards itself (PNG check sums, RIFF lengths), so that they get past the door and
into the decoders.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from PIL import Image

from sightline_testing.sample_images import (
    FAST_HEIC,
    encode,
    png,
    scene,
    sixteen_bit_png,
    transparent,
    turned_jpeg,
)

SIZE = (96, 72)
INTERESTING = (0, 1, 2, 7, 8, 15, 16, 0x7F, 0x80, 0xD8, 0xD9, 0xDA, 0xFE, 0xFF)
# The limits' neighbours, powers of two and their neighbours, and the largest of each width.
WIDE = (0, 1, 255, 256, 5000, 5001, 11_999, 12_000, 12_001, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF)
HEAD_BYTES = 80
# The boxes of a HEIC, and those of an AVIF.
BOXES_BYTES = 600
MAX_EDITS = 16
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

Edit = Callable[[bytearray, random.Random], None]


@cache
def seeds() -> Mapping[str, bytes]:
    """One small image of each of the eight ways in which pixels are stored, by name."""
    image = scene(*SIZE)
    return {
        "baseline.jpg": encode(image, "JPEG", quality=85),
        "progressive.jpg": encode(image, "JPEG", quality=85, progressive=True),
        "colour.png": encode(image, "PNG"),
        "palette.png": encode(image.quantize(64), "PNG", transparency=3),
        "still.gif": encode(image, "GIF"),
        "lossy.webp": encode(image, "WEBP", quality=80),
        "lossless.webp": encode(image.convert("RGBA"), "WEBP", lossless=True),
        "colour.bmp": encode(image, "BMP"),
    }


@cache
def other_seeds(kind: str) -> tuple[bytes, ...]:
    """Small images of one of the kinds HEIC, AVIF and TIFF, in the ways in which it stores pixels."""
    image, clear = scene(*SIZE), transparent().resize(SIZE)
    more: dict[str, Any] = {"save_all": True, "append_images": [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]}
    if kind == "TIFF":
        packed = ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", None)
        coloured = [encode(image, kind, compression=each, **more) for each in packed]
        return (
            *coloured,
            encode(image.convert("1"), kind, compression="packbits"),
            encode(image.quantize(64), kind, compression="tiff_lzw", tiffinfo={317: 2}),
            encode(clear, kind, compression="tiff_adobe_deflate"),
            encode(image.convert("L").convert("I;16"), kind, big_endian=True),
        )
    name, fast = ("HEIF", FAST_HEIC) if kind == "HEIC" else ("AVIF", {"speed": 10})
    options = {**fast, "quality": 70}
    tiles: dict[str, Any] = {"tile_size": 64} if kind == "HEIC" else {}
    grey = image.convert("L")
    variants: list[tuple[Image.Image, dict[str, Any]]] = [(image, {}), (image, tiles), (clear, {}), (grey, {})]
    return tuple(encode(each, name, **options, **extra) for each, extra in [*variants, (image, more)])


@cache
def _relatives() -> tuple[bytes, ...]:
    """Images of rarer kinds, which some mutants begin with instead."""
    image = scene(*SIZE)
    frames = [image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    return (
        png((4, 4), 16, 0, bytes(range(32))),
        sixteen_bit_png(grey=True)[:4096],
        turned_jpeg(6)[:6000],
        encode(image.convert("CMYK"), "JPEG", quality=85),
        encode(image.convert("L"), "JPEG", quality=85, restart_marker_rows=1),
        encode(image.convert("LA"), "PNG"),
        encode(image.convert("1"), "PNG"),
        encode(image.convert("1"), "BMP"),
        encode(image.quantize(16), "BMP"),
        encode(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        encode(frames[0], "WEBP", save_all=True, append_images=frames[1:], quality=50),
    )


def mutant(number: int, *, seed: int = 0, kind: str = "") -> bytes:
    """The bytes of one mutant; the formats take turns, or the images of one kind of `other_seeds`."""
    draw = random.Random(f"{seed}:{number}")  # noqa: S311  the same on every machine, not secret
    originals = other_seeds(kind) if kind else tuple(seeds().values())
    original = originals[number % len(originals)]
    if draw.random() < 0.1 and not kind:
        original = draw.choice(_relatives())
    content = bytearray(original)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 5, MAX_EDITS))):
        draw.choice(_EDITS)(content, draw)
    return _mended(bytes(content)) if draw.random() < 0.5 else bytes(content)


def _place(content: bytearray, draw: random.Random, width: int = 1) -> int:
    """A position, in the header as often as anywhere."""
    end = max(len(content) - width, 0)
    head = BOXES_BYTES if content[4:8] == b"ftyp" else HEAD_BYTES
    return draw.randint(0, min(end, head) if draw.random() < 0.5 else end)


def _flip_bit(content: bytearray, draw: random.Random) -> None:
    if content:
        content[_place(content, draw, 1)] ^= 1 << draw.randrange(8)


def _set_byte(content: bytearray, draw: random.Random) -> None:
    if content:
        content[_place(content, draw, 1)] = draw.choice((*INTERESTING, draw.randrange(256)))


def _set_number(content: bytearray, draw: random.Random) -> None:
    form, width = draw.choice(((">H", 2), ("<H", 2), (">I", 4), ("<I", 4)))
    if len(content) >= width:
        struct.pack_into(form, content, _place(content, draw, width), draw.choice(WIDE) & (256**width - 1))


def _cut(content: bytearray, draw: random.Random) -> None:
    del content[_place(content, draw) :]


def _remove(content: bytearray, draw: random.Random) -> None:
    at = _place(content, draw)
    del content[at : at + draw.choice((1, 2, 4, 12, 64, 500))]


def _repeat(content: bytearray, draw: random.Random) -> None:
    at = _place(content, draw)
    piece = content[at : at + draw.choice((1, 4, 20, 200, 1000))]
    content[at:at] = piece * draw.choice((1, 1, 2, 30))


def _insert_noise(content: bytearray, draw: random.Random) -> None:
    at = _place(content, draw)
    content[at:at] = draw.randbytes(draw.choice((1, 3, 16, 300)))


def _splice(content: bytearray, draw: random.Random) -> None:
    other = draw.choice((*seeds().values(), *_relatives()))
    at, begin = _place(content, draw), draw.randrange(len(other))
    content[at : at + draw.choice((0, 50, 5000))] = other[begin : begin + draw.choice((8, 100, 3000))]


_EDITS: tuple[Edit, ...] = (
    *(_flip_bit, _set_byte, _set_byte, _set_number, _set_number),
    *(_cut, _remove, _repeat, _splice, _insert_noise),
)


def _mended(content: bytes) -> bytes:
    """The same with the guards of its format put right."""
    if content.startswith(PNG_SIGNATURE):
        return _with_check_sums(content)
    if content[:4] == b"RIFF":
        return content[:4] + struct.pack("<I", max(len(content) - 8, 0)) + content[8:]
    return content


def _with_check_sums(content: bytes) -> bytes:
    pieces, at = [PNG_SIGNATURE], len(PNG_SIGNATURE)
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        end = at + 8 + length
        if end + 4 > len(content):
            break
        pieces += [content[at:end], struct.pack(">I", zlib.crc32(content[at + 4 : end]))]
        at = end + 4
    return b"".join([*pieces, content[at:]])
