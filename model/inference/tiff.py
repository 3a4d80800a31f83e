"""The first page of a TIFF: its size before anything is decoded, and a file that holds that page alone.

A directory may refer to itself, to one place of the file a thousand times, and to gigabytes of values. A decoder gets
one with the entries that say how pixels are stored, each of a bounded size, and no further page.
"""

import math
import struct
from collections.abc import Mapping
from typing import NamedTuple

from inference.errors import IMAGE_BROKEN, IMAGE_TOO_LARGE, UNSUPPORTED_TYPE, ImageError
from inference.limits import Size, check_size

SIGNATURES = {b"II*\0": "<", b"MM\0*": ">"}
# Bytes of a value by the type of an entry: BYTE, ASCII, SHORT, LONG, RATIONAL, SBYTE, UNDEFINED.
WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1}
NUMBERS = {1: "B", 3: "H", 4: "I"}
MAX_ENTRIES = 4_096
MAX_VALUE_BYTES = 1024**2

SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, STRIPS, SAMPLES, STRIP_BYTES, TILE_WIDTH, TILE_HEIGHT = (
    *(254, 256, 257, 258, 259, 262, 273, 277, 279, 322, 323),
)
TILES, TILE_BYTES, SAMPLE_FORMAT = 324, 325, 339
# With them: order of bits, orientation, rows of a strip, planes, predictor, palette, inks, extra
# samples, tables of JPEG, YCbCr and reference black and white, colour profile.
KEPT = frozenset((
    *(WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, STRIPS, SAMPLES, STRIP_BYTES),
    *(TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES, SAMPLE_FORMAT),
    *(266, 274, 278, 284, 317, 320, 332, 338, 347, 529, 530, 531, 532, 34_675),
))  # fmt: skip
# None, LZW, JPEG, deflate and runs. A fax is decoded from any bytes, and is no photograph.
COMPRESSIONS = frozenset((1, 5, 7, 8, 32_773, 32_946))
REDUCED, WHITE_IS_ZERO, UNSIGNED = 1, 0, 1
# White is zero, black is zero, RGB, palette, CMYK, YCbCr: neither CIELAB nor what a sensor measures.
PHOTOMETRICS = frozenset((0, 1, 2, 3, 5, 6))
DEPTHS = frozenset((1, 2, 4, 8, 16))
MAX_SAMPLES = 5


class _Entry(NamedTuple):
    kind: int
    number: int
    data: bytes


def first_image(content: bytes) -> tuple[Size, bytes]:
    """Return width and height, and a TIFF of the first page alone; raise ImageError, struct.error or IndexError."""
    order = SIGNATURES[content[:4]]
    (at,) = struct.unpack_from(f"{order}I", content, 4)
    (count,) = struct.unpack_from(f"{order}H", content, at)
    if count > MAX_ENTRIES:
        raise ImageError(IMAGE_TOO_LARGE, f"TIFF with {count} entries for a page; at most {MAX_ENTRIES} are taken")
    entries = dict(filter(None, (_entry(content, at + 2 + 12 * each, order) for each in range(count))))
    page = {tag: _numbers(entry, order) for tag, entry in entries.items()}
    size = _first(page, WIDTH, 0), _first(page, HEIGHT, 0)
    check_size(*size)
    _check_kind(page)
    _check_data(page, len(content), size)
    return size, _with_directory(content, {tag: entries[tag] for tag in sorted(entries.keys() & KEPT)}, order)


def _entry(content: bytes, at: int, order: str) -> tuple[int, _Entry] | None:
    """Return an entry by its tag; None for one that does not describe pixels."""
    tag, kind, count = struct.unpack_from(f"{order}HHI", content, at)
    if (tag not in KEPT and tag != SUBFILE) or kind not in WIDTHS:
        return None
    length = WIDTHS[kind] * count
    if length > MAX_VALUE_BYTES:
        raise ImageError(IMAGE_TOO_LARGE, f"TIFF with {length} bytes in one entry; at most {MAX_VALUE_BYTES} are taken")
    begin = at + 8 if length <= 4 else struct.unpack_from(f"{order}I", content, at + 8)[0]
    if begin + length > len(content):
        raise ImageError(IMAGE_BROKEN, "TIFF is truncated: a value goes beyond the end of the file")
    return tag, _Entry(kind, count, content[begin : begin + length])


def _numbers(entry: _Entry, order: str) -> tuple[int, ...]:
    form = NUMBERS.get(entry.kind)
    return struct.unpack(f"{order}{entry.number}{form}", entry.data) if form else ()


def _first(page: Mapping[int, tuple[int, ...]], tag: int, default: int) -> int:
    return (page.get(tag) or (default,))[0]


def _check_kind(page: Mapping[int, tuple[int, ...]]) -> None:
    """Raise ImageError for pixels that are stored in a way that is not taken."""
    bits, formats = set(page.get(BITS) or (1,)), set(page.get(SAMPLE_FORMAT) or (UNSIGNED,))
    depth, photometric = max(bits), _first(page, PHOTOMETRIC, 1)
    faults = {
        "a reduced image on its first page, as raw files of cameras have": _first(page, SUBFILE, 0) & REDUCED,
        f"compression {_first(page, COMPRESSION, 1)}": _first(page, COMPRESSION, 1) not in COMPRESSIONS,
        f"samples of {depth} bits": not bits <= DEPTHS,
        "signed or floating-point samples": formats != {UNSIGNED},
        f"{_first(page, SAMPLES, 1)} samples a pixel": _first(page, SAMPLES, 1) > MAX_SAMPLES,
        f"colours of the kind {photometric}": photometric not in PHOTOMETRICS,
        "16 bits of which 0 is white": depth == 16 and photometric == WHITE_IS_ZERO,
    }
    for told, is_fault in faults.items():
        if is_fault:
            raise ImageError(UNSUPPORTED_TYPE, f"TIFF with {told}; save it as PNG or JPEG")


def _check_data(page: Mapping[int, tuple[int, ...]], length: int, size: Size) -> None:
    """Raise ImageError where the parts of the image lie over each other, or are larger than it."""
    counts = page.get(TILE_BYTES) or page.get(STRIP_BYTES) or ()
    if not counts or sum(counts) > length:
        raise ImageError(IMAGE_BROKEN, f"TIFF of {length} bytes declares pixels of {sum(counts)}")
    tile = _first(page, TILE_WIDTH, size[0]), _first(page, TILE_HEIGHT, size[1])
    if math.prod(tile) > 2 * max(math.prod(size), 1024**2):
        raise ImageError(IMAGE_BROKEN, f"TIFF of {size[0]} x {size[1]} pixels has tiles of {tile[0]} x {tile[1]}")


def _with_directory(content: bytes, entries: Mapping[int, _Entry], order: str) -> bytes:
    """Return the file with these entries alone, behind its end."""
    at = len(content) + len(content) % 2
    values_at = at + 2 + 12 * len(entries) + 4
    directory, values = struct.pack(f"{order}H", len(entries)), b""
    for tag, entry in entries.items():
        place = entry.data.ljust(4, b"\0")
        if len(entry.data) > 4:
            place = struct.pack(f"{order}I", values_at + len(values))
            values += entry.data + bytes(len(entry.data) % 2)
        directory += struct.pack(f"{order}HHI", tag, entry.kind, entry.number) + place
    head = content[:4] + struct.pack(f"{order}I", at)
    return b"".join((head, content[8:], bytes(len(content) % 2), directory, bytes(4), values))
