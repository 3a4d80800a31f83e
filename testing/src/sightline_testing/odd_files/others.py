"""GIF, BMP and WebP of odd kinds, and files that only resemble an image."""

import struct
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import Any

import numpy as np
from PIL import Image, ImageCms, ImageOps

from sightline_testing import sample_images
from sightline_testing.odd_files import EXACT, LOSSY, ROUNDED, SIZE, Odd, OddFile, again, original
from sightline_testing.sample_images import IMAGE_BROKEN, STORED_BY_ORIENTATION, UNSUPPORTED_TYPE, encode

LOSSLESS: Mapping[str, Any] = {"lossless": True, "method": 0}
CUTS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.97)
BMP_HEADERS = {12: "core", 40: "info", 52: "v2", 56: "v3", 64: "os2", 108: "v4", 124: "v5"}


def files() -> Odd:
    """Yield them all."""
    yield from _gifs()
    yield from _bmps()
    yield from _webps()
    yield from _small()
    yield from _cut()
    yield from _no_images()


Make = Callable[[], bytes]


def _file(
    name: str, content: bytes | Make, shows: Image.Image | Callable[[], Image.Image], tolerance: float = EXACT
) -> OddFile:
    """Return a file; what takes long to make is given as what makes it once it is needed."""
    make = content if callable(content) else partial(bytes, content)
    return OddFile(name, make, shows if callable(shows) else shows.copy, tolerance)


def _edited(make: Make, edit: Callable[[bytes], bytes]) -> Make:
    return lambda: edit(make())


@cache
def _indexed(colours: int) -> Image.Image:
    return original().quantize(colours, Image.Quantize.FASTOCTREE)


@cache
def _gif(colours: int, is_interlaced: int) -> bytes:
    return encode(_indexed(colours), "GIF", interlace=is_interlaced)


def _shown_gif(colours: int) -> Image.Image:
    return _indexed(colours).convert("RGB")


def _gifs() -> Odd:
    for colours in (2, 4, 16, 64, 256):
        for is_interlaced in (0, 1):
            make, shown = partial(_gif, colours, is_interlaced), partial(_shown_gif, colours)
            name = f"{colours} colours {is_interlaced}"
            yield _file(f"{name} 87a.gif", _edited(make, lambda content: b"GIF87a" + content[6:]), shown)
            yield _file(f"{name} 89a.gif", _edited(make, lambda content: b"GIF89a" + content[6:]), shown)
            yield _file(f"{name} without trailer.gif", _edited(make, lambda content: content.rstrip(b";")), shown)
    extensions = {
        "comment": b"!\xfe\x05hello\0", "empty comment": b"!\xfe\0", "application": b"!\xff\x0bNETSCAPE2.0\3\1\0\0\0",
        "unknown": b"!\x42\1?\0", "text": b"!\1\x0c" + bytes(12) + b"\0",
    }  # fmt: skip
    still, shown = partial(_gif, 256, 1), partial(_shown_gif, 256)
    for name, extension in extensions.items():
        yield _file(f"{name}.gif", _edited(still, partial(_extended, extension)), shown)
    yield _file("trailing zeros.gif", _edited(still, lambda content: content + bytes(99)), shown)
    yield _file("trailing gif.gif", _edited(still, lambda content: 2 * content), shown)
    yield _file("trailing script.gif", _edited(still, lambda content: content + b"<script>"), shown)
    yield _file("animated.gif", _animated_gif, shown)
    yield _file("animated, the second frame cut.gif", lambda: _animated_gif()[: len(still()) + 200], shown)
    yield _file("local colours.gif", _edited(still, _with_local_colours), shown)
    yield _file("transparent.gif", _transparent_gif, _shown_transparent_gif)


def _colours_end(gif: bytes) -> int:
    return 13 + (3 << (gif[10] & 7) + 1)


def _extended(extension: bytes, gif: bytes) -> bytes:
    return gif[: _colours_end(gif)] + extension + gif[_colours_end(gif) :]


@cache
def _animated_gif() -> bytes:
    return encode(_indexed(256), "GIF", save_all=True, append_images=[ImageOps.invert(original())], duration=50)


