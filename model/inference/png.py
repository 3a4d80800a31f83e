"""What a PNG's chunks say before anything is decoded, and which of them a decoder gets.

Text and further frames are left out, and so is what does not fit the image: a decoder would refuse the
whole for it, where browsers pass it over.
"""

import struct
import zlib
from collections.abc import Iterator

from inference.errors import IMAGE_BROKEN, IMAGE_TOO_LARGE, UNSUPPORTED_TYPE, ImageError
from inference.limits import MAX_CHUNKS, Size

SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = b"\0\0\0\0IEND\xaeB`\x82"
HEADER, DATA = b"IHDR", b"IDAT"
KEPT = frozenset((HEADER, b"PLTE", DATA))
OPTIONS = frozenset((b"eXIf", b"tRNS", b"iCCP", b"gAMA", b"sRGB"))
GREY, RGB, INDEXED = 0, 2, 3
LENGTHS = {b"gAMA": 4, b"sRGB": 1}
# Those of displays and cameras have up to 60 KB.
MAX_PROFILE_BYTES, MAX_NAME_BYTES = 256 * 1024, 81


def first_image(content: bytes) -> tuple[Size, bytes]:
    """Return width and height, and the bytes that a decoder needs; raise ImageError."""
    kind, width, height, depth, colour = struct.unpack_from(">4sIIBB", content, 12)
    if kind == b"CgBI":
        raise ImageError(UNSUPPORTED_TYPE, "PNG of Apple's kind CgBI, which only iOS reads; a standard PNG is taken")
    if kind != HEADER:
        raise ImageError(IMAGE_BROKEN, f"PNG begins with a chunk {kind!r} instead of its header")
    view, kept, colours, has_data, is_bare = memoryview(content), [memoryview(SIGNATURE)], 0, False, True
    for kind, at, end in _chunks(content):
        has_data |= kind == DATA
        if kind == b"PLTE":
            colours = (end - at - 12) // 3
        if kind in KEPT:
            kept.append(view[at:end])
            continue
        option = b"" if has_data else _option(kind, content[at:end], depth, colour, colours)
        is_bare &= option == view[at:end]
        kept.append(memoryview(option))
    if colour == INDEXED and not colours:
        raise ImageError(IMAGE_BROKEN, "PNG of indexed colours has no palette")
    is_bare &= sum(map(len, kept)) + len(END) == len(content)
    return (width, height), content if is_bare else b"".join((*kept, END))


def _chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind of each chunk before the end chunk, and where it begins and ends.

    What is missing behind the last data, the end chunk as well, is no part of the image.
    """
    at, has_data = len(SIGNATURE), False
    for _ in range(MAX_CHUNKS):
        length, kind = struct.unpack_from(">I4s", content, at) if at + 8 <= len(content) else (0, b"")
        end = at + 12 + length
        if kind == b"IEND" or (has_data and end > len(content) and kind != DATA):
            return
        if end > len(content):
            missing = f"a chunk of {length} bytes goes beyond the end of the file" if kind else "its data are missing"
            raise ImageError(IMAGE_BROKEN, f"PNG is truncated: {missing}")
        if kind == HEADER and at > len(SIGNATURE):
            # Pillow would take the size from the last one.
            raise ImageError(IMAGE_BROKEN, "PNG has two headers")
        yield kind, at, end
        at, has_data = end, has_data or kind == DATA
    raise ImageError(IMAGE_TOO_LARGE, f"PNG has more than {MAX_CHUNKS} chunks")


def _option(kind: bytes, chunk: bytes, depth: int, colour: int, colours: int) -> bytes:
    """Return a chunk before the data as a decoder needs it; empty where it is not needed or does not fit the image."""
    if kind not in OPTIONS or zlib.crc32(chunk[4:-4]).to_bytes(4, "big") != chunk[-4:]:
        return b""
    length = len(chunk) - 12
    if kind in LENGTHS:
        return chunk if length == LENGTHS[kind] else b""
    if kind == b"iCCP":
        return chunk if _is_profile(chunk[8:-4]) else b""
    if kind == b"eXIf" or (colour == INDEXED and 1 <= length <= colours):
        return chunk
    if length == {GREY: 2, RGB: 6}.get(colour):
        return _key(struct.unpack_from(f">{length // 2}H", chunk, 8), depth, colour)
    return b""


def _is_profile(body: bytes) -> bool:
    """Return whether a profile can be unpacked, to a size that one may have; Pillow refuses the image for another."""
    name_end = body.find(b"\0", 0, MAX_NAME_BYTES)
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(body[name_end + 2 :], MAX_PROFILE_BYTES)
    except zlib.error:
        return False
    return name_end > 0 and body[name_end + 1] == 0 and unpacker.eof and len(unpacked) < MAX_PROFILE_BYTES


def _key(values: tuple[int, ...], depth: int, colour: int) -> bytes:
    """Return the chunk of a transparent colour, in the numbers of the pixels that Pillow compares it with."""
    most = (1 << depth) - 1
    if colour == RGB and depth == 16:
        values = tuple(value >> 8 for value in values)
    elif depth in (2, 4):
        values = tuple((value & most) * 255 // most for value in values)
    body = b"tRNS" + struct.pack(f">{len(values)}H", *values)
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
