"""JPEGs of odd kinds."""

import struct
from functools import cache, partial

from PIL import Image, ImageCms

from sightline_testing import sample_images
from sightline_testing.hostile import jpegs
from sightline_testing.odd_files import LOSSY, ROUNDED, SIZE, Odd, OddFile, again, original
from sightline_testing.sample_images import IMAGE_BROKEN, STORED_BY_ORIENTATION, UNSUPPORTED_TYPE, encode

SAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")
END = b"\xff\xd9"
FRAMES = [*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)]
TAKEN = (0xC0, 0xC1, 0xC2)
FINE = {"quality": 95, "subsampling": "4:4:4"}


@cache
def usual(**options: object) -> bytes:
    """Return a JPEG of the image."""
    return encode(original(), "JPEG", **{**FINE, **options})


def inserted(content: bytes, *segments: bytes, at: int = 2) -> bytes:
    """Return a JPEG with these segments behind its first marker."""
    return content[:at] + b"".join(segments) + content[at:]


def without_first_segment(content: bytes) -> bytes:
    """Return a JPEG without its JFIF header."""
    (length,) = struct.unpack_from(">H", content, 4)
    return content[:2] + content[4 + length :]


def app(number: int, payload: bytes = b"") -> bytes:
    """Return an application segment."""
    return jpegs.segment(0xE0 + number, payload)


def files() -> Odd:
    """Yield them all."""
    yield from _encodings()
    yield from _colours()
    yield from _orientations()
    yield from _segments()
    yield from _ends()
    yield from _refused()


def _same(name: str, content: bytes, tolerance: float = LOSSY) -> OddFile:
    return OddFile(f"{name}.jpg", lambda: content, original, tolerance)


def _encodings() -> Odd:
    for sampling in SAMPLINGS:
        for is_progressive in (False, True):
            for quality in (60, 95):
                for is_optimised in (False, True):
                    options = {"progressive": is_progressive, "quality": quality, "optimize": is_optimised}
                    name = f"{sampling} {'progressive' if is_progressive else 'baseline'} {quality} {is_optimised}"
                    expected = partial(again, original(), "JPEG", subsampling=sampling, **options)
                    yield OddFile(f"{name}.jpg", partial(usual, subsampling=sampling, **options), expected, ROUNDED)
    for count in (1, 7, 40):
        for is_progressive in (False, True):
            for unit in ("blocks", "rows"):
                content = usual(progressive=is_progressive, **{f"restart_marker_{unit}": count})
                yield _same(f"restarts {count} {unit} {is_progressive}", content)
    for width, height in ((1, 1), (7, 5), (8, 8), (17, 33), (50, 1), (1, 50), (223, 225)):
        small = sample_images.scene(64, 64).resize((width, height))
        for is_progressive in (False, True):
            content = encode(small, "JPEG", progressive=is_progressive, **FINE)
            yield OddFile(
                f"{width}x{height} {is_progressive}.jpg", partial(bytes, content), partial(again, small, "PNG"), LOSSY
            )
    yield OddFile(
        "scan by component.jpg", lambda: jpegs.scan_by_component(72, 56), lambda: Image.new("RGB", (72, 56), (128,) * 3)
    )
    extended = usual().replace(b"\xff\xc0", b"\xff\xc1", 1)
    yield _same("extended sequential", extended)


def _colours() -> Odd:
    grey = original().convert("L")
    for is_progressive in (False, True):
        content = encode(grey, "JPEG", quality=95, progressive=is_progressive)
        yield OddFile(
            f"grey {is_progressive}.jpg", partial(bytes, content), lambda: original().convert("L").convert("RGB"), LOSSY
        )
    clock = partial(sample_images.scene)
    for transform in (0, 2):
        content = sample_images.inverted_cmyk_jpeg(transform=transform)
        yield OddFile(f"cmyk {transform}.jpg", partial(bytes, content), clock, LOSSY)
        yield OddFile(f"cmyk {transform} without end.jpg", partial(bytes, content[:-2]), clock, LOSSY)
    yield _same("rgb, not ycbcr", usual(keep_rgb=True))
    yield _same("adobe ycbcr", inserted(without_first_segment(usual()), app(14, b"Adobe\0\x64\0\0\0\0\1")))
    yield _same("adobe unknown", inserted(without_first_segment(usual()), app(14, b"Adobe\0\x64\0\0\0\0\7")))
    yield _same("adobe short", inserted(usual(), app(14, b"Adobe")))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    yield _same("srgb profile", usual(icc_profile=profile))
    yield _same("profile in two parts", usual(icc_profile=profile * 120))
    for number, damaged in enumerate((b"", b"\0", profile[:50], bytes(200), profile[:-1])):
        yield _same(f"damaged profile {number}", inserted(usual(), app(2, b"ICC_PROFILE\0\1\1" + damaged)))
    for parts in ((b"\2\3",), (b"\0\0",), (b"\1\1", b"\1\1"), (b"\1\2",), (b"\2\1",), (b"\1\2", b"\2\3"), (b"",)):
        segments = [app(2, b"ICC_PROFILE\0" + part + profile[:90]) for part in parts]
        yield _same(f"parts of a profile {parts}", inserted(usual(), *segments))
        yield _refuse(f"parts of a profile {parts} and pixels missing", inserted(usual(), *segments)[:-500])


