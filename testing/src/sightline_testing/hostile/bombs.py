"""Small files that are dear to decode, or pretend to be large; each with the status and the code it is answered with.

REFUSED and HARMLESS hold them by name: the harmless ones are answered, since their expensive part is never read.
Those that are answered at their price are in sightline_testing.hostile.expensive.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

from PIL import Image

from sightline_testing.hostile import jpegs
from sightline_testing.odd_files.phones import patched, with_size
from sightline_testing.sample_images import (
    FAST_HEIC,
    encode,
    jpeg,
    large_jpeg,
    many_scans_jpeg,
    png,
    png_chunk,
    run_length_bmp,
    scene,
)

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
BROKEN, LARGE = (422, "image_broken"), (422, "image_too_large")
UNSUPPORTED, TOO_MANY_BYTES = (415, "unsupported_type"), (413, "too_large")
MEGABYTES = 1024**2
MAX_UPLOAD_BYTES = 20 * MEGABYTES
_EMPTY_CHUNK = b"none\0\0\0\0"


class Bomb(NamedTuple):
    """How the file is answered, and how it is made."""

    status: int
    code: str
    make: Callable[[], bytes]


def _flat_png(width: int, height: int, depth: int = 8, colour: int = 0, chunks: bytes = b"") -> bytes:
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    return png((width, height), depth, colour, bytes((width * depth * samples + 7) // 8 * height), chunks)


def _png_header(width: int, height: int, depth: int = 8, colour: int = 2, interlaced: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    data = png_chunk(b"IDAT", zlib.compress(bytes(100))) + png_chunk(b"IEND", b"")
    return PNG_SIGNATURE + png_chunk(b"IHDR", header) + data


def _png_of(data: bytes) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0))
    return PNG_SIGNATURE + header + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


def _gif(screen: tuple[int, int], frame: tuple[int, int], extensions: bytes = b"") -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + bytes(6)
    image = b"," + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\x02\x02\x4c\x01\x00"
    return head + extensions + image + b";"


def _bmp(width: int, height: int, data: bytes = b"", *, offset: int = 54) -> bytes:
    file = struct.pack("<2sIHHI", b"BM", offset + len(data), 0, 0, offset)
    return file + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0) + data


def _second_header() -> bytes:
    """Announce 64 pixels, and then 100 million that are one bit each."""
    small, large = _flat_png(8, 8), _flat_png(9_900, 9_900, depth=1)
    return small[:33] + large[8:33] + large[33:]


def _webp(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(
        kind + struct.pack("<I", len(payload)) + payload + bytes(len(payload) % 2) for kind, payload in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _frames_of_chunks(count: int) -> bytes:
    frame = bytes(12) + b"\x0a\0\0\0" + _EMPTY_CHUNK * count
    return _webp((b"VP8X", _canvas(8, 8, 2)), (b"ANIM", bytes(6)), (b"ANMF", frame))


def _lossless_header(width: int, height: int) -> bytes:
    return b"\x2f" + struct.pack("<I", (height - 1) << 14 | (width - 1)) + bytes(32)


def _lossy_header(width: int, height: int) -> bytes:
    return b"\x50\x42\x00\x9d\x01\x2a" + struct.pack("<HH", width, height) + bytes(32)


def _canvas(width: int, height: int, flags: int = 0) -> bytes:
    return bytes((flags, 0, 0, 0)) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def _flat_webp(width: int, height: int, **options: object) -> bytes:
    return encode(Image.new("RGB", (width, height)), "WEBP", **{"lossless": True, "method": 0, **options})


def _looping_exif(entries: int) -> bytes:
    """A directory that is endless, because it points at itself."""
    entry = struct.pack("<HHII", 0x8769, 4, 1, 8)
    return b"Exif\0\0" + struct.pack("<2sHIH", b"II", 42, 8, entries) + entry * 100 + struct.pack("<I", 8)


def _compressed_text(kind: bytes) -> bytes:
    bomb = zlib.compress(bytes(50_000_000), 9)
    heads = {b"zTXt": b"Comment\0\0", b"iCCP": b"profile\0\0", b"iTXt": b"Comment\0\1\0\0\0"}
    return png_chunk(kind, heads[kind] + bomb)


def _archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0", bytes(30_000_000))
    return out.getvalue()


def _many_frames(kind: str, count: int, size: tuple[int, int]) -> bytes:
    frames = [Image.new("L", size, number % 251) for number in range(count)]
    return encode(frames[0], kind, save_all=True, append_images=frames[1:], duration=20)


def _flat_avif(width: int, height: int) -> bytes:
    return encode(Image.new("L", (width, height)), "AVIF", speed=10)


def _flat_heic(width: int, height: int) -> bytes:
    return encode(Image.new("L", (width, height)), "HEIF", **FAST_HEIC)


def _large_tiles(image: Image.Image) -> bytes:
    content = encode(image, "HEIF", tile_size=64, **FAST_HEIC)
    return content.replace(struct.pack(">II", 64, 64), struct.pack(">II", 5_000, 4_900))


def _tiff_of(width: int, height: int) -> bytes:
    return patched(patched(encode(scene(64, 48), "TIFF"), 256, width), 257, height)


def _pages(*others: Image.Image) -> bytes:
    return encode(scene(64, 48), "TIFF", compression="tiff_lzw", save_all=True, append_images=others)


_LAUGHS = b"<!DOCTYPE l [<!ENTITY a '" + b"ha" * 99 + b"'><!ENTITY b '" + b"&a;" * 99 + b"'>]><svg>&b;</svg>"

REFUSED: Mapping[str, Bomb] = {
    # Sides, shape and area, as in the header.
    "thin.png": Bomb(*LARGE, lambda: _flat_png(1, 30_000)),
    "flat.png": Bomb(*LARGE, lambda: _flat_png(30_000, 1)),
    "aspect_51.png": Bomb(*LARGE, lambda: _flat_png(51 * 8, 8)),
    "65535_square.png": Bomb(*LARGE, lambda: _png_header(65_535, 65_535)),
    "65535_by_1.png": Bomb(*LARGE, lambda: _png_header(65_535, 1)),
    "1_by_65535.png": Bomb(*LARGE, lambda: _png_header(1, 65_535)),
    "16384_square.png": Bomb(*LARGE, lambda: _flat_png(16_384, 16_384, depth=1)),
    "side_12001.png": Bomb(*LARGE, lambda: _flat_png(12_001, 300)),
    "30_megapixels.png": Bomb(*LARGE, lambda: _flat_png(6_000, 5_000)),
    "interlaced.png": Bomb(*LARGE, lambda: _png_header(12_000, 12_000, interlaced=1)),
    "64_bits_a_pixel.png": Bomb(*LARGE, lambda: _png_header(11_000, 11_000, depth=16, colour=6)),
    "largest_number.png": Bomb(*LARGE, lambda: _png_header(2**31 - 1, 2**31 - 1)),
    "no_width.png": Bomb(*BROKEN, lambda: _png_header(0, 10)),
    "65535_square.gif": Bomb(*LARGE, lambda: _gif((65_535, 65_535), (65_535, 65_535))),
    "screen_65535.gif": Bomb(*LARGE, lambda: _gif((65_535, 65_535), (1, 1))),
    "frame_beyond_screen.gif": Bomb(*LARGE, lambda: _gif((8, 8), (65_535, 65_535))),
    "no_screen.gif": Bomb(*BROKEN, lambda: _gif((0, 0), (0, 0))),
    "16383_square_lossy.webp": Bomb(*LARGE, lambda: _webp((b"VP8 ", _lossy_header(16_383, 16_383)))),
    "16384_square_lossless.webp": Bomb(*LARGE, lambda: _webp((b"VP8L", _lossless_header(16_384, 16_384)))),
    "largest_canvas.webp": Bomb(*LARGE, lambda: _webp((b"VP8X", _canvas(2**24, 2**24)))),
    "30_megapixels.webp": Bomb(*LARGE, lambda: _flat_webp(6_000, 5_000)),
    "65535_square.bmp": Bomb(*LARGE, lambda: _bmp(65_535, 65_535)),
    "largest_height.bmp": Bomb(*LARGE, lambda: _bmp(8, -(2**31))),
    "negative_width.bmp": Bomb(*BROKEN, lambda: _bmp(-8, 8)),
    "65535_square.jpg": Bomb(*LARGE, lambda: jpegs.header_alone(65_535, 65_535)),
    "wide.jpg": Bomb(*LARGE, lambda: jpegs.header_alone(65_500, 10)),
    "110_megapixels.jpg": Bomb(*LARGE, lambda: large_jpeg(11_000, 10_000)),
    "progressive_30_megapixels.jpg": Bomb(*LARGE, lambda: jpegs.progressive(6_000, 5_000, 4)),
    "height_comes_later.jpg": Bomb(*BROKEN, lambda: jpegs.header_alone(2_000, 0)),
    # Dear to walk or to decode.
    "1000_scans.jpg": Bomb(*LARGE, lambda: many_scans_jpeg(1_000)),
    "65_scans.jpg": Bomb(*LARGE, lambda: jpegs.progressive(64, 64, 70, components=4)),
    "segments.jpg": Bomb(*LARGE, lambda: jpegs.START + jpegs.segment(0xFE, b"x") * 5_000 + jpeg()[2:]),
    "100000_text_chunks.png": Bomb(*LARGE, lambda: _flat_png(8, 8, chunks=png_chunk(b"tEXt", b"a\0b") * 100_000)),
    "1000000_chunks.webp": Bomb(*LARGE, lambda: _webp((b"VP8X", _canvas(8, 8)), *[(b"none", b"")] * 1_000_000)),
    "1000000_chunks_of_a_frame.webp": Bomb(*LARGE, lambda: _frames_of_chunks(1_000_000)),
    "100000_comments.gif": Bomb(*LARGE, lambda: _gif((8, 8), (8, 8), b"!\xfe\x01?\0" * 100_000)),
    "endless_comment.gif": Bomb(*LARGE, lambda: _gif((8, 8), (8, 8), b"!\xfe" + b"\x01?" * 100_000 + b"\0")),
    "runs_without_end.bmp": Bomb(*LARGE, lambda: run_length_bmp(1_000, 1_000, b"\1\0" * 2 * MEGABYTES)),
    "second_header.png": Bomb(*BROKEN, _second_header),
    # Many pixels promised, none brought.
    "pixels_of_nothing.png": Bomb(*BROKEN, lambda: _png_header(2_400, 2_400)),
    "100_megapixels_of_nothing.jpg": Bomb(*BROKEN, lambda: jpegs.header_alone(9_984, 9_984)),
    "runs_of_nothing.bmp": Bomb(*BROKEN, lambda: run_length_bmp(2_400, 2_400, b"\0\1")),
    "nothing.bmp": Bomb(*BROKEN, lambda: _bmp(2_400, 2_400, bytes(100))),
    "nothing.webp": Bomb(*BROKEN, lambda: _webp((b"VP8L", _lossless_header(2_400, 2_400)))),
    "nothing.gif": Bomb(*BROKEN, lambda: _gif((2_400, 2_400), (2_400, 2_400))),
    "data_far_away.bmp": Bomb(*BROKEN, lambda: _bmp(80, 80, offset=2**31)),
    "chunk_of_two_gigabytes.png": Bomb(*BROKEN, lambda: PNG_SIGNATURE + struct.pack(">I4s", 2**31 - 1, b"IHDR")),
    "longer_than_it_is.webp": Bomb(*BROKEN, lambda: b"RIFF\xff\xff\xff\x7fWEBPVP8L" + _lossless_header(8, 8)),
    # Kinds of JPEG that are not supported.
    "lossless.jpg": Bomb(*UNSUPPORTED, lambda: jpegs.header_alone(64, 64, jpegs.LOSSLESS)),
    "arithmetic.jpg": Bomb(*UNSUPPORTED, lambda: jpegs.header_alone(64, 64, jpegs.ARITHMETIC)),
    "12_bits.jpg": Bomb(*BROKEN, lambda: jpegs.header_alone(64, 64, jpegs.EXTENDED, depth=12)),
    # No images, or none of the kinds that are taken.
    "laughs.svg.png": Bomb(*UNSUPPORTED, lambda: _LAUGHS),
    "archive.png": Bomb(*UNSUPPORTED, _archive),
    "stream.png": Bomb(*UNSUPPORTED, lambda: zlib.compress(bytes(30_000_000), wbits=31)),
    "script.eps.png": Bomb(*UNSUPPORTED, lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n{} loop\n"),
    "layers.psd.png": Bomb(*UNSUPPORTED, lambda: b"8BPS\0\1" + bytes(200)),
    "page.pdf.png": Bomb(*UNSUPPORTED, lambda: b"%PDF-1.7\n1 0 obj\n<< >>\nendobj\n"),
    # Sizes and tiles of HEIC and AVIF, directories of TIFF.
    "30_megapixels.heic": Bomb(*LARGE, lambda: with_size(encode(scene(64, 48), "HEIF", **FAST_HEIC), 6_000, 5_000)),
    "30_megapixels.avif": Bomb(*LARGE, lambda: with_size(encode(scene(64, 48), "AVIF", speed=10), 6_000, 5_000)),
    "25_megapixels_of_64.avif": Bomb(*LARGE, lambda: with_size(_flat_avif(5_100, 5_100), 64, 64)),
    "1_megapixel_of_64.heic": Bomb(*BROKEN, lambda: with_size(_flat_heic(1_000, 1_000), 64, 64)),
    "large_tiles.heic": Bomb(*LARGE, lambda: _large_tiles(scene(128, 96))),
    "65535_square.tiff": Bomb(*LARGE, lambda: _tiff_of(65_535, 65_535)),
    "65535_entries.tiff": Bomb(*LARGE, lambda: b"II*\0\x08\0\0\0\xff\xff" + bytes(12 * 65_535)),
    "pixels_of_nothing.tiff": Bomb(*BROKEN, lambda: _tiff_of(2_400, 2_400)),
    "too_many_bytes.bmp": Bomb(*TOO_MANY_BYTES, lambda: _bmp(3_000, 2_500, bytes(MAX_UPLOAD_BYTES))),
}

HARMLESS: Mapping[str, Bomb] = {
    "text_of_50_megabytes.png": Bomb(200, "", lambda: _flat_png(64, 64, chunks=_compressed_text(b"zTXt"))),
    "international_text.png": Bomb(200, "", lambda: _flat_png(64, 64, chunks=_compressed_text(b"iTXt"))),
    "profile_of_50_megabytes.png": Bomb(200, "", lambda: _flat_png(64, 64, chunks=_compressed_text(b"iCCP"))),
    "data_of_100_megabytes.png": Bomb(200, "", lambda: _png_of(zlib.compress(bytes(100_000_000), 9))),
    "1024_frames.gif": Bomb(200, "", lambda: _many_frames("GIF", 1024, (64, 64))),
    "large_frames.gif": Bomb(200, "", lambda: _many_frames("GIF", 4, (2_400, 2_400))),
    "endless_exif.jpg": Bomb(200, "", lambda: encode(scene(64, 48), "JPEG", exif=_looping_exif(65_535))),
    "56_scans.jpg": Bomb(200, "", lambda: jpegs.progressive(640, 480, 56)),
    "second_page_of_30_megapixels.tiff": Bomb(200, "", lambda: _pages(Image.new("1", (6_000, 5_000)))),
    "junk_behind.jpg": Bomb(200, "", lambda: jpeg(64, 48) + bytes(19 * MEGABYTES)),
}
