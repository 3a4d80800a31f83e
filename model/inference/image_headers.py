"""The header of an image file, before anything is decoded: size, orientation, and where its first image is.

Every walk takes a bounded number of steps, for any bytes. Pillow walks GIF blocks, PNG text and BMP runs in
Python, so that a hostile file keeps it busy for many seconds: PNG, GIF, BMP and WebP are walked here first, and handed
on without the parts that are never read (text, further frames). An image of runs is handed on as one
without, since Pillow fills each unfinished line byte by byte.
"""

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np

from inference import heif, png, tiff
from inference.errors import IMAGE_BROKEN, IMAGE_TOO_LARGE, UNSUPPORTED_TYPE, ImageError
from inference.limits import MAX_CHUNKS, MAX_SCANS, UNLIMITED, DecodeBudget, Size, check_size

WEBP_FRAME, WEBP_FRAME_HEADER_BYTES = b"ANMF", 16
GIF_EXTENSION, GIF_IMAGE, GIF_GRAPHIC_CONTROL = b"!", b",", 0xF9
BMP_CORE_HEADER = 12
BMP_UNCOMPRESSED = 0
# A JPEG or PNG in place of the pixels, as for printers, and the colours of inks.
BMP_OF_PRINTERS = frozenset((4, 5, 11, 12, 13))
# A run may paint nothing at all; so many take about a second.
MAX_RUNS = 1_500_000
RUNS_BETWEEN_CHECKS = 4096
BMP_RUN_LENGTH = {1: 8, 2: 4}  # compression by runs: bits a pixel
BMP_END_OF_LINE, BMP_END_OF_BITMAP, BMP_DELTA = 0, 1, 2
HEX_DIGITS = bytes.maketrans(b"0123456789abcdef", bytes(range(16)))

UPRIGHT = 1
ORIENTATION_TAG = 0x0112
SHORT = 3
MAX_ENTRIES = 1_000
EXIF_PREFIX, PROFILE_PREFIX = b"Exif\0\0", b"ICC_PROFILE\0"
COLOUR_COMPONENTS = 3

# Cameras write a dozen segments, large colour profiles a few hundred.
MAX_SEGMENTS = 1_000
# A block of 64 pixels takes two bits of a sequential scan at least: one for its mean, one for the end of the block.
MAX_PIXELS_PER_BYTE = 256
START_OF_SCAN, END_OF_IMAGE, APP1, APP2 = 0xDA, 0xD9, 0xE1, 0xE2
END = bytes((0xFF, END_OF_IMAGE))
ALL_COEFFICIENTS = (1 << 64) - 1
BASELINE, EXTENDED_SEQUENTIAL, PROGRESSIVE = 0xC0, 0xC1, 0xC2
# C4, C8 and CC are in the range of the frame headers, but are none.
FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# No camera and no browser knows the others, and arithmetic coding cannot even detect a missing end.
TAKEN_FRAMES = frozenset((BASELINE, EXTENDED_SEQUENTIAL, PROGRESSIVE))
# Inside a scan FF stands before 00 (a stuffed byte), RST0 to RST7 or another FF (filling): all else is a marker.
NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# Headers are searched by the pattern. It tries each FF, which takes a second for 20 MB of them and holds the
# interpreter's lock meanwhile: what follows is searched by NumPy, in pieces.
FIRST_SEARCHED_BYTES, MAX_SEARCHED_BYTES = 4096, 65_536


def exif_orientation(block: bytes) -> int:
    """Return the orientation, 1 to 8, in an EXIF block; 1 where it is absent or broken."""
    tiff = block.removeprefix(EXIF_PREFIX)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4], "")
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4) if order else (len(tiff),)
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for index in range(min(entries, MAX_ENTRIES)):
            tag, kind, count, value = struct.unpack_from(f"{order}HHIH", tiff, directory + 2 + 12 * index)
            if tag == ORIENTATION_TAG:
                return int(value) if kind == SHORT and count == 1 and 1 <= value <= 8 else UPRIGHT
    except struct.error:
        pass
    return UPRIGHT


