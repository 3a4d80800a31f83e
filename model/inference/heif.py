"""What the boxes of a HEIC or AVIF file say before anything is decoded: its size, and what a decoder would have to do.

An image may be made of tiles and have further ones (transparency, thumbnails, depth): each is an item, coded in
HEVC or AV1. A decoder does as the items say, however often a tile is used or however many frames an item has, so that
their pixels and frames are counted here. Only the primary image is decoded; that of a sequence is its still image.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from inference import av1
from inference.errors import IMAGE_BROKEN, IMAGE_TOO_LARGE, UNSUPPORTED_TYPE, ImageError
from inference.limits import MAX_CHUNKS, Size, check_size

# Of the first box: HEVC's, those that leave the codec to the brands after them, and AV1's.
HEVC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"))
OPEN_BRANDS, AV1_BRANDS = frozenset((b"mif1", b"msf1")), frozenset((b"avif", b"avis"))
HEAD_BYTES = 64
HEVC, AV1, GRID = b"hvc1", b"av01", b"grid"
CODECS = {HEVC: "HEIC", AV1: "AVIF"}
# Of all items together, tiles once for each use: a photograph of 25 megapixels has an additional map for bright
# screens.
MAX_CODED_PIXELS = 75_000_000
MAX_ITEMS = 1_000
# Bytes of the length before each unit of HEVC.
UNIT_LENGTH = 4
FIRST_OF_PICTURE, LAST_CODED_UNIT = 0x80, 31
SEQUENCE_BRAND, STILL_BRAND = b"avis", b"avif"

Range = tuple[int, int]  # where something begins and ends in the file


@dataclass(slots=True)
class _Items:
    """What the boxes say of items, by their numbers; properties are counted from one."""

    primary: int = 0
    kinds: dict[int, bytes] = field(default_factory=dict)
    sizes: dict[int, Size] = field(default_factory=dict)
    tiles: dict[int, list[int]] = field(default_factory=dict)
    places: dict[int, list[Range]] = field(default_factory=dict)


def first_image(kind: str, content: bytes) -> tuple[Size, bytes]:
    """Return width and height, and the bytes that a decoder gets; raise ImageError, struct.error or LookupError."""
    items = _Reader(content).items()
    codec = items.kinds.get(items.primary, b"")
    if codec == GRID:
        codecs = {items.kinds.get(each, b"") for each in items.tiles.get(items.primary, ())}
        codec = codecs.pop() if len(codecs) == 1 else b""
    if CODECS.get(codec) != kind:
        shown = items.kinds.get(items.primary, b"nothing").decode("latin-1")
        raise ImageError(UNSUPPORTED_TYPE, f"{kind} whose image is of the kind {shown!r}; HEVC and AV1 are taken")
    if items.primary not in items.sizes:
        raise ImageError(IMAGE_BROKEN, f"{kind} has no size for its image")
    for number in items.tiles:
        if items.kinds.get(number) == GRID:
            check_size(*_grid_size(content, items.places[number][0][0]))
    check_size(*items.sizes[items.primary])
    _check_work(items, content)
    return items.sizes[items.primary], _as_still(content) if codec == AV1 else content


def _grid_size(content: bytes, at: int) -> Size:
    """Return the size of what tiles make up, of the item that joins them."""
    return struct.unpack_from(">II" if content[at + 1] & 1 else ">HH", content, at + 4)


def kind_of(content: bytes) -> str:
    """Return HEIC or AVIF by the brands of the first box; empty where it is none of the two."""
    first = content[8:12]
    end = min(int.from_bytes(content[:4], "big"), HEAD_BYTES, len(content))
    brands = {first, *(content[at : at + 4] for at in range(16, end, 4))}
    if first in HEVC_BRANDS or (first in OPEN_BRANDS and not brands & AV1_BRANDS):
        return "HEIC"
    return "AVIF" if first in AV1_BRANDS | OPEN_BRANDS else ""


def _check_work(items: _Items, content: bytes) -> None:
    """Raise ImageError where decoding would take more than the size of the image lets expect."""
    if len(items.kinds) > MAX_ITEMS:
        raise ImageError(IMAGE_TOO_LARGE, f"{len(items.kinds)} items; at most {MAX_ITEMS} are taken")
    steps = iter(range(MAX_CHUNKS))
    pixels = {}
    for number, kind in items.kinds.items():
        if kind in CODECS:
            places = items.places.get(number, [])
            coded = _av1_pixels(content, places, steps) if kind == AV1 else _hevc_pixels(content, places, steps)
            pixels[number] = max(math.prod(items.sizes.get(number, (0,))), coded)
    if not all(each in pixels for tiles in items.tiles.values() for each in tiles):
        raise ImageError(UNSUPPORTED_TYPE, "an image of images that are made of images themselves")
    total = sum(pixels.values()) + sum(pixels[each] for tiles in items.tiles.values() for each in tiles)
    if total > MAX_CODED_PIXELS:
        limit = f"at most {MAX_CODED_PIXELS // 1_000_000} are decoded, tiles and additional images included"
        raise ImageError(IMAGE_TOO_LARGE, f"{total / 1e6:.0f} megapixels in all; {limit}")


def _hevc_pixels(content: bytes, places: list[Range], steps: Iterator[int]) -> int:
    """Raise ImageError for more than one picture; return 0, since libde265 holds each to the size that its item has."""
    pictures = 0
    for begin, end in places:
        at = begin
        while at + UNIT_LENGTH + 2 < end:
            _step(steps)
            (length,) = struct.unpack_from(">I", content, at)
            kind, is_first = content[at + UNIT_LENGTH] >> 1 & 63, content[at + UNIT_LENGTH + 2] & FIRST_OF_PICTURE
            pictures += kind <= LAST_CODED_UNIT and is_first > 0
            at += UNIT_LENGTH + length
    if pictures > 1:
        raise ImageError(IMAGE_BROKEN, f"HEIC with {pictures} pictures in one item")
    return 0


def _av1_pixels(content: bytes, places: list[Range], steps: Iterator[int]) -> int:
    """Return the pixels of the frames of an item, those that are not shown as well."""
    data = b"".join(content[at:end] for at, end in places)
    pixels = frames = 0
    for kind, payload in av1.units(data):
        _step(steps)
        if kind == av1.SEQUENCE_HEADER:
            size = av1.max_size(payload)
            check_size(*size)
            pixels = max(pixels, math.prod(size))
        frames += kind in av1.FRAMES
    return pixels * frames


def _step(steps: Iterator[int]) -> None:
    if next(steps, None) is None:
        raise ImageError(IMAGE_TOO_LARGE, f"its images are coded in more than {MAX_CHUNKS} units")


def _as_still(content: bytes) -> bytes:
    """Return an AVIF without the brand of sequences: its still image is decoded, independent of its tracks."""
    (length,) = struct.unpack_from(">I", content)
    return content[:length].replace(SEQUENCE_BRAND, STILL_BRAND) + content[length:]


class _Reader:
    """One pass over the boxes; the number of steps is bounded for any bytes."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.steps = iter(range(MAX_CHUNKS))
        self.sizes: list[Size | None] = []
        self.data_at = 0
        self.found = _Items()

    def items(self) -> _Items:
        """Return the content of the box "meta"; raise ImageError where there is none."""
        for kind, at, end in self._boxes(0, len(self.content)):
            if kind == b"meta":
                self._meta(at + 4, end)
                return self.found
        raise ImageError(IMAGE_BROKEN, "it ends before the description of its images")

    def _boxes(self, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
        """Yield the kind of each box, and where what it holds begins and ends."""
        while at + 8 <= end:
            _step(self.steps)
            length, kind = self._numbers("I4s", at)
            begin = at + 8
            if length == 1:
                (length,) = self._numbers("Q", begin)
                begin += 8
            at = at + length if length else end
            if at < begin or at > end:
                raise ImageError(IMAGE_BROKEN, f"its box {kind!r} goes beyond what holds it")
            yield kind, begin, at

    def _meta(self, at: int, end: int) -> None:
        boxes = {kind: (begin, stop) for kind, begin, stop in self._boxes(at, end)}
        self.data_at = boxes.get(b"idat", (0, 0))[0]
        for kind, read in (
            *((b"pitm", self._primary), (b"iinf", self._kinds), (b"iprp", self._properties)),
            *((b"iloc", self._places), (b"iref", self._references)),
        ):
            if kind in boxes:
                read(*boxes[kind])

    def _primary(self, at: int, _: int) -> None:
        (self.found.primary,) = self._numbers("I" if self.content[at] else "H", at + 4)

    def _kinds(self, at: int, end: int) -> None:
        for kind, begin, _ in self._boxes(at + (8 if self.content[at] else 6), end):
            if kind == b"infe":
                form = "I2x4s" if self.content[begin] > 2 else "H2x4s"
                number, item = self._numbers(form, begin + 4)
                self.found.kinds[number] = item

    def _properties(self, at: int, end: int) -> None:
        boxes = list(self._boxes(at, end))
        for kind, begin, stop in boxes:
            if kind == b"ipco":
                self.sizes = [self._size(*each) for each in self._boxes(begin, stop)]
        for kind, begin, _ in boxes:
            if kind == b"ipma":
                self._associations(begin)

    def _size(self, kind: bytes, at: int, _: int) -> Size | None:
        return self._numbers("II", at + 4) if kind == b"ispe" else None

    def _associations(self, at: int) -> None:
        version, is_wide = self.content[at], self.content[at + 3] & 1
        (count,) = self._numbers("I", at + 4)
        at += 8
        for _ in range(count):
            _step(self.steps)
            number, held = self._numbers("IB" if version else "HB", at)
            at += 5 if version else 3
            for _ in range(held):
                (index,) = self._numbers("H" if is_wide else "B", at)
                at += 2 if is_wide else 1
                index &= 0x7FFF if is_wide else 0x7F
                size = self.sizes[index - 1] if 0 < index <= len(self.sizes) else None
                if size is not None:
                    self.found.sizes[number] = max(size, self.found.sizes.get(number, (0, 0)), key=math.prod)

    def _places(self, at: int, _: int) -> None:
        version, lengths, more = self._numbers("B3xBB", at)
        widths = lengths >> 4, lengths & 15, more >> 4, more & 15 if version else 0
        number_form = "I" if version > 1 else "H"
        (count,) = self._numbers(number_form, at + 6)
        at += 6 + struct.calcsize(number_form)
        for _ in range(count):
            (number,) = self._numbers(number_form, at)
            at += struct.calcsize(number_form)
            method = self._numbers("H", at)[0] & 15 if version else 0
            at += 4 if version else 2  # and where the data are: in this file
            base = self._wide(at, widths[2])
            (extents,) = self._numbers("H", at + widths[2])
            at += widths[2] + 2
            self.found.places[number] = []
            for _ in range(extents):
                _step(self.steps)
                begin = base + self._wide(at + widths[3], widths[0]) + (self.data_at if method == 1 else 0)
                length = self._wide(at + widths[3] + widths[0], widths[1])
                at += widths[3] + widths[0] + widths[1]
                end = min(begin + length, len(self.content)) if length else len(self.content)
                self.found.places[number].append((min(begin, end), end))

    def _references(self, at: int, end: int) -> None:
        form = "I" if self.content[at] else "H"
        size = struct.calcsize(form)
        for kind, begin, _ in self._boxes(at + 4, end):
            number, count = self._numbers(f"{form}H", begin)
            if kind == b"dimg":
                _step(self.steps)
                self.found.tiles[number] = [*self._numbers(f"{count}{form}", begin + size + 2)]

    def _wide(self, at: int, width: int) -> int:
        """Return a number of so many bytes."""
        return int.from_bytes(self.content[at : at + width], "big")

    def _numbers(self, form: str, at: int) -> tuple[Any, ...]:
        return struct.unpack_from(f">{form}", self.content, at)
