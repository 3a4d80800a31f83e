"""Test images made by code: none is stored here, and the one photograph comes with PyWavelets (CC0).

GOOD and BAD hold them by file name. Every good image shows `scene()`, so that the label of one of them is
the label of all; every bad one has the failure code (see wire's Failure) with which it must be refused.
"""

import io
import math
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageOps

UNSUPPORTED_TYPE = "unsupported_type"
IMAGE_TOO_LARGE = "image_too_large"
IMAGE_BROKEN = "image_broken"

SCENE_LABEL = "analog_clock"  # what the default model calls the scene
PHOTOGRAPH_LABEL = "tripod"
WALL = (200, 180, 150)
ORIENTATION_TAG = 0x0112
# How to store an upright image so that the EXIF orientation turns it back.
STORED_BY_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
# Options of the encoder that takes a fifth of the usual time.
FAST_HEIC: Mapping[str, Any] = {"enc_params": {"preset": "ultrafast"}, "quality": 95}
RESTART_ROWS = 8  # restart markers are numbered modulo 8
MARKER = re.compile(rb"\xff[^\0\xd0-\xd7]", re.DOTALL)  # of a segment of a JPEG
# Wider scenes are made of coarse shades at a part of the size, and of fine ones.
LARGE_SIDE, COARSE, FINE_OCTAVES = 1_024, 4, 2
TILE_WIDTH = 4_096


@dataclass(frozen=True, slots=True)
class Upload:
    """The name and the bytes of an upload; `code` is why it must be refused, empty for a good one."""

    file_name: str
    content: bytes
    code: str = ""