def is_turned(value: int) -> bool:
    """Return whether this orientation exchanges width and height."""
    return value >= 5


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """Size, orientation, whether one sequential scan holds the whole image, and whether only the end marker is missing.

    Webcams and programs that split films leave it out. `scans` counts those of an image that takes several. `profile`
    is the colour profile of an image of three components, empty where there is none.
    """

    width: int
    height: int
    orientation: int
    is_single_scan: bool
    lacks_end: bool
    scans: int = 1
    profile: bytes = b""


def read_jpeg_header(content: bytes) -> JpegHeader:
    """Return the header of a JPEG; raise ImageError where it is broken or beyond a limit."""
    try:
        return _JpegWalk(content).header()
    except struct.error:
        raise ImageError(IMAGE_BROKEN, "JPEG ends inside its header") from None


class _JpegWalk:
    """One pass over the markers; the number of steps is bounded for any bytes."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.values = np.frombuffer(content, np.uint8)
        self.at = 2
        self.steps = 0
        self.start = 0
        self.scans = 1
        self.seen: dict[int, int] = {}  # for each component, a bit for each coefficient that is there to its last bit

    def header(self) -> JpegHeader:
        frame, frame_at, orientation, profile = 0, 0, UPRIGHT, b""
        while (marker := self._next_segment()) != START_OF_SCAN:
            if marker in FRAME_HEADERS:
                frame, frame_at = marker, self.start
            elif marker == APP1 and orientation == UPRIGHT:
                orientation = exif_orientation(self._payload(EXIF_PREFIX))
            elif marker == APP2:
                # Those of more than one segment come in order; what is not in order is no profile.
                profile += self._payload(PROFILE_PREFIX)[len(PROFILE_PREFIX) + 2 :]
        if not frame:
            raise ImageError(IMAGE_BROKEN, "JPEG has no frame header before its first scan")
        if frame not in TAKEN_FRAMES:
            raise ImageError(UNSUPPORTED_TYPE, f"JPEG of the kind FF{frame:02X}; baseline and progressive are taken")
        height, width, components = struct.unpack_from(">HHB", self.content, frame_at + 5)
        (in_first_scan,) = struct.unpack_from("B", self.content, self.start + 4)
        is_single_scan = frame in (BASELINE, EXTENDED_SEQUENTIAL) and in_first_scan == components
        check_size(width, height, is_scaled=is_single_scan)
        if is_single_scan and width * height > MAX_PIXELS_PER_BYTE * len(self.content):
            raise ImageError(IMAGE_BROKEN, f"JPEG of {width} x {height} pixels ends after {len(self.content)} bytes")
        has_end = (is_single_scan and self.content.endswith(END)) or self._has_end(components)
        kept = profile if components == COLOUR_COMPONENTS else b""
        return JpegHeader(width, height, orientation, is_single_scan, not has_end, self.scans, kept)

    def _next_segment(self) -> int:
        """Return the next marker; set `start` to where it stands, and `at` to where its segment ends."""
        self.steps += 1
        if self.steps > MAX_SEGMENTS:
            raise ImageError(IMAGE_TOO_LARGE, f"JPEG has more than {MAX_SEGMENTS} segments")
        self.start = self._next_marker()
        if self.start < 0 or self.content[self.start + 1] == END_OF_IMAGE:
            raise ImageError(IMAGE_BROKEN, "JPEG ends before its image does")
        (length,) = struct.unpack_from(">H", self.content, self.start + 2)
        self.at = self.start + 2 + length
        return self.content[self.start + 1]

    def _next_marker(self) -> int:
        """Return where the next marker stands, -1 where there is none."""
        size = FIRST_SEARCHED_BYTES
        if found := NEXT_MARKER.search(self.content, self.at, self.at + size):
            return found.start()
        at = self.at + size - 1  # a marker may lie across two pieces
        while at + 1 < len(self.content):
            size = min(2 * size, MAX_SEARCHED_BYTES)
            part = self.values[at : at + size]
            codes = part[1:]
            is_marker = (part[:-1] == 0xFF) & (codes != 0xFF) & (codes != 0) & (codes & 0xF8 != 0xD0)
            first = int(is_marker.argmax())
            if is_marker[first]:
                return at + first
            at += size - 1
        return -1

    def _payload(self, prefix: bytes) -> bytes:
        begin = self.start + 4
        return self.content[begin : self.at] if self.content.startswith(prefix, begin) else b""

    def _has_end(self, components: int) -> bool:
        """Return whether the end marker is there; raise ImageError for too many scans, or where more is missing."""
        self._see_scan()
        while (start := self._next_marker()) >= 0 and self.content[start + 1] != END_OF_IMAGE:
            self.at = start  # found already
            if self._next_segment() == START_OF_SCAN:
                self._see_scan()
                self.scans += 1
            if self.scans > MAX_SCANS:
                raise ImageError(IMAGE_TOO_LARGE, f"progressive JPEG has more than {MAX_SCANS} scans")
        if start < 0 and [*self.seen.values()] != [ALL_COEFFICIENTS] * components:
            raise ImageError(IMAGE_BROKEN, "JPEG ends before its last scan")
        return start >= 0

    def _see_scan(self) -> None:
        numbers = self.content[self.start + 5 : self.at - 3 : 2]
        first, last, bits = struct.unpack_from("3B", self.content, self.at - 3)
        if bits & 15 == 0:
            coefficients = (2 << last) - (1 << first)
            self.seen.update({number: self.seen.get(number, 0) | coefficients for number in numbers})


def first_image(kind: str, content: bytes, budget: DecodeBudget = UNLIMITED) -> tuple[Size, bytes]:
    """Return width and height, and the bytes that a decoder needs of an image that is no JPEG; raise ImageError."""
    try:
        return _bmp(content, budget) if kind == "BMP" else _READERS[kind](content)
    except (struct.error, LookupError):
        raise ImageError(IMAGE_BROKEN, f"{kind} ends inside its header") from None


def _gif(content: bytes) -> tuple[Size, bytes]:
    width, height = struct.unpack_from("<HH", content, 6)
    at = colours_end = 13 + _gif_colours(content[10])
    control = b""
    for _ in range(MAX_CHUNKS):
        if content[at : at + 1] == GIF_IMAGE:
            left, top, own_width, own_height = struct.unpack_from("<HHHH", content, at + 1)
            size = max(width, left + own_width), max(height, top + own_height)
            return size, content[:colours_end] + control + content[at:]
        if content[at : at + 1] != GIF_EXTENSION:
            raise ImageError(IMAGE_BROKEN, f"GIF has {content[at : at + 1]!r} where an image should begin")
        end = _after_gif_blocks(content, at + 2)
        if content[at + 1] == GIF_GRAPHIC_CONTROL:
            control = content[at:end]
        at = end
    raise ImageError(IMAGE_TOO_LARGE, f"GIF has more than {MAX_CHUNKS} extensions before its image")


def _gif_colours(flags: int) -> int:
    """Return how many bytes the colour table has that these flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _after_gif_blocks(content: bytes, at: int) -> int:
    for _ in range(MAX_CHUNKS):
        length = content[at]
        at += 1 + length
        if not length:
            return at
    raise ImageError(IMAGE_TOO_LARGE, f"GIF has an extension of more than {MAX_CHUNKS} blocks")