def _with_local_colours(gif: bytes) -> bytes:
    """Return a GIF whose colours belong to its frame."""
    end = _colours_end(gif)
    descriptor = gif.index(b",", end)
    flags = gif[descriptor + 9] | 0x80 | gif[10] & 7
    local = bytes((*gif[descriptor : descriptor + 9], flags)) + gif[13:end] + gif[descriptor + 10 :]
    return gif[:10] + bytes((gif[10] & 0x7F, *gif[11:13])) + local


def _transparent_gif() -> bytes:
    return encode(_indexed(256), "GIF", transparency=_indexed(256).getpixel((0, 0)))


def _shown_transparent_gif() -> Image.Image:
    indexed = _indexed(256)
    hole, white = indexed.getpixel((0, 0)), Image.new("RGB", SIZE, (255, 255, 255))
    mask = indexed.point([255 * (value != hole) for value in range(256)], "L")
    return Image.composite(indexed.convert("RGB"), white, mask)


def _bmp(pixels: bytes, bits: int, colours: bytes = b"", *, header: int, is_top_down: bool) -> bytes:
    """Return a BMP; its colours are a palette, or the masks of its channels above 8 bits."""
    width, height = SIZE
    masks = colours if bits > 8 else b""
    if header == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        shown = -height if is_top_down else height
        info = struct.pack("<IiiHHIIiiII", header, width, shown, 1, bits, 3 if masks else 0, len(pixels), 0, 0, 0, 0)
        info = (info + (masks if header > 40 else b"")).ljust(header, b"\0") + (masks if header == 40 else b"")
    palette = b"" if masks else colours
    at = 14 + len(info) + len(palette)
    return struct.pack("<2sIHHI", b"BM", at + len(pixels), 0, 0, at) + info + palette + pixels


def _rows(image: Image.Image, mode: str, *, is_top_down: bool) -> bytes:
    return image.tobytes("raw", mode, 0, 1 if is_top_down else -1)


def _bmps() -> Odd:
    for header, label in BMP_HEADERS.items():
        for is_top_down in (False, True) if header != 12 else (False,):
            form: dict[str, Any] = {"header": header, "is_top_down": is_top_down}
            name = f"{label} {'down' if is_top_down else 'up'}"
            yield _file(f"24 bits {name}.bmp", partial(_bmp_of_colours, "BGR", 24, **form), original())
            yield _file(f"8 bits {name}.bmp", partial(_bmp_of_greys, **form), _grey)
            yield _file(f"4 bits {name}.bmp", partial(_bmp_of_sixteen_greys, **form), _sixteen_greys)
            yield _file(f"1 bit {name}.bmp", partial(_bmp_of_bits, **form), _bits)
            if header == 12:
                continue
            yield _file(f"32 bits {name}.bmp", partial(_bmp_of_colours, "BGRX", 32, **form), original())
            masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0)[: 12 if header == 40 else 16]
            if header != 64:
                make = partial(_bmp_of_colours, "BGRX", 32, masks, **form)
                yield _file(f"32 bits of fields {name}.bmp", make, original())
            yield _file(f"16 bits {name}.bmp", partial(_bmp_of_fifteen_bits, **form), original(), LOSSY)
    for depth in (4, 8):
        yield _file(f"runs of {depth} bits.bmp", partial(_bmp_of_runs, depth), partial(_shown_runs, depth), ROUNDED)
    yield _file("trailing zeros.bmp", lambda: encode(original(), "BMP") + bytes(99), original())
    # A whole file in place of the pixels, as for printers, and the colours of inks.
    for kind, compression in (("JPEG", 4), ("PNG", 5), ("CMYK", 11)):
        yield OddFile(f"of {kind}.bmp", partial(_bmp_of_a_file, kind, compression), code=UNSUPPORTED_TYPE)


def _bmp_of_colours(mode: str, bits: int, masks: bytes = b"", *, header: int, is_top_down: bool) -> bytes:
    rows = _rows(original(), mode, is_top_down=is_top_down)
    return _bmp(rows, bits, masks, header=header, is_top_down=is_top_down)