@cache
def scene(width: int = 480, height: int = 360, seed: int = 1) -> Image.Image:
    """A clock on a wall, with the statistics of a photograph: coarse shades, fine grain, edges, no symmetry."""
    draw_number = random.Random(seed)  # noqa: S311 -- images, not secrets
    image = Image.new("RGB", (width, height), WALL)
    octaves = width.bit_length() - 4
    if width > LARGE_SIDE:  # coarse shades need few pixels
        image = image.resize((width // COARSE, height // COARSE))
    for octave in range(1, octaves + 1):
        if width > LARGE_SIDE and octave == octaves - FINE_OCTAVES + 1:
            image = image.resize((width, height), Image.Resampling.BICUBIC)
        cells = (2**octave * 2, 2**octave)
        noise = Image.frombytes("RGB", cells, draw_number.randbytes(cells[0] * cells[1] * 3))
        image = Image.blend(image, noise.resize(image.size, Image.Resampling.BICUBIC), 0.12)
    _draw_clock(ImageDraw.Draw(image), width * 0.49, height / 2, height * 0.4)
    return image


def _draw_clock(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float) -> None:
    def ray(angle: float, start: float, end: float, thickness: float) -> None:
        across, down = math.sin(angle) * radius, -math.cos(angle) * radius
        line = (x + across * start, y + down * start, x + across * end, y + down * end)
        draw.line(line, fill=(10, 10, 10), width=max(1, round(thickness * radius)))

    draw.circle((x, y), radius, fill=(90, 50, 20))
    draw.circle((x, y), radius * 0.9, fill=(250, 250, 245))
    for minute in range(60):
        is_hour = minute % 5 == 0
        ray(minute * math.pi / 30, 0.74 if is_hour else 0.82, 0.87, 0.035 if is_hour else 0.008)
    ray(math.radians(48), 0, 0.5, 0.065)
    ray(math.radians(-18), 0, 0.72, 0.043)
    draw.circle((x, y), radius * 0.06, fill=(180, 20, 20))


@cache
def photograph() -> Image.Image:
    """A real photograph, grey, 512 by 512: a man behind a camera on a tripod."""
    package = find_spec("pywt")
    if package is None or package.origin is None:
        raise LookupError("the photograph is part of PyWavelets, which is not installed: see requirements/dev.in")
    with zipfile.ZipFile(Path(package.origin).with_name("data") / "camera.npz") as archive:
        array = archive.read(archive.namelist()[0])
    return Image.frombytes("L", (512, 512), array[-512 * 512 :])


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The image as the bytes of a file of this kind, by Pillow."""
    if kind == "HEIF":
        import pillow_heif  # noqa: PLC0415  most tests need none

        pillow_heif.register_heif_opener()
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def jpeg(width: int = 480, height: int = 360, *, seed: int = 1, **options: Any) -> bytes:
    """A JPEG of a scene; another seed is another image."""
    return encode(scene(width, height, seed), "JPEG", **{"quality": 90, **options})


@lru_cache(maxsize=8)
def large_jpeg(width: int, height: int, *, quality: int = 85) -> bytes:
    """A baseline JPEG of many megapixels, made fast: one encoded strip, repeated between restart markers."""
    strip_height = 16 * RESTART_ROWS
    drawn = Image.new("RGB", (width, strip_height))
    tile = scene(min(width, TILE_WIDTH), strip_height)
    for left in range(0, width, tile.width):
        drawn.paste(tile, (left, 0))
    strip = encode(drawn, "JPEG", quality=quality, subsampling="4:2:0", restart_marker_rows=1)
    scan_starts = _segments(strip)[-1][2]
    head, scan = bytearray(strip[:scan_starts]), strip[scan_starts:-2]
    count = -(-height // strip_height)
    frame = next(start for marker, start, _ in _segments(strip) if marker == 0xC0)
    struct.pack_into(">H", head, frame + 5, count * strip_height)
    return bytes(head) + b"\xff\xd7".join([scan] * count) + b"\xff\xd9"


def many_scans_jpeg(scans: int, width: int = 480, height: int = 360) -> bytes:
    """A progressive JPEG with a chosen number of scans: small in bytes, dear to decode."""
    content = jpeg(width, height, progressive=True)
    scan_segments = [(start, end) for marker, start, end in _segments(content) if marker == 0xDA]
    first, second = scan_segments[0][0], scan_segments[1][0]
    tables_start = next(end for marker, _, end in _segments(content) if marker in (0xC0, 0xC2))
    repeated = content[tables_start:second] if tables_start < first else content[first:second]
    return content[:tables_start] + repeated * (scans - len(scan_segments) + 1) + content[second:]


def turned_jpeg(orientation: int, *, byte_order: str = "<") -> bytes:
    """A JPEG stored turned, with the EXIF orientation that puts it upright."""
    stored = scene()
    if orientation in STORED_BY_ORIENTATION:
        stored = stored.transpose(STORED_BY_ORIENTATION[orientation])
    return encode(stored, "JPEG", quality=95, subsampling="4:4:4", exif=exif(orientation, byte_order=byte_order))


def exif(orientation: int, *, byte_order: str = "<") -> bytes:
    """An EXIF block that holds the orientation alone."""
    mark = b"II" if byte_order == "<" else b"MM"
    entry = struct.pack(f"{byte_order}HHIHH", ORIENTATION_TAG, 3, 1, orientation, 0)
    return b"Exif\0\0" + mark + struct.pack(f"{byte_order}HIH", 42, 8, 1) + entry + struct.pack(f"{byte_order}I", 0)


def inverted_cmyk_jpeg(*, transform: int = 0) -> bytes:
    """A CMYK JPEG as Adobe writes it: inverted; `transform=2` is YCCK, whose first three channels are YCbCr."""
    cyan, magenta, yellow = ImageOps.invert(scene()).split()
    black = Image.new("L", scene().size, 0)
    if transform == 2:
        # YCCK stores CMY as if it were RGB, turned to YCbCr; Pillow inverts what it writes, so undo that first.
        stored = ImageOps.invert(scene()).convert("YCbCr").split()
        cyan, magenta, yellow = (ImageOps.invert(channel) for channel in stored)
    content = encode(Image.merge("CMYK", [cyan, magenta, yellow, black]), "JPEG", quality=95)
    adobe = content.index(b"Adobe")
    return content[: adobe + 11] + bytes([transform]) + content[adobe + 12 :]


def png(size: tuple[int, int], depth: int, colour: int, rows: bytes, chunks: bytes = b"", filtering: int = 0) -> bytes:  # noqa: PLR0913, PLR0917  what a PNG is made of
    """A PNG from raw rows without filter bytes: for depths that Pillow does not write."""
    stride = len(rows) // size[1]
    filtered = b"".join(bytes((filtering,)) + rows[at : at + stride] for at in range(0, len(rows), stride))
    return _png_of(size, depth, colour, zlib.compress(filtered, 6), chunks)


def deep_png() -> bytes:
    """A black PNG of 5,000 by 5,000 pixels with 16 bits a channel: of its 200 MB of rows, a tenth is compressed."""
    side, pieces = 5_000, 10
    rows = bytes((1 + 8 * side) * (side // pieces))
    packer = zlib.compressobj(6, wbits=-zlib.MAX_WBITS)
    piece = packer.compress(rows) + packer.flush(zlib.Z_FULL_FLUSH)
    check_sum = 1
    for _ in range(pieces):
        check_sum = zlib.adler32(rows, check_sum)
    end_of_data = b"\x03\x00"
    data = b"\x78\x9c" + piece * pieces + end_of_data + struct.pack(">I", check_sum)
    return _png_of((side, side), 16, 6, data)


def _png_of(size: tuple[int, int], depth: int, colour: int, data: bytes, chunks: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    body = chunks + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + body


def png_chunk(kind: bytes, payload: bytes) -> bytes:
    """One PNG chunk with length and check sum."""
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def run_length_bmp(width: int, height: int, runs: bytes, bits: int = 8) -> bytes:
    """A BMP of runs of 8 or 4 bits a pixel, with a palette of greys."""
    palette = b"".join(bytes((255 * each // (2**bits - 1),) * 3) + b"\0" for each in range(2**bits))
    at = 54 + len(palette)
    file = struct.pack("<2sIHHI", b"BM", at + len(runs), 0, 0, at)
    compression = 1 if bits == 8 else 2
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(runs), 0, 0, 0, 0)
    return file + header + palette + runs


def sixteen_bit_png(*, grey: bool) -> bytes:
    """The scene with 16 bits a channel."""
    image = scene().convert("L") if grey else scene()
    samples = b"".join(bytes((value, value)) for value in image.tobytes())
    return png(image.size, 16, 0 if grey else 2, samples)


def transparent(mode: str = "RGBA") -> Image.Image:
    """The scene on white with its corner fully transparent, where a loud hidden colour lies."""
    image = scene().convert(mode)
    hidden = Image.new("L", image.size, 255)
    hidden.paste(0, (0, 0, image.width // 4, image.height // 4))
    loud = Image.new(mode[:-1], image.size, 255 if mode == "LA" else (255, 0, 255))
    image.paste(loud.convert(mode), mask=ImageOps.invert(hidden))
    image.putalpha(hidden)
    return image


@cache
def indexed_scene() -> Image.Image:
    """The scene in the first 255 of 256 colours: choosing them takes a hundred times as long as encoding."""
    indexed = scene().quantize(255)
    indexed.putpalette([*(indexed.getpalette() or [])[: 3 * 255], 255, 0, 255])
    return indexed


def palette_with_transparency() -> bytes:
    """A palette PNG whose transparent colour is hidden in a tRNS chunk."""
    image = indexed_scene().copy()
    image.paste(255, (0, 0, image.width // 4, image.height // 4))
    return encode(image, "PNG", transparency=255)


def animation(kind: str) -> bytes:
    """Three frames, the scene first."""
    first, inverted = scene(), ImageOps.invert(scene())
    if kind == "GIF":
        first, inverted = indexed_scene(), indexed_scene().copy()
        inverted.putpalette([255 - value for value in first.getpalette() or []])
    return encode(first, kind, save_all=True, append_images=[inverted, ImageOps.mirror(first)], duration=50)


def _segments(content: bytes) -> list[tuple[int, int, int]]:
    """Marker, start and end of each JPEG segment; the entropy data after an SOS is skipped over."""
    found, at = [], 2
    while content[at + 1] != 0xD9:
        length = struct.unpack_from(">H", content, at + 2)[0]
        found.append((content[at + 1], at, at + 2 + length))
        at = next(MARKER.finditer(content, at + 2 + length)).start()
    return found


def _large_png(width: int, height: int) -> bytes:
    return png((width, height), 8, 0, bytes(width * height))


def _broken_exif() -> bytes:
    return encode(scene(), "JPEG", quality=95, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")


def _flat_webp(width: int, height: int) -> bytes:
    return encode(Image.new("L", (width, height)), "WEBP", lossless=True, method=0)


_GOOD: Mapping[str, Callable[[], bytes]] = {
    "baseline.jpg": jpeg,
    "progressive.jpeg": lambda: jpeg(progressive=True),
    "full_chroma.jpg": lambda: jpeg(subsampling="4:4:4"),
    "grey.jpg": lambda: encode(scene().convert("L"), "JPEG", quality=95),
    "cmyk_inverted.jpg": inverted_cmyk_jpeg,
    "ycck.jpg": lambda: inverted_cmyk_jpeg(transform=2),
    "with_script_tail.jpg": lambda: jpeg() + b"<script>alert(1)</script>",
    "with_broken_exif.jpg": _broken_exif,
    "exif_turned.jpg": lambda: turned_jpeg(6),
    "colour.png": lambda: encode(scene(), "PNG"),
    "grey.png": lambda: encode(scene().convert("L"), "PNG"),
    "grey_16_bit.png": lambda: sixteen_bit_png(grey=True),
    "colour_16_bit.png": lambda: sixteen_bit_png(grey=False),
    "palette.png": lambda: encode(indexed_scene(), "PNG"),
    "palette_transparent.png": palette_with_transparency,
    "transparent.png": lambda: encode(transparent(), "PNG"),
    "grey_transparent.png": lambda: encode(transparent("LA"), "PNG"),
    "one_bit.png": lambda: encode(scene().convert("1"), "PNG"),
    "still.gif": lambda: encode(indexed_scene(), "GIF"),
    "animated.gif": lambda: animation("GIF"),
    "lossy.webp": lambda: encode(scene(), "WEBP", quality=90),
    "lossless.webp": lambda: encode(scene(), "WEBP", lossless=True),
    "transparent.webp": lambda: encode(transparent(), "WEBP", lossless=True),
    "animated.webp": lambda: animation("WEBP"),
    "colour.bmp": lambda: encode(scene(), "BMP"),
    "palette.bmp": lambda: encode(indexed_scene(), "BMP"),
    "one_bit.bmp": lambda: encode(scene().convert("1"), "BMP"),
    "phone.heic": lambda: encode(scene(), "HEIF", tile_size=256, **FAST_HEIC),
    "colour.avif": lambda: encode(scene(), "AVIF", speed=10, quality=90),
    "packed.tiff": lambda: encode(scene(), "TIFF", compression="tiff_lzw"),
}

_BAD: Mapping[str, tuple[str, Callable[[], bytes]]] = {
    "text.jpg": (UNSUPPORTED_TYPE, lambda: b"this is no image\n" * 40),
    "vector.png": (UNSUPPORTED_TYPE, lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>'),
    "postscript.png": (UNSUPPORTED_TYPE, lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
    "floats.jpg": (UNSUPPORTED_TYPE, lambda: encode(scene().convert("F"), "TIFF")),
    "truncated.heic": (IMAGE_BROKEN, lambda: encode(scene(), "HEIF", **FAST_HEIC)[:-4000]),
    "truncated.avif": (IMAGE_BROKEN, lambda: encode(scene(), "AVIF", speed=10)[:-4000]),
    "truncated.jpg": (IMAGE_BROKEN, lambda: jpeg()[: len(jpeg()) * 9 // 10]),
    "truncated_progressive.jpg": (IMAGE_BROKEN, lambda: jpeg(progressive=True)[:-3000]),
    "header_only.jpg": (IMAGE_BROKEN, lambda: jpeg()[:20]),
    "truncated.png": (IMAGE_BROKEN, lambda: encode(scene(), "PNG")[:-4000]),
    "truncated.gif": (IMAGE_BROKEN, lambda: encode(indexed_scene(), "GIF")[:-4000]),
    "truncated.webp": (IMAGE_BROKEN, lambda: encode(scene(), "WEBP")[:-4000]),
    "truncated.bmp": (IMAGE_BROKEN, lambda: encode(scene(), "BMP")[:-4000]),
    "thin.png": (IMAGE_TOO_LARGE, lambda: _large_png(1, 30_000)),
    "aspect.png": (IMAGE_TOO_LARGE, lambda: _large_png(20, 1_100)),
    "wide.bmp": (IMAGE_TOO_LARGE, lambda: encode(Image.new("1", (12_100, 400)), "BMP")),
    "30_megapixels.png": (IMAGE_TOO_LARGE, lambda: _large_png(6_000, 5_000)),
    "30_megapixels.webp": (IMAGE_TOO_LARGE, lambda: _flat_webp(6_000, 5_000)),
    "110_megapixels.jpg": (IMAGE_TOO_LARGE, lambda: large_jpeg(11_000, 10_000)),
    "1000_scans.jpg": (IMAGE_TOO_LARGE, lambda: many_scans_jpeg(1_000)),
}

GOOD_NAMES = tuple(_GOOD)
BAD_NAMES = tuple(_BAD)


@cache
def good(file_name: str) -> Upload:
    """The good image of this name (see GOOD_NAMES)."""
    return Upload(file_name, _GOOD[file_name]())


@cache
def bad(file_name: str) -> Upload:
    """The bad image of this name (see BAD_NAMES) with the code it is refused with."""
    code, make = _BAD[file_name]
    return Upload(file_name, make(), code)
