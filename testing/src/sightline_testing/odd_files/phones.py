"""HEIC, AVIF and TIFF as phones, browsers and scanners write them, and as they come damaged."""

import io
import struct
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any

import cv2
import numpy as np
import pillow_heif
from PIL import Image, ImageCms, ImageOps

from sightline_testing.odd_files import EXACT, LOSSY, ROUNDED, SIZE, Odd, OddFile, original
from sightline_testing.sample_images import (
    FAST_HEIC,
    IMAGE_BROKEN,
    IMAGE_TOO_LARGE,
    STORED_BY_ORIENTATION,
    UNSUPPORTED_TYPE,
    encode,
    exif,
    transparent,
)

FAST_AVIF: Mapping[str, Any] = {"speed": 10, "quality": 95}
PACKED = ("raw", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits")
CUTS = (0.1, 0.5, 0.9)
# Of a few pixels a lossy encoder leaves less.
SMALL = 12.0
PAGES = {"save_all": True, "append_images": [Image.new("RGB", (64, 48))]}


def files() -> Odd:
    """Yield them all."""
    yield from _both("heic", "HEIF", FAST_HEIC)
    yield from _both("avif", "AVIF", FAST_AVIF)
    yield from _heics()
    yield from _avifs()
    yield from _tiffs()
    yield from _refused_tiffs()


Make = Callable[[], bytes]


def _file(name: str, content: Make, shows: Image.Image | None = None, tolerance: float = LOSSY) -> OddFile:
    return OddFile(name, content, lambda: shows or original(), tolerance)


def _made(kind: str, fast: Mapping[str, Any], image: Image.Image, **options: Any) -> Make:
    """Return what encodes an image once it is needed: it takes a twentieth of a second."""
    return partial(encode, image, kind, **{**fast, **options})


def _edited(make: Make, edit: Callable[[bytes], bytes]) -> Make:
    return lambda: edit(make())


def _stored(orientation: int) -> Image.Image:
    turned = STORED_BY_ORIENTATION.get(orientation)
    return original() if turned is None else original().transpose(turned)


def _srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _on_white() -> tuple[Image.Image, Image.Image]:
    clear = transparent().resize(SIZE)
    white = Image.new("RGB", SIZE, (255, 255, 255))
    white.paste(clear, mask=clear.getchannel("A"))
    return clear, white


def _both(suffix: str, kind: str, fast: Mapping[str, Any]) -> Odd:
    make = partial(_made, kind, fast)
    plain = cache(make(original()))
    clear, white = _on_white()
    grey = original().convert("L")
    yield _file(f"plain.{suffix}", plain)
    yield _file(f"grey.{suffix}", make(grey), grey.convert("RGB"))
    yield _file(f"transparent.{suffix}", make(clear), white)
    yield _file(f"profile.{suffix}", make(original(), icc_profile=_srgb()))
    more = {"save_all": True, "append_images": [ImageOps.invert(original())]}
    yield _file(f"first of two.{suffix}", make(original(), **more))
    yield _file(f"trailing zeros.{suffix}", _edited(plain, lambda content: content + bytes(99)))
    yield _file(f"coarse.{suffix}", make(original(), quality=60))
    for orientation in range(1, 9):
        yield _file(f"turned {orientation}.{suffix}", make(_stored(orientation), exif=exif(orientation)))
    for size in ((1, 1), (7, 5), (33, 17)):
        small = original().resize(size)
        yield _file(f"{size[0]}x{size[1]}.{suffix}", make(small), small, SMALL)
    # What leaves the codec to the brands that follow.
    yield _file(f"open brand.{suffix}", _edited(plain, lambda content: content[:8] + b"mif1" + content[12:]))
    for share in CUTS:
        cut = _edited(plain, partial(_cut, share))
        yield OddFile(f"cut at {share}.{suffix}", cut, code=IMAGE_BROKEN)
    large = _edited(plain, lambda content: with_size(content, 6_000, 5_000))
    yield OddFile(f"too large.{suffix}", large, code=IMAGE_TOO_LARGE)


def _cut(share: float, content: bytes) -> bytes:
    return content[: int(len(content) * share)]


def with_size(content: bytes, width: int, height: int) -> bytes:
    """Return a HEIC or AVIF in which each item declares this size."""
    parts = content.split(b"ispe\0\0\0\0")
    size = b"ispe\0\0\0\0" + struct.pack(">II", width, height)
    return parts[0] + b"".join(size + part[8:] for part in parts[1:])


def _heics() -> Odd:
    make = partial(_made, "HEIF", FAST_HEIC)
    for chroma in (422, 444):
        yield _file(f"chroma {chroma}.heic", make(original(), chroma=chroma))
    for side in (64, 100):
        yield _file(f"tiles of {side}.heic", make(original(), tile_size=side))
    yield _file("10 bits.heic", _ten_bits)
    yield _file("second of two.heic", _second_of_two)
    yield _file("thumbnail.heic", _with_thumbnail)
    other = _made("AVIF", FAST_AVIF, original())
    yield OddFile("of AV1.heic", _edited(other, lambda all_: all_[:8] + b"heic" + all_[12:]), code=UNSUPPORTED_TYPE)
    large = make(Image.new("L", (1_000, 800)))
    yield OddFile("larger than it says.heic", _edited(large, lambda all_: with_size(all_, 64, 64)), code=IMAGE_BROKEN)
    tiled = _edited(make(original(), tile_size=64), _with_large_tiles)
    yield OddFile("of large tiles.heic", tiled, code=IMAGE_TOO_LARGE)


def _ten_bits() -> bytes:
    deep = np.asarray(original()).astype(np.uint16) * 257
    return _saved(pillow_heif.from_bytes(mode="RGB;16", size=SIZE, data=deep.tobytes()))


def _second_of_two() -> bytes:
    two = pillow_heif.from_pillow(Image.new("RGB", (64, 48)))
    two.add_from_pillow(original())
    return _saved(two, primary_index=1)


def _with_thumbnail() -> bytes:
    images = pillow_heif.from_pillow(original())
    sizes: list[int | None] = [64]
    images[0].info["thumbnails"] = sizes
    return _saved(images)


def _saved(images: pillow_heif.HeifFile, **options: Any) -> bytes:
    out = io.BytesIO()
    images.save(out, **FAST_HEIC, **options)
    return out.getvalue()


def _with_large_tiles(content: bytes) -> bytes:
    """Return a HEIC whose tiles say that each has 25 megapixels; the whole keeps its size."""
    return content.replace(struct.pack(">II", 64, 64), struct.pack(">II", 5_000, 5_000))


def _avifs() -> Odd:
    make = partial(_made, "AVIF", FAST_AVIF)
    for chroma in ("4:2:2", "4:4:4"):
        yield _file(f"chroma {chroma}.avif", make(original(), subsampling=chroma))
    yield _file("limited range.avif", make(original(), range="limited"))
    yield _file("tiles.avif", make(original(), tile_rows=1, tile_cols=1))
    for depth in (10, 12):
        yield _file(f"{depth} bits.avif", partial(_deep_avif, depth))
    other = _made("HEIF", FAST_HEIC, original())
    yield OddFile("of HEVC.avif", _edited(other, lambda all_: all_[:8] + b"avif" + all_[12:]), code=UNSUPPORTED_TYPE)
    large = make(Image.new("L", (5_100, 5_100)))
    lying = _edited(large, lambda content: with_size(content, 64, 64))
    yield OddFile("larger than it says.avif", lying, code=IMAGE_TOO_LARGE)


def _deep_avif(depth: int) -> bytes:
    blue_first = np.asarray(original())[:, :, ::-1].astype(np.uint32) * ((1 << depth) - 1) // 255
    options = [cv2.IMWRITE_AVIF_QUALITY, 95, cv2.IMWRITE_AVIF_DEPTH, depth, cv2.IMWRITE_AVIF_SPEED, 10]
    return cv2.imencode(".avif", blue_first.astype(np.uint16), options)[1].tobytes()


def _tiffs() -> Odd:
    make = partial(_made, "TIFF", {})
    for packing in PACKED:
        for order in (False, True) if packing == "raw" else (False,):
            content = make(original(), compression=packing, big_endian=order)
            yield _file(f"{packing} {order}.tiff", content, tolerance=EXACT)
    yield _file("jpeg.tiff", make(original(), compression="jpeg", quality=95))
    yield _file("predictor.tiff", make(original(), compression="tiff_lzw", tiffinfo={317: 2}), tolerance=EXACT)
    yield _file("first of two pages.tiff", make(original(), **PAGES), tolerance=EXACT)
    yield _file("one strip.tiff", make(original(), compression="tiff_lzw", strip_size=1 << 20), tolerance=EXACT)
    yield _file("trailing zeros.tiff", _edited(make(original()), lambda all_: all_ + bytes(99)), tolerance=EXACT)
    yield _file("profile.tiff", make(original(), icc_profile=_srgb()), tolerance=EXACT)
    grey, bits = original().convert("L"), original().convert("1")
    indexed = original().quantize(64, Image.Quantize.FASTOCTREE)
    clear, white = _on_white()
    yield _file("grey.tiff", make(grey), grey.convert("RGB"), EXACT)
    yield _file("one bit.tiff", make(bits), bits.convert("RGB"), EXACT)
    yield _file("palette.tiff", make(indexed), indexed.convert("RGB"), EXACT)
    yield _file("transparent.tiff", make(clear), white, ROUNDED)
    yield _file("cmyk.tiff", make(original().convert("CMYK")), tolerance=ROUNDED)
    sixteen = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    for order in (False, True):
        yield _file(f"grey of 16 bits {order}.tiff", make(sixteen, big_endian=order), grey.convert("RGB"), EXACT)
    inverted = make(ImageOps.invert(grey))
    yield _file("white is zero.tiff", _edited(inverted, lambda all_: patched(all_, 262, 0)), grey.convert("RGB"), EXACT)
    deep = np.asarray(original())[:, :, ::-1].astype(np.uint16) * 257
    yield _file("colour of 16 bits.tiff", partial(_by_opencv, deep), tolerance=EXACT)
    for orientation in range(2, 9):
        content = make(_stored(orientation), tiffinfo={274: orientation})
        yield _file(f"turned {orientation}.tiff", content, tolerance=EXACT)
    for size in ((1, 1), (7, 5)):
        small = original().resize(size)
        yield _file(f"{size[0]}x{size[1]}.tiff", make(small), small, EXACT)


def _by_opencv(pixels: np.ndarray[Any, Any]) -> bytes:
    return cv2.imencode(".tiff", pixels)[1].tobytes()


def entries(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield the tag of each entry of the first directory of a little-endian TIFF, and where it stands."""
    (at,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, at)
    for place in range(at + 2, at + 2 + 12 * count, 12):
        yield struct.unpack_from("<H", content, place)[0], place


def patched(content: bytes, tag: int, value: int, *, kind: int = 4, count: int = 1) -> bytes:
    """Return a little-endian TIFF with another value of an entry."""
    place = dict(entries(content))[tag]
    return content[:place] + struct.pack("<HHII", tag, kind, count, value) + content[place + 12 :]


def _refused_tiffs() -> Odd:
    plain = encode(original(), "TIFF")
    packed = encode(original(), "TIFF", compression="tiff_lzw")
    for share in CUTS:
        yield OddFile(f"cut at {share}.tiff", partial(bytes, plain[: int(len(plain) * share)]), code=IMAGE_BROKEN)
    yield OddFile("damaged.tiff", lambda: packed[:3_000] + bytes(900) + packed[3_900:], code=IMAGE_BROKEN)
    large = patched(patched(plain, 256, 6_000), 257, 5_000)
    yield OddFile("too large.tiff", lambda: large, code=IMAGE_TOO_LARGE)
    yield OddFile("values of gigabytes.tiff", lambda: patched(plain, 258, 8, count=2**31), code=IMAGE_TOO_LARGE)
    yield OddFile("pixels of more bytes.tiff", lambda: patched(plain, 279, 2**31), code=IMAGE_BROKEN)
    for name, number in (("fax", 4), ("zstd", 50_000), ("of thunder", 32_809)):
        yield OddFile(f"compressed by {name}.tiff", partial(patched, plain, 259, number), code=UNSUPPORTED_TYPE)
    yield OddFile("of a sensor.tiff", lambda: patched(plain, 262, 32_803), code=UNSUPPORTED_TYPE)
    for mode in ("F", "I"):
        content = encode(original().convert("L").convert(mode), "TIFF")
        yield OddFile(f"samples {mode}.tiff", partial(bytes, content), code=UNSUPPORTED_TYPE)
    raw = encode(original(), "TIFF", tiffinfo={254: 1})
    yield OddFile("reduced.tiff", lambda: raw, code=UNSUPPORTED_TYPE)
    circle = plain[:4] + struct.pack("<I", 8) + struct.pack("<HHHII", 1, 330, 4, 1, 8) + struct.pack("<I", 8)
    yield OddFile("circle.tiff", lambda: circle, code=IMAGE_BROKEN)
    yield OddFile("no directory.tiff", lambda: b"II*\0\xff\xff\xff\x7f", code=IMAGE_BROKEN)
    yield OddFile("of 64 bits.tiff", lambda: b"II+\0\x08\0\0\0" + bytes(40), code=UNSUPPORTED_TYPE)
