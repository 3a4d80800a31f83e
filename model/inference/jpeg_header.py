"""What a JPEG says of itself, read by walking its markers: a few microseconds, and nothing is decoded."""

import re
import struct
from dataclasses import dataclass

import numpy as np

from inference import exif
from inference.errors import IMAGE_BROKEN, IMAGE_TOO_LARGE, UNSUPPORTED_TYPE, ImageError
from inference.limits import MAX_PIXELS, MAX_SCALED_PIXELS, MAX_SCANS, check_size

# Cameras write a dozen segments, large colour profiles a few hundred.
MAX_SEGMENTS = 1_000
# A block of 64 pixels takes two bits of a sequential scan at least: one for its mean, one that says that this was all.
MAX_PIXELS_PER_BYTE = 256
START_OF_SCAN, END_OF_IMAGE, APP1 = 0xDA, 0xD9, 0xE1
BASELINE, EXTENDED_SEQUENTIAL, PROGRESSIVE = 0xC0, 0xC1, 0xC2
# C4, C8 and CC lie in the range of the frame headers, but are none.
FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# No camera and no browser knows the others, and arithmetic coding cannot even tell that its end is missing.
TAKEN_FRAMES = frozenset((BASELINE, EXTENDED_SEQUENTIAL, PROGRESSIVE))
# Inside a scan FF stands before 00 (a stuffed byte), RST0 to RST7 or another FF (filling): all else is a marker.
NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# Headers are searched by the pattern. It tries each FF, which takes a second for 20 MB of them and holds the
# interpreter's lock meanwhile: what follows is searched by NumPy, in pieces.
FIRST_SEARCHED_BYTES, MOST_SEARCHED_BYTES = 4096, 65_536


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """Size, orientation, and whether one sequential scan holds the whole picture."""

    width: int
    height: int
    orientation: int
    is_single_scan: bool


def read(content: bytes) -> JpegHeader:
    """The header of a JPEG within the limits; ImageError says which limit it breaks."""
    try:
        return _Walk(content).header()
    except struct.error:
        raise ImageError(IMAGE_BROKEN, "JPEG ends inside its header") from None


class _Walk:
    """One pass over the markers; the number of steps is bounded whatever the bytes are."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.values = np.frombuffer(content, np.uint8)
        self.at = 2
        self.steps = 0

    def header(self) -> JpegHeader:
        frame, frame_at, orientation = 0, 0, exif.UPRIGHT
        while (marker := self._next_segment()) != START_OF_SCAN:
            if marker in FRAME_HEADERS:
                frame, frame_at = marker, self.start
            elif marker == APP1 and orientation == exif.UPRIGHT:
                orientation = exif.orientation(self._payload(exif.PREFIX))
        if not frame:
            raise ImageError(IMAGE_BROKEN, "JPEG has no frame header before its first scan")
        if frame not in TAKEN_FRAMES:
            raise ImageError(UNSUPPORTED_TYPE, f"JPEG of the kind FF{frame:02X}; baseline and progressive are taken")
        height, width, components = struct.unpack_from(">HHB", self.content, frame_at + 5)
        (in_first_scan,) = struct.unpack_from("B", self.content, self.start + 4)
        is_single_scan = frame in (BASELINE, EXTENDED_SEQUENTIAL) and in_first_scan == components
        check_size(width, height, max_pixels=MAX_SCALED_PIXELS if is_single_scan else MAX_PIXELS)
        if not is_single_scan:
            self._check_scans()
        elif width * height > MAX_PIXELS_PER_BYTE * len(self.content):
            raise ImageError(IMAGE_BROKEN, f"JPEG of {width} x {height} pixels ends after {len(self.content)} bytes")
        return JpegHeader(width, height, orientation, is_single_scan)

    def _next_segment(self) -> int:
        """The next marker; `start` is where it stands, `at` where its segment ends."""
        self.steps += 1
        if self.steps > MAX_SEGMENTS:
            raise ImageError(IMAGE_TOO_LARGE, f"JPEG has more than {MAX_SEGMENTS} segments")
        self.start = self._next_marker()
        if self.start < 0 or self.content[self.start + 1] == END_OF_IMAGE:
            raise ImageError(IMAGE_BROKEN, "JPEG ends before its picture does")
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
            size = min(2 * size, MOST_SEARCHED_BYTES)
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

    def _check_scans(self) -> None:
        scans = 1
        while (start := self._next_marker()) >= 0 and self.content[start + 1] != END_OF_IMAGE:
            self.at = start  # found already
            scans += self._next_segment() == START_OF_SCAN
            if scans > MAX_SCANS:
                raise ImageError(IMAGE_TOO_LARGE, f"progressive JPEG has more than {MAX_SCANS} scans")
