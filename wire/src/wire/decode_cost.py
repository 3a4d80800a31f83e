"""How long an image takes to decode, estimated from its header before anything is decoded.

All figures are milliseconds of processor time on one core of the reference processor, on which a photograph of half a
megapixel takes one or two; worker_registry.WorkerInfo.slowness turns them into those of another machine. The
coefficients come from `python -m benchmarks.own.decode_cost`, which also compares them with what decoding takes.

An estimate never fails: bytes that are no image, or whose header is cut off, cost what a photograph does, since a
decoder refuses them immediately.
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from wire.messages import Job

# No image that takes less counts for more than a usual one.
PHOTOGRAPH_MS: Final = 2
# Larger images are refused by their header (model/inference/limits.py).
MAX_PIXELS: Final = 100_000_000
# Segments, blocks and chunks before the image; what has more counts as the largest image that there may be behind them.
MAX_STEPS: Final = 2_000
# Bytes between the segments of a JPEG, of which each takes fifty times as long to search as others.
MAX_FILLING: Final = 65_536
# A JPEG of more scans is refused as well.
MAX_SCANS: Final = 64
LARGEST: Final = 25_000_000
# Bytes that one search goes through: it holds the interpreter's lock, for tens of milliseconds in 20 MB.
SEARCHED_BYTES: Final = 262_144

_NS: Final = 1e-6  # in milliseconds
_NEXT_MARKER: Final = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_SCAN: Final = re.compile(rb"\xff\xda\x00")
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL: Final = frozenset((0xC0, 0xC1))
_PNG_SAMPLES: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_SIZE_OF_ITEM: Final = re.compile(rb"ispe\0\0\0\0(.{8})", re.DOTALL)
# The boxes before the images of a HEIC or AVIF, as far as they are searched.
_BOXES_BYTES: Final = 65_536
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_COMPRESSION, _TIFF_SAMPLES, _SHORT = 256, 257, 259, 277, 3
_BMP_CORE_HEADER, _BMP_RUN_LENGTH = 12, frozenset((1, 2))


class _TooLongError(Exception):
    """What stands before the image is too long to be walked through."""


class Rate(NamedTuple):
    """Nanoseconds for each pixel of an image and for each byte of its file."""

    pixel: float
    byte: float


# A JPEG of one scan is decoded row by row and scaled down; of several, all coefficients are kept until the last one.
SINGLE_SCAN = Rate(0.5, 12)
SEVERAL_SCANS = Rate(0, 45)
# For each block: once, for each scan that visits it, and for each that refines other coefficients than its mean.
BLOCK_NS, BLOCK_OF_SCAN_NS, BLOCK_REFINED_NS = 70, 6, 38
# The cost of a PNG depends on the bytes of its file, and on the bytes unpacked from them by filters that the header
# does not name: 1 ns for each where none is, 9 where all are Paeth's.
PNG_BYTE_NS, PNG_UNPACKED_BYTE_NS = 15, 5.8
PNG_PIXEL_NS = {0: 0.0, 2: 1.0, 3: 5.0, 4: 5.0, 6: 5.0}
PNG_BITS_PIXEL_NS, PNG_GREY_16_PIXEL_NS, PNG_INTERLACED_PIXEL_NS = 10, 12, 4
WEBP_LOSSY, WEBP_LOSSLESS, WEBP_ALPHA_PIXEL_NS = Rate(13, 60), Rate(16, 10), 8
GIF, GIF_BYTES_A_PIXEL = Rate(11, 3), 1.5
BMP, BMP_INDEXED, BMP_RUNS = Rate(1, 1), Rate(6, 1), Rate(11, 150)
# HEIC and AVIF by the largest size among their items; a TIFF by its samples and how they are compressed: not, in runs,
# as JPEG, or else.
HEIC, AVIF = Rate(20, 100), Rate(14, 70)
TIFF_SAMPLE_NS, TIFF_BYTE_NS, TIFF_OTHER_BYTE_NS = 2, {1: 0, 32_773: 0, 7: 16}, 5
# How much less than estimated an image may take: the filters of a PNG and the runs of a BMP are unknown.
MIN_OF_ESTIMATE: Final = {b"\x89PNG": 0.15, b"BM": 0.1, b"\xff\xd8": 0.5, b"RIFF": 0.6}
MIN_OF_OTHERS: Final = 0.4


def decode_ms(content: bytes) -> int:
    """Return the estimate for a file of these bytes, in whole milliseconds; 0 where it is that of a photograph."""
    estimate = _estimate_ms(content)
    return round(estimate) if estimate > PHOTOGRAPH_MS else 0


def extra_ms(job: Job) -> int:
    """Return what a job is estimated to take for decoding, beyond what a usual photograph takes."""
    return job.passes * max(job.decode_ms - PHOTOGRAPH_MS, 0)


def min_ms(content: bytes) -> float:
    """Return what decoding a file of these bytes takes at least."""
    share = next((share for start, share in MIN_OF_ESTIMATE.items() if content.startswith(start)), MIN_OF_OTHERS)
    return share * _estimate_ms(content)


def _estimate_ms(content: bytes) -> float:
    try:
        for starts, estimate in _ESTIMATES:
            if content.startswith(starts):
                return estimate(content)
        return _other_ms(content)
    except _TooLongError:
        return _ms(WEBP_LOSSLESS, LARGEST, 0)
    except (struct.error, ValueError, IndexError, KeyError, ZeroDivisionError):
        return 0.0


def _ms(rate: Rate, pixels: float, count: float) -> float:
    return (rate.pixel * pixels + rate.byte * count) * _NS if pixels <= MAX_PIXELS else 0.0


def _jpeg_ms(content: bytes) -> float:
    """Return the estimate for a JPEG, whose header is walked through; raise _TooLongError."""
    frame, frame_at, at, filling = 0, 0, 2, MAX_FILLING
    for _ in range(MAX_STEPS):
        found = _NEXT_MARKER.search(content, at, at + filling)
        if found is None:
            if at + filling < len(content):
                raise _TooLongError
            return 0.0
        marker, start = found[1][0], found.start()
        if marker == _START_OF_SCAN:
            return _scans_ms(content, frame, frame_at, start)
        if marker == _END_OF_IMAGE:
            return 0.0
        if marker in _FRAMES:
            frame, frame_at = marker, start
        filling -= start - at
        (length,) = struct.unpack_from(">H", content, found.end())
        at = found.end() + length
    return 0.0


def _scans_ms(content: bytes, frame: int, frame_at: int, start: int) -> float:
    """Return the estimate for a JPEG whose first scan stands at `start`."""
    height, width, components = struct.unpack_from(">HHB", content, frame_at + 5)
    if not frame or not 0 < width * height <= MAX_PIXELS:
        return 0.0
    if frame in _SEQUENTIAL and content[start + 4] == components:
        ns: float = SINGLE_SCAN.pixel * width * height + SINGLE_SCAN.byte * (len(content) - start)
        return ns * _NS
    blocks = _blocks(content, frame_at, width, height, components)
    scans_ns = sum(_scan_ns(content, at, blocks) for at in _scans(content, start))
    return (BLOCK_NS * sum(blocks.values()) + scans_ns + SEVERAL_SCANS.byte * len(content)) * _NS


def _scan_ns(content: bytes, at: int, blocks: dict[int, float]) -> float:
    """Return what a scan takes for the blocks that it visits."""
    end = at + 5 + 2 * content[at + 4]
    first_coefficient, _, bits = content[end : end + 3]
    is_refined = first_coefficient > 0 and bits >> 4 > 0
    visited = sum(blocks.get(number, 0.0) for number in content[at + 5 : end : 2])
    return visited * (BLOCK_REFINED_NS if is_refined else BLOCK_OF_SCAN_NS)


def _scans(content: bytes, start: int) -> Iterator[int]:
    """Yield where the scans of a JPEG stand.

    Between them only their markers are searched, in a way whose time hardly depends on the bytes.
    """
    yield start
    end = len(content) - 2
    pieces = (
        _SCAN.finditer(content, at, min(at + SEARCHED_BYTES + 2, end)) for at in range(start + 2, end, SEARCHED_BYTES)
    )
    for found in itertools.islice(itertools.chain.from_iterable(pieces), MAX_SCANS):
        yield found.start()


def _blocks(content: bytes, frame_at: int, width: int, height: int, components: int) -> dict[int, float]:
    """Return how many blocks of 64 samples each component of a JPEG has, by its number."""
    parts = [content[frame_at + 10 + 3 * each :][:2] for each in range(components)]
    across, down = max(part[1] >> 4 for part in parts), max(part[1] & 15 for part in parts)
    cells = (width + 7) // 8 * ((height + 7) // 8) / (across * down)
    return {part[0]: cells * (part[1] >> 4) * (part[1] & 15) for part in parts}


def _png_ms(content: bytes) -> float:
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", content, 16)
    pixels: int = width * height
    if not 0 < pixels <= MAX_PIXELS:
        return 0.0
    unpacked: int = height * (1 + (width * depth * _PNG_SAMPLES[colour] + 7) // 8)
    pixel_ns = PNG_PIXEL_NS[colour] + (PNG_INTERLACED_PIXEL_NS if interlaced else 0)
    if colour == 0 and depth != 8:
        pixel_ns += PNG_GREY_16_PIXEL_NS if depth == 16 else PNG_BITS_PIXEL_NS
    packed = min(len(content), unpacked)  # what follows the last row is not unpacked
    return (PNG_UNPACKED_BYTE_NS * unpacked + PNG_BYTE_NS * packed + pixel_ns * pixels) * _NS


def _gif_ms(content: bytes) -> float:
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    is_inside = False  # an extension: its kind, then blocks until an empty one
    for _ in range(MAX_STEPS):
        if is_inside:
            is_inside = content[at] > 0
            at += 1 + content[at]
        elif content[at] == ord(","):
            left, top, own_width, own_height = struct.unpack_from("<HHHH", content, at + 1)
            pixels = max(width, left + own_width) * max(height, top + own_height)
            return _ms(GIF, pixels, min(len(content) - at, GIF_BYTES_A_PIXEL * pixels))
        else:
            is_inside = True
            at += 2
    raise _TooLongError


def _bmp_ms(content: bytes) -> float:
    (header,) = struct.unpack_from("<I", content, 14)
    if header == _BMP_CORE_HEADER:
        width, height, _, bits = struct.unpack_from("<HHHH", content, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", content, 18)
    rate = BMP_RUNS if compression in _BMP_RUN_LENGTH else BMP_INDEXED if bits <= 8 else BMP
    return _ms(rate, abs(width * height), len(content))


def _tiff_ms(content: bytes) -> float:
    order = "<" if content.startswith(b"II") else ">"
    (at,) = struct.unpack_from(f"{order}I", content, 4)
    (count,) = struct.unpack_from(f"{order}H", content, at)
    values = {}
    for entry in range(at + 2, at + 2 + 12 * min(count, MAX_STEPS), 12):
        tag, kind, _, value = struct.unpack_from(f"{order}HHII", content, entry)
        values[tag] = struct.unpack_from(f"{order}H", content, entry + 8)[0] if kind == _SHORT else value
    pixels: int = values[_TIFF_WIDTH] * values[_TIFF_HEIGHT]
    byte_ns = TIFF_BYTE_NS.get(values.get(_TIFF_COMPRESSION, 1), TIFF_OTHER_BYTE_NS)
    return _ms(Rate(TIFF_SAMPLE_NS * values.get(_TIFF_SAMPLES, 1), byte_ns), pixels, len(content))


def _other_ms(content: bytes) -> float:
    """Return the estimate for formats whose header does not suffice: HEIC and AVIF, or WebP."""
    if content[4:8] != b"ftyp":
        return _webp_ms(content)
    sizes = (struct.unpack(">II", found[1]) for found in _SIZE_OF_ITEM.finditer(content, 0, _BOXES_BYTES))
    rate = AVIF if b"avif" in content[:64] else HEIC
    return _ms(rate, max(width * height for width, height in sizes), len(content))


def _webp_ms(content: bytes) -> float:
    """Return the estimate for a WebP: of its canvas, and of the bytes of its first frame alone."""
    if not (content.startswith(b"RIFF") and content[8:12] == b"WEBP"):
        return 0.0
    at, pixels, alpha_ns = 12, 0, 0
    for _ in range(MAX_STEPS):
        kind, length = struct.unpack_from("<4sI", content, at)
        begin, at = at + 8, at + 8 + length + length % 2
        if kind == b"VP8X":
            low_width, high_width, low_height, high_height = struct.unpack_from("<HBHB", content, begin + 4)
            pixels = ((high_width << 16 | low_width) + 1) * ((high_height << 16 | low_height) + 1)
            alpha_ns = WEBP_ALPHA_PIXEL_NS
        elif kind == b"ANMF":
            at = begin + 16  # the frame's own chunks
        elif kind == b"VP8 ":
            width, height = struct.unpack_from("<HH", content, begin + 6)
            pixels = pixels or (width & 0x3FFF) * (height & 0x3FFF)
            return _ms(WEBP_LOSSY._replace(pixel=WEBP_LOSSY.pixel + alpha_ns), pixels, length)
        elif kind == b"VP8L":
            (bits,) = struct.unpack_from("<I", content, begin + 1)
            pixels = pixels or ((bits & 0x3FFF) + 1) * ((bits >> 14 & 0x3FFF) + 1)
            return _ms(WEBP_LOSSLESS._replace(pixel=WEBP_LOSSLESS.pixel + alpha_ns), pixels, length)
    raise _TooLongError


_ESTIMATES: Final[tuple[tuple[tuple[bytes, ...], Callable[[bytes], float]], ...]] = (
    ((b"\xff\xd8\xff",), _jpeg_ms),
    ((b"\x89PNG\r\n\x1a\n",), _png_ms),
    ((b"GIF87a", b"GIF89a"), _gif_ms),
    ((b"BM",), _bmp_ms),
    ((b"II*\0", b"MM\0*"), _tiff_ms),
)