def _palette(values: Iterable[int], header: int) -> bytes:
    """Return a palette of these greys: the oldest header has three bytes for each, the others four."""
    return b"".join(bytes((value,) * 3 + (0,) * (header != 12)) for value in values)


def _grey() -> Image.Image:
    return original().convert("L").convert("RGB")


def _bmp_of_greys(*, header: int, is_top_down: bool) -> bytes:
    rows = _rows(original().convert("L"), "L", is_top_down=is_top_down)
    return _bmp(rows, 8, _palette(range(256), header), header=header, is_top_down=is_top_down)


def _sixteen_greys() -> Image.Image:
    return original().convert("L").point([value // 17 * 17 for value in range(256)]).convert("RGB")


def _bmp_of_sixteen_greys(*, header: int, is_top_down: bool) -> bytes:
    numbers = original().convert("L").point([value // 17 for value in range(256)])
    values = np.frombuffer(_rows(numbers, "L", is_top_down=is_top_down), np.uint8)
    halves = (values[::2] << 4 | values[1::2]).tobytes()
    return _bmp(halves, 4, _palette(range(0, 256, 17), header), header=header, is_top_down=is_top_down)


def _bits() -> Image.Image:
    return original().convert("1").convert("RGB")


def _bmp_of_bits(*, header: int, is_top_down: bool) -> bytes:
    rows = _rows(original().convert("1"), "1", is_top_down=is_top_down)
    return _bmp(rows, 1, _palette((0, 255), header), header=header, is_top_down=is_top_down)


def _bmp_of_fifteen_bits(*, header: int, is_top_down: bool) -> bytes:
    rows = _fifteen_bits(original() if is_top_down else ImageOps.flip(original()))
    return _bmp(rows, 16, header=header, is_top_down=is_top_down)


def _bmp_of_runs(depth: int) -> bytes:
    """Return a BMP in which each pixel is a run of its own."""
    most = 2**depth - 1
    values = np.asarray(ImageOps.flip(original().convert("L"))).astype(np.uint16) * most // 255
    runs = np.stack([np.ones_like(values), values << 4 if depth == 4 else values], axis=2).astype(np.uint8)
    rows = b"".join(row.tobytes() + b"\0\0" for row in runs)
    return sample_images.run_length_bmp(SIZE[0], SIZE[1], rows, depth)


def _shown_runs(depth: int) -> Image.Image:
    most = 2**depth - 1
    return original().convert("L").point([value * most // 255 * 255 // most for value in range(256)]).convert("RGB")


def _bmp_of_a_file(kind: str, compression: int) -> bytes:
    body = encode(original(), kind) if compression < 11 else bytes(4 * SIZE[0] * SIZE[1])
    depth = 0 if compression < 11 else 32
    return (
        struct.pack("<2sI4xIIiiHHII16x", b"BM", 54 + len(body), 54, 40, *SIZE, 1, depth, compression, len(body)) + body
    )


def _fifteen_bits(image: Image.Image) -> bytes:
    red, green, blue = (np.asarray(channel).astype("<u2") >> 3 for channel in image.split())
    return (red << 10 | green << 5 | blue).astype("<u2").tobytes()


def _webps() -> Odd:
    for quality in (60, 95):
        for method in (0, 6):
            shown = partial(again, original(), "WEBP", quality=quality, method=method)
            yield _file(f"lossy {quality} {method}.webp", _webp(quality=quality, method=method), shown)
    lossless = cache(_webp(**LOSSLESS))
    yield _file("lossless.webp", lossless, original())
    yield _file("trailing zeros.webp", _edited(lossless, lambda content: content + bytes(99)), original())
    yield _file("trailing script.webp", _edited(lossless, lambda content: content + b"<script>"), original())
    clear = sample_images.transparent()
    white = Image.new("RGB", clear.size, (255, 255, 255))
    white.paste(clear, mask=clear.getchannel("A"))
    for is_lossless in (False, True):
        for is_exact in (False, True):
            content = partial(encode, clear, "WEBP", lossless=is_lossless, exact=is_exact, quality=95, method=0)
            yield _file(f"transparent {is_lossless} {is_exact}.webp", content, white, EXACT if is_lossless else LOSSY)
        others = [ImageOps.invert(original())]
        animated = _webp(save_all=True, append_images=others, lossless=is_lossless, quality=95, method=0)
        yield _file(f"animated {is_lossless}.webp", animated, original(), EXACT if is_lossless else LOSSY)
    for orientation in range(1, 9):
        stored = original()
        if orientation in STORED_BY_ORIENTATION:
            stored = stored.transpose(STORED_BY_ORIENTATION[orientation])
        for name, skipped in (("exif", 0), ("bare exif", 6)):
            block = sample_images.exif(orientation)[skipped:]
            content = partial(encode, stored, "WEBP", **LOSSLESS, exif=block)
            yield _file(f"orientation {orientation} {name}.webp", content, original())
    for length in (1, 6, 9, 20):
        short = _webp(**LOSSLESS, exif=sample_images.exif(6)[:length])
        yield _file(f"exif cut at {length}.webp", short, original())
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, icc in {"srgb": profile, "damaged": profile[:40], "zeros": bytes(9)}.items():
        yield _file(f"{name} profile.webp", _webp(**LOSSLESS, icc_profile=icc), original())


def _webp(**options: Any) -> Make:
    return partial(encode, original(), "WEBP", **options)


def _small() -> Odd:
    for width, height in ((1, 1), (2, 3), (7, 5), (33, 17), (50, 1), (1, 50)):
        small = sample_images.scene(64, 64).resize((width, height))
        for kind in ("PNG", "BMP", "WEBP"):
            options = LOSSLESS if kind == "WEBP" else {}
            yield _file(f"{width}x{height}.{kind.lower()}", encode(small, kind, **options), small)
        yield _file(f"{width}x{height}.gif", encode(small, "GIF"), again(small, "GIF"))


def _cut() -> Odd:
    for kind in ("PNG", "GIF", "BMP", "WEBP"):
        make = partial(_gif, 256, 1) if kind == "GIF" else cache(partial(encode, original(), kind))
        for share in CUTS:
            cut = _edited(make, partial(_cut_off, share))
            yield OddFile(f"cut at {share}.{kind.lower()}", cut, code=IMAGE_BROKEN)


def _cut_off(share: float, content: bytes) -> bytes:
    return content[: int(len(content) * share)]


def _no_images() -> Odd:
    starts = {
        "empty": b"", "text": b"no image\n" * 9, "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>", "pdf": b"%PDF",
        "film": b"\0\0\0\x18ftypisom", "raw": b"\0\0\0\x18ftypcrx ", "jp2": b"\0\0\0\x0cjP  \r\n\x87\n",
        "jxl": b"\xff\x0a", "psd": b"8BPS\0\1", "mng": b"\x8aMNG\r\n\x1a\n", "jng": b"\x8bJNG\r\n\x1a\n",
        "qoi": b"qoif", "riff": b"RIFF\0\0\0\0WAVE", "html": b"<!doctype html>", "gif88a": b"GIF88a" + bytes(99),
    }  # fmt: skip
    for name, start in starts.items():
        yield OddFile(f"no image {name}.jpg", partial(bytes, start), code=UNSUPPORTED_TYPE)
    for kind in ("ICO", "PPM", "TGA", "PCX", "DDS", "ICNS", "JPEG2000", "EPS"):
        yield OddFile(f"no image {kind}.png", partial(encode, original(), kind), code=UNSUPPORTED_TYPE)
    for name, content in {
        "HEIC": b"\0\0\0\x18ftypheic", "AVIF": b"\0\0\0\x1cftypavif", "TIFF": b"II*\0",
        "BM": b"BM" + bytes(60), "GIF": b"GIF89a" + bytes(60), "PNG": b"\x89PNG\r\n\x1a\n" + bytes(60),
        "RIFF": b"RIFF\x40\0\0\0WEBP" + bytes(60),
    }.items():  # fmt: skip
        yield OddFile(f"signature alone {name}", partial(bytes, content), code=IMAGE_BROKEN)
    yield OddFile("webp of noise", lambda: b"RIFF\x40\0\0\0WEBPVP8 \x30\0\0\0" + bytes(48), code=IMAGE_BROKEN)
