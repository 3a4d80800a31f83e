"""PNGs of odd kinds, written chunk by chunk."""

import struct
import zlib
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from sightline_testing import sample_images
from sightline_testing.odd_files import EXACT, ROUNDED, SIZE, Odd, OddFile, original
from sightline_testing.sample_images import IMAGE_BROKEN, STORED_BY_ORIENTATION, UNSUPPORTED_TYPE, encode, png_chunk

SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = png_chunk(b"IEND", b"")
GREY, RGB, INDEXED, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
DEPTHS = {GREY: (1, 2, 4, 8, 16), RGB: (8, 16), INDEXED: (1, 2, 4, 8), GREY_ALPHA: (8, 16), RGBA: (8, 16)}
# Where the passes of an interlaced PNG begin, and their steps: x, y, across, down.
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
HOLE = (60, 80)  # rows and columns of a corner that is transparent

Samples = NDArray[np.uint16]
Make = Callable[[], bytes]


@cache
def samples_of(colour: int, depth: int) -> tuple[Samples, Image.Image]:
    """Return the numbers of a PNG of this kind, and what they show; those with alpha have a transparent corner."""
    most = 2**depth - 1
    if colour in (GREY, INDEXED):
        numbers = (np.asarray(original().convert("L")).astype(np.uint32) * most // 255).astype(np.uint16)
        shown = (numbers.astype(np.uint32) * 255 // most).astype(np.uint8)
        return numbers[:, :, None], Image.fromarray(np.repeat(shown[:, :, None], 3, 2))
    seen = original().convert("L") if colour == GREY_ALPHA else original()
    shown = np.asarray(seen.convert("RGB")).copy()
    scale = most // 255
    numbers = np.atleast_3d(np.asarray(seen)).astype(np.uint16) * scale
    if colour in (GREY_ALPHA, RGBA):
        alpha = np.full((*numbers.shape[:2], 1), most, np.uint16)
        alpha[: HOLE[0], : HOLE[1]] = 0
        shown[: HOLE[0], : HOLE[1]] = 255
        numbers = np.concatenate([numbers, alpha], 2)
    return numbers, Image.fromarray(shown)


def packed(numbers: Samples, depth: int, filtering: int = 0) -> bytes:
    """Return the rows of these samples, each filtered by none, its left neighbour or the row above."""
    rows = numbers.reshape(len(numbers), -1)
    if depth == 16:
        data = rows.astype(">u2").view(np.uint8).reshape(len(rows), -1)
    elif depth == 8:
        data = rows.astype(np.uint8)
    else:
        bits = np.unpackbits(rows.astype(np.uint8)[:, :, None], axis=2)[:, :, -depth:]
        data = np.packbits(bits.reshape(len(rows), -1), axis=1)
    if filtering == 1:
        step = max(1, numbers.shape[2] * depth // 8)
        data = np.concatenate([data[:, :step], data[:, step:] - data[:, :-step]], 1)
    elif filtering == 2:
        data = np.concatenate([data[:1], data[1:] - data[:-1]])
    return b"".join(bytes((filtering,)) + row.tobytes() for row in data)


def png(  # noqa: PLR0913  what a PNG is made of
    numbers: Samples, colour: int, depth: int, *, chunks: bytes = b"", is_interlaced: bool = False, filtering: int = 0
) -> bytes:
    """Return a PNG of these samples with chunks before its data."""
    passes = PASSES if is_interlaced else ((0, 0, 1, 1),)
    parts = (numbers[y::down, x::across] for x, y, across, down in passes)
    data = b"".join(packed(part, depth, filtering) for part in parts if part.size)
    height, width = numbers.shape[:2]
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, is_interlaced))
    return SIGNATURE + header + chunks + png_chunk(b"IDAT", zlib.compress(data, 1)) + END


def palette(depth: int) -> bytes:
    """Return a palette of greys."""
    most = 2**depth - 1
    return png_chunk(b"PLTE", b"".join(bytes((value * 255 // most,) * 3) for value in range(most + 1)))


def with_chunk(content: bytes, chunk: bytes, *, is_late: bool = False) -> bytes:
    """Return a PNG with a chunk before its data, or behind them."""
    at = len(content) - len(END) if is_late else content.index(b"IDAT") - 4
    return content[:at] + chunk + content[at:]


def damaged(chunk: bytes) -> bytes:
    """Return a chunk with a wrong check sum."""
    return chunk[:-1] + bytes((chunk[-1] ^ 1,))


def files() -> Odd:
    """Yield them all; what takes long to make is made once it is needed."""
    yield from _kinds()
    yield from _transparent_colours()
    yield from _orientations()
    yield from _other_chunks()
    yield from _data_chunks()
    yield from _ends()
    yield from _refused()


def _same(name: str, make: Make) -> OddFile:
    return OddFile(f"{name}.png", make, original)


def _refuse(name: str, make: Make, code: str = IMAGE_BROKEN) -> OddFile:
    return OddFile(f"{name}.png", make, code=code)


@cache
def _plain() -> bytes:
    return encode(original(), "PNG")


def _edited(edit: Callable[[bytes], bytes], make: Make = _plain) -> Make:
    return lambda: edit(make())


def _of_kind(colour: int, depth: int, **options: Any) -> bytes:
    return png(samples_of(colour, depth)[0], colour, depth, **options)


def _shown(colour: int, depth: int) -> Image.Image:
    return samples_of(colour, depth)[1]


def _kinds() -> Odd:
    for colour, depths in DEPTHS.items():
        for depth in depths:
            chunks = palette(depth) if colour == INDEXED else b""
            for is_interlaced in (False, True):
                for filtering in (0, 1, 2):
                    make = partial(
                        _of_kind, colour, depth, chunks=chunks, is_interlaced=is_interlaced, filtering=filtering
                    )
                    name = f"colour {colour} depth {depth} {is_interlaced} filter {filtering}"
                    yield OddFile(f"{name}.png", make, partial(_shown, colour, depth), ROUNDED)


def _transparent_colours() -> Odd:
    for colour, depths in DEPTHS.items():
        for depth in depths:
            if colour in (GREY_ALPHA, RGBA):
                continue
            for is_interlaced in (False, True):
                make = partial(_with_key, colour, depth, is_interlaced=is_interlaced)
                name = f"transparent colour {colour} depth {depth} {is_interlaced}"
                yield OddFile(f"{name}.png", make, partial(_without_key, colour, depth), ROUNDED)
            if colour != INDEXED:
                make = partial(_with_key, colour, depth, is_damaged=True)
                name = f"transparent colour {colour} depth {depth} damaged"
                yield OddFile(f"{name}.png", make, partial(_shown, colour, depth), ROUNDED)


def _with_key(colour: int, depth: int, *, is_interlaced: bool = False, is_damaged: bool = False) -> bytes:
    """Return a PNG in which the colour of the first pixel is transparent."""
    numbers, _ = samples_of(colour, depth)
    key = numbers[0, 0]
    chunk = png_chunk(b"tRNS", key.astype(">u2").tobytes())
    if colour == INDEXED:
        chunk = palette(depth) + png_chunk(b"tRNS", b"\xff" * int(key[0]) + b"\0")
    chunks = damaged(chunk) if is_damaged else chunk
    return png(numbers, colour, depth, chunks=chunks, is_interlaced=is_interlaced)


def _without_key(colour: int, depth: int) -> Image.Image:
    numbers, shows = samples_of(colour, depth)
    hidden = np.asarray(shows).copy()
    hidden[(numbers == numbers[0, 0]).all(axis=2)] = 255
    return Image.fromarray(hidden)


@cache
def _stored(orientation: int) -> Image.Image:
    turned = STORED_BY_ORIENTATION.get(orientation)
    return original() if turned is None else original().transpose(turned)


def _orientations() -> Odd:
    for orientation in range(1, 9):
        content = cache(partial(encode, _stored(orientation), "PNG"))
        for order in "<>":
            chunk = png_chunk(b"eXIf", sample_images.exif(orientation, byte_order=order)[6:])
            yield _same(f"orientation {orientation} {order == '<'}", _edited(partial(with_chunk, chunk=chunk), content))
        for name, edit in {
            "late": partial(with_chunk, chunk=chunk, is_late=True),
            "damaged": partial(with_chunk, chunk=damaged(chunk)),
        }.items():
            make = _edited(edit, content)
            yield OddFile(f"orientation {orientation} {name}.png", make, partial(_stored, orientation))


def _other_chunks() -> Odd:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    chunks = {
        b"gAMA": struct.pack(">I", 45_455), b"cHRM": struct.pack(">8I", *[31_270] * 8), b"sRGB": b"\0",
        b"iCCP": b"sRGB\0\0" + zlib.compress(profile), b"sBIT": b"\x08\x08\x08", b"bKGD": bytes(6), b"hIST": bytes(2),
        b"pHYs": bytes(9), b"sPLT": b"name\0\x08", b"tIME": bytes(7), b"tEXt": b"Comment\0text",
        b"zTXt": b"Comment\0\0" + zlib.compress(b"text"), b"iTXt": b"Comment\0\0\0\0\0text", b"acTL": bytes(8),
        b"cICP": bytes(4), b"mDCV": bytes(24), b"prVt": b"?" * 99, b"XxXx": b"?",
    }  # fmt: skip
    for kind, payload in chunks.items():
        name, chunk = kind.decode(), png_chunk(kind, payload)
        yield _same(f"{name}", _edited(partial(with_chunk, chunk=chunk)))
        yield _same(f"{name} late", _edited(partial(with_chunk, chunk=chunk, is_late=True)))
        yield _same(f"{name} damaged", _edited(partial(with_chunk, chunk=damaged(chunk))))
        yield _same(f"{name} empty", _edited(partial(with_chunk, chunk=png_chunk(kind, b""))))


def _data_chunks() -> Odd:
    numbers, _ = samples_of(RGB, 8)
    content = png(numbers, RGB, 8)
    at = content.index(b"IDAT")
    start, data = content[: at - 4], content[at + 4 : -len(END) - 4]
    empty = png_chunk(b"IDAT", b"")
    for size in (37, 1_000, 8_192, len(data) - 1):
        parts = [png_chunk(b"IDAT", data[begin : begin + size]) for begin in range(0, len(data), size)]
        yield _same(f"data in parts of {size}", partial(bytes, start + b"".join(parts) + END))
        yield _same(
            f"data in parts of {size} and none", partial(bytes, start + empty + empty.join(parts) + empty + END)
        )
    yield _same("wrong check sum of the data", partial(bytes, start + damaged(png_chunk(b"IDAT", data)) + END))
    yield _refuse("data missing", partial(bytes, start + END))
    yield _refuse("empty data", partial(bytes, start + empty + END))
    for missing in (9, 100, len(data) // 2):
        short = start + png_chunk(b"IDAT", data[:-missing]) + END
        yield _refuse(f"{missing} bytes of the data missing", partial(bytes, short))
    yield _same("more data than rows", partial(bytes, start + png_chunk(b"IDAT", data + bytes(99)) + END))


def _ends() -> Odd:
    ends = {
        "missing": b"",
        "partial": END[:7],
        "junk": b"junk",
        "damaged": damaged(END),
        "text": b"\0\0\0\x63tEXthello",
    }
    for name, end in ends.items():
        yield _same(f"end {name}", _edited(partial(_with_end, end)))
    for name, trailer in {"zeros": bytes(999), "script": b"<script>", "end": END}.items():
        yield _same(f"trailing {name}", _edited(partial(_followed, trailer)))
    yield _same("trailing png", _edited(lambda content: content + content))
    yield _same("animated", _animated)
    yield _same("animated, the end cut", lambda: _animated()[: _animated().index(b"fdAT") + 2_000])
    other = ImageOps.invert(original())
    yield OddFile("default image.png", partial(_animated, other, default_image=True), partial(other.copy), EXACT)


def _with_end(end: bytes, content: bytes) -> bytes:
    return content[: -len(END)] + end


def _followed(trailer: bytes, content: bytes) -> bytes:
    return content + trailer


def _animated(first: Image.Image | None = None, **options: Any) -> bytes:
    others = [ImageOps.invert(original())]
    return encode(first or original(), "PNG", save_all=True, append_images=others, duration=50, **options)


def _refused() -> Odd:
    fields = struct.pack(">IIBBBBB", *SIZE, 8, RGB, 0, 0, 0)
    header = png_chunk(b"IHDR", fields)
    for name, flags in {"2002": b"\x30\0\x20\2", "2006": b"\x50\0\x20\6"}.items():
        yield _refuse(f"apple {name}", _headed(png_chunk(b"CgBI", flags) + header), UNSUPPORTED_TYPE)
    yield _refuse("header damaged", _headed(damaged(header)))
    yield _refuse("header twice", _headed(header + header))
    yield _refuse("header missing", _headed(b""))
    yield _refuse("header late", _headed(png_chunk(b"tEXt", b"Comment\0text") + header))
    yield _refuse("palette missing", partial(_of_kind, INDEXED, 8))
    yield _refuse("palette damaged", partial(_of_kind, INDEXED, 8, chunks=damaged(palette(8))))
    yield _refuse("palette empty", partial(_of_kind, INDEXED, 8, chunks=png_chunk(b"PLTE", b"")))
    for colour, depth in ((1, 8), (5, 8), (7, 8), (2, 4), (3, 16), (0, 7), (6, 1)):
        wrong = png_chunk(b"IHDR", struct.pack(">IIBBBBB", *SIZE, depth, colour, 0, 0, 0))
        yield _refuse(f"kind {colour} of {depth} bits", _headed(wrong))
    for place, name in ((11, "filtering"), (12, "interlacing")):
        unknown = fields[:place] + b"\7" + fields[place + 1 :]
        yield _refuse(f"unknown {name}", _headed(png_chunk(b"IHDR", unknown)))


def _headed(header: bytes) -> Make:
    """Return what makes a PNG with this in place of its header."""
    return _edited(lambda content: SIGNATURE + header + content[33:])