def _bmp(content: bytes, budget: DecodeBudget) -> tuple[Size, bytes]:
    (header,) = struct.unpack_from("<I", content, 14)
    if header == BMP_CORE_HEADER:
        width, height = struct.unpack_from("<HH", content, 18)
        return (width, height), content
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", content, 18)
    size = width, abs(height)  # a negative height is an image stored from the top
    if compression in BMP_OF_PRINTERS:
        raise ImageError(
            UNSUPPORTED_TYPE, f"BMP of the compression {compression}, for printers; save it as PNG or JPEG"
        )
    if compression not in BMP_RUN_LENGTH:
        return size, content
    if bits != BMP_RUN_LENGTH[compression]:
        raise ImageError(IMAGE_BROKEN, f"BMP declares runs of {bits} bits a pixel, which is invalid")
    check_size(*size)  # its pixels are about to be made
    return size, _without_runs(content, size, bits, budget)


def _without_runs(content: bytes, size: Size, bits: int, budget: DecodeBudget) -> bytes:
    """Return the same image with 8 bits a pixel and no compression."""
    (start,) = struct.unpack_from("<I", content, 10)
    head = bytearray(content[:start])
    struct.pack_into("<HI", head, 28, 8, BMP_UNCOMPRESSED)
    (colours,) = struct.unpack_from("<I", head, 46)
    struct.pack_into("<I", head, 46, colours or 1 << bits)
    pixels, width = _pixels_of_runs(content, start, size, bits, budget), size[0]
    padding = bytes(-width % 4)
    lines = (pixels[at : at + width] + padding for at in range(0, len(pixels), width)) if padding else (pixels,)
    return bytes(head) + b"".join(lines)