def _orientations() -> Odd:
    for orientation in range(1, 9):
        stored = original()
        if orientation in STORED_BY_ORIENTATION:
            stored = stored.transpose(STORED_BY_ORIENTATION[orientation])
        for order in "<>":
            block = sample_images.exif(orientation, byte_order=order)
            yield _same(f"orientation {orientation} {order == '<'}", encode(stored, "JPEG", exif=block, **FINE))
        for is_progressive in (False, True):
            content = encode(stored, "JPEG", exif=block, progressive=is_progressive, **FINE)
            yield _same(f"orientation {orientation} without end {is_progressive}", content[:-2])
    whole = sample_images.exif(6)
    for length in (0, 3, 6, 8, 10, 13, 16, 20, 25):
        yield _same(f"exif cut at {length}", inserted(usual(), app(1, whole[:length])))
    for value in (0, 9, 255, 65_535):
        yield _same(f"orientation {value}", inserted(usual(), app(1, sample_images.exif(value))))
    yield _same("exif of zeros", inserted(usual(), app(1, b"Exif\0\0" + bytes(400))))
    yield _same("exif without end", inserted(usual(), app(1, b"Exif\0\0II*\0\xff\xff\xff\x7f")))
    yield _same("exif in a circle", inserted(usual(), app(1, b"Exif\0\0II*\0\x08\0\0\0\0\0\x08\0\0\0")))
    thumbnail = encode(original().resize((80, 60)), "JPEG")
    yield _same("thumbnail", inserted(usual(), app(1, sample_images.exif(1) + thumbnail)))
    yield _same("jfxx thumbnail", inserted(usual(), app(0, b"JFXX\0\x10" + thumbnail), at=20))
    yield _same("xmp", inserted(usual(), app(1, b"http://ns.adobe.com/xap/1.0/\0<x/>")))


def _segments() -> Odd:
    for number in range(16):
        yield _same(f"app {number} empty", inserted(usual(), app(number)))
        yield _same(f"app {number} full", inserted(usual(), app(number, b"x" * 65_533)))
    comment = jpegs.segment(0xFE, b"")
    yield _same("empty comment", inserted(usual(), comment))
    yield _same("900 comments", inserted(usual(), comment * 900))
    yield _same("jpeg in a comment", inserted(usual(), jpegs.segment(0xFE, usual(quality=30)[:60_000])))
    yield _same("without jfif", without_first_segment(usual()))
    yield _same("jfif of a later version", usual().replace(b"JFIF\0\1", b"JFIF\0\x09", 1))
    yield _same("jfif twice", inserted(usual(), usual()[2:20]))
    yield _same("filled markers", inserted(usual(), b"\xff" * 30))
    yield _same("stray zeros", inserted(usual(), bytes(3), at=usual().index(b"\xff\xdb")))
    yield _same("stray zeros before the end", inserted(usual(), bytes(3), at=len(usual()) - 2))


def _ends() -> Odd:
    trailers = {
        "script": b"<script>alert(1)</script>", "zeros": bytes(5_000), "filling": b"\xff" * 9, "end": END,
        "jpeg": usual(quality=20), "png": encode(original(), "PNG"), "zip": b"PK\5\6" + bytes(18), "0xff": b"\xff",
    }  # fmt: skip
    for is_progressive in (False, True):
        content = usual(progressive=is_progressive)
        for name, trailer in trailers.items():
            yield _same(f"trailing {name} {is_progressive}", content + trailer)
        for name, padding in {"": b"", "0xff": b"\xff", "zeros": bytes(900), "filling": b"\xff" * 9}.items():
            yield _same(f"without end, {name} {is_progressive}", content[:-2] + padding)
        for missing in (3, 4, 10, 100, len(content) // 2):
            yield _refuse(f"{missing} bytes missing {is_progressive}", content[:-missing])
            yield _refuse(f"{missing} bytes missing, padded {is_progressive}", content[:-missing] + bytes(2_000))
    frames = encode(original(), "MPO", save_all=True, append_images=[original().rotate(180)], **FINE)
    yield _same("several images", frames)
    yield _same("several images, the second cut", frames[: len(frames) * 3 // 4])


def _refuse(name: str, content: bytes, code: str = IMAGE_BROKEN) -> OddFile:
    return OddFile(f"{name}.jpg", lambda: content, code=code)


def _refused() -> Odd:
    for marker in FRAMES:
        if marker not in TAKEN:
            yield _refuse(f"kind {marker:x}", jpegs.header_alone(*SIZE, marker), UNSUPPORTED_TYPE)
    yield _refuse("12 bits", jpegs.header_alone(*SIZE, jpegs.EXTENDED, depth=12))
    yield _refuse("5 components", jpegs.header_alone(*SIZE).replace(b"\x03\x01\x11\0", b"\x05\x01\x11\0", 1))
    yield _refuse("two starts", b"\xff\xd8" + usual())
    yield _refuse("start alone", b"\xff\xd8\xff")
    yield _refuse("start and end", b"\xff\xd8" + END)
    yield _refuse("no tables", b"\xff\xd8" + usual()[usual().index(b"\xff\xc0") :])
    size = usual().index(b"\xff\xc0") + 5
    yield _refuse("no height", usual()[:size] + b"\0\0" + usual()[size + 2 :])
    yield _refuse("no width", usual()[: size + 2] + b"\0\0" + usual()[size + 4 :])
    yield _refuse("higher than its data", usual()[:size] + struct.pack(">H", 2 * SIZE[1]) + usual()[size + 2 :])
