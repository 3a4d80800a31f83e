"""JPEGs written marker by marker, which no encoder would write."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Sequence

BASELINE, EXTENDED, PROGRESSIVE, LOSSLESS, ARITHMETIC = 0xC0, 0xC1, 0xC2, 0xC3, 0xC9
START, END = b"\xff\xd8", b"\xff\xd9"
# A run of empty blocks has 15 lengths (2^0 to 2^14 and what lies between); each gets a code of four bits.
RUN_LENGTHS = 15
PRECISION = 13

Span = tuple[int, int]


def segment(marker: int, payload: bytes) -> bytes:
    """One marker with its length."""
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def frame(marker: int, width: int, height: int, components: int = 3, depth: int = 8) -> bytes:
    """A frame header, every component at full size."""
    parts = b"".join(bytes((number + 1, 0x11, 0)) for number in range(components))
    return segment(marker, struct.pack(">BHHB", depth, height, width, components) + parts)


def tables() -> bytes:
    """A quantisation table of ones, and the two Huffman tables that empty blocks need."""
    lengths = bytes((0, 0, 0, RUN_LENGTHS, *[0] * 12))
    runs = bytes(length << 4 for length in range(RUN_LENGTHS))
    return (
        segment(0xDB, bytes((0, *[1] * 64)))
        + segment(0xC4, bytes((0, 1, *[0] * 15, 0)))
        + segment(0xC4, b"\x10" + lengths + runs)
    )


def header_alone(width: int, height: int, marker: int = BASELINE, components: int = 3, depth: int = 8) -> bytes:
    """An image that promises these pixels and brings none."""
    return START + tables() + frame(marker, width, height, components, depth) + scan((1, 2, 3)[:components], b"") + END


def scan(components: Sequence[int], data: bytes, band: Span = (0, 63), bits: Span = (0, 0)) -> bytes:
    """One scan of these components: which coefficients (`band`), and down from which bit to which (`bits`)."""
    parts = b"".join(bytes((number, 0)) for number in components)
    return segment(0xDA, bytes((len(components),)) + parts + bytes((*band, bits[0] << 4 | bits[1]))) + data


def progressive(width: int, height: int, scans: int, components: int = 3) -> bytes:
    """A valid progressive JPEG of one grey: with `scans` scans (up to 14 x (components + 1)), hardly any bytes."""
    body = b"".join(piece for _, piece in zip(range(scans), _scans(width, height, components), strict=False))
    return START + tables() + frame(PROGRESSIVE, width, height, components) + body + END


def refining_scans(width: int, height: int, scans: int) -> bytes:
    """Return a valid progressive JPEG of one grey whose scans (up to 43) refine what is not there, in few bytes."""
    blocks = -(-width // 8) * -(-height // 8)
    body = scan((1, 2, 3), bytes((blocks * 3 + 7) // 8), band=(0, 0))
    nothing = _empty_blocks(blocks)
    steps = ((number, low) for low in range(PRECISION, -1, -1) for number in (1, 2, 3))
    for number, low in itertools.islice(steps, scans - 1):
        body += scan([number], nothing, band=(1, 63), bits=(0 if low == PRECISION else low + 1, low))
    return START + tables() + frame(PROGRESSIVE, width, height) + body + END


def narrow_scans(width: int, height: int, scans: int) -> bytes:
    """Return a valid progressive JPEG of one grey whose scans (up to 190) hold one coefficient each, in few bytes."""
    blocks = -(-width // 8) * -(-height // 8)
    body = scan((1, 2, 3), bytes((blocks * 3 + 7) // 8), band=(0, 0))
    places = ((number, place) for place in range(1, 64) for number in (1, 2, 3))
    nothing = _empty_blocks(blocks)
    for number, place in itertools.islice(places, scans - 1):
        body += scan([number], nothing, band=(place, place))
    return START + tables() + frame(PROGRESSIVE, width, height) + body + END


def scan_by_component(width: int, height: int) -> bytes:
    """Return a valid baseline JPEG of one grey: a scan for each component, as some scanners write."""
    short = segment(0xC4, b"\x10" + bytes((1, *[0] * 15, 0)))  # a code of one bit: this was all of a block
    bits = 2 * -(-width // 8) * -(-height // 8)
    data = bytes(bits // 8) + bytes((0xFF >> bits % 8,)) * (bits % 8 > 0)
    body = b"".join(scan([number], data) for number in (1, 2, 3))
    return START + tables() + short + frame(BASELINE, width, height) + body + END


def _scans(width: int, height: int, components: int) -> Iterator[bytes]:
    blocks = -(-width // 8) * -(-height // 8)
    numbers = range(1, components + 1)
    no_coefficients, no_differences = _empty_blocks(blocks), bytes((blocks * components + 7) // 8)
    for low in range(PRECISION, -1, -1):
        bits = (0 if low == PRECISION else low + 1, low)
        yield scan(numbers, no_differences, band=(0, 0), bits=bits)
        for number in numbers:
            yield scan([number], no_coefficients, band=(1, 63), bits=bits)


def _empty_blocks(count: int) -> bytes:
    """Entropy data in which a number of blocks are empty."""
    digits = ""
    while count:
        length = min(count.bit_length() - 1, RUN_LENGTHS - 1)
        run = min(count, 2 ** (length + 1) - 1)
        digits += f"{length:04b}" + (f"{run - 2**length:0{length}b}" if length else "")
        count -= run
    digits += "1" * (-len(digits) % 8)
    return int(digits, 2).to_bytes(len(digits) // 8, "big").replace(b"\xff", b"\xff\0")