def _pixels_of_runs(content: bytes, at: int, size: Size, bits: int, budget: DecodeBudget) -> bytearray:
    """Return what the runs paint, line after line; shorter than the image where they end early."""
    width, total = size[0], size[0] * size[1]
    pixels, x, end = bytearray(), 0, len(content) - 1
    for number in range(MAX_RUNS):
        if number % RUNS_BETWEEN_CHECKS == 0:
            budget.check()
        if len(pixels) >= total or at >= end:
            return pixels
        count, value = content[at], content[at + 1]
        at += 2
        if count:
            pixels += _run(value, min(count, max(width - x, 0)), bits)
            x = min(x + count, width)
        elif value == BMP_END_OF_LINE:
            pixels += bytes(-len(pixels) % width)
            x = 0
        elif value == BMP_END_OF_BITMAP:
            return pixels
        elif value == BMP_DELTA:
            right, up = content[at], content[at + 1]
            at += 2
            pixels += bytes(min(right + up * width, total - len(pixels)))
            x = len(pixels) % width
        else:
            literal = content[at : at + (value * bits + 7) // 8]
            pixels += (literal if bits == 8 else _nibbles(literal)[:value])[: total - len(pixels)]
            at += len(literal)
            at += at % 2
            x += value
    raise ImageError(IMAGE_TOO_LARGE, f"BMP has more than {MAX_RUNS} runs")


def _run(value: int, count: int, bits: int) -> bytes:
    return bytes((value,)) * count if bits == 8 else (bytes((value >> 4, value & 15)) * 128)[:count]


def _nibbles(data: bytes) -> bytes:
    return data.hex().encode().translate(HEX_DIGITS)


def _webp(content: bytes) -> tuple[Size, bytes]:
    (length,) = struct.unpack_from("<I", content, 4)
    if length + 8 > len(content):
        raise ImageError(IMAGE_BROKEN, f"WebP is truncated: it announces {length + 8} bytes and has {len(content)}")
    if len(list(islice(_webp_chunks(content, 12, length + 8, WEBP_FRAME), MAX_CHUNKS + 1))) > MAX_CHUNKS:
        raise ImageError(IMAGE_TOO_LARGE, f"WebP has more than {MAX_CHUNKS} chunks")
    return _webp_size(content), content


def _webp_chunks(content: bytes, at: int, end: int, holder: bytes) -> Iterator[bytes]:
    """Yield the kind of each chunk, and of those inside the chunks that hold others."""
    while at + 8 <= end:
        kind, length = struct.unpack_from("<4sI", content, at)
        begin, at = at + 8, at + 8 + length + length % 2
        yield kind
        if kind == holder:
            yield from _webp_chunks(content, begin + WEBP_FRAME_HEADER_BYTES, min(at, end), b"")


def _webp_size(content: bytes) -> Size:
    kind = content[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", content, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        low_width, high_width, low_height, high_height = struct.unpack_from("<HBHB", content, 24)
        return (high_width << 16 | low_width) + 1, (high_height << 16 | low_height) + 1
    raise ImageError(IMAGE_BROKEN, f"WebP begins with a chunk {kind!r} that holds no image")


_READERS: Mapping[str, Callable[[bytes], tuple[Size, bytes]]] = {
    "PNG": png.first_image,
    "GIF": _gif,
    "WEBP": _webp,
    "TIFF": tiff.first_image,
    "HEIC": partial(heif.first_image, "HEIC"),
    "AVIF": partial(heif.first_image, "AVIF"),
}
