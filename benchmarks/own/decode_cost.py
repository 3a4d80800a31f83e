"""The cost of decoding by format and size, compared with the estimate of wire.decode_cost: source of its coefficients.

python -m benchmarks.own.decode_cost [PART OF A NAME]     with model/ on the import path; about two minutes

The columns are bytes, processor milliseconds (the least of three), estimated milliseconds, their ratio, and the
microseconds that the estimate itself takes. The first row is the example of model/serving/worker.py: where it does not
take about EXAMPLE_MS, this is not the reference processor, and all times are to be divided by the ratio of the two.
"""

import itertools
import random
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator

from PIL import Image

from inference.decode import View, decode
from serving import worker
from sightline_testing.hostile import jpegs
from sightline_testing.sample_images import encode, jpeg, png_chunk, run_length_bmp, scene
from wire.decode_cost import decode_ms

SIDE = 5_000
VIEW = View(224, 224, 224 / 256)
TRIES = 3
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Where the passes of an interlaced PNG begin, and their steps: x, y, across, down.
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
FILTERS = {"unfiltered": 0, "Paeth": 4}

Named = tuple[str, Callable[[], bytes]]


def tiled(width: int, height: int) -> Image.Image:
    """Return an image with the details of a photograph, of any size."""
    tile, image = scene(1_000, 750), Image.new("RGB", (width, height))
    for x, y in itertools.product(range(0, width, tile.width), range(0, height, tile.height)):
        image.paste(tile, (x, y))
    return image


def png_of_rows(depth: int, colour: int, row_filter: int, *, is_interlaced: bool = False) -> bytes:
    """Return a PNG of 25 megapixels with equal rows that all have this filter."""
    draw = random.Random(5)

    def rows(width: int, height: int) -> bytes:
        count = (width * depth * SAMPLES[colour] + 7) // 8
        return (bytes((row_filter,)) + (draw.randbytes(count) if row_filter else bytes(count))) * height

    parts = [(-(-(SIDE - x) // across), -(-(SIDE - y) // down)) for x, y, across, down in PASSES]
    data = b"".join(rows(*part) for part in (parts if is_interlaced else [(SIDE, SIDE)]))
    header = struct.pack(">IIBBBBB", SIDE, SIDE, depth, colour, 0, 0, is_interlaced)
    palette = png_chunk(b"PLTE", bytes(range(256)) * 3) if colour == 3 else b""
    body = png_chunk(b"IDAT", zlib.compress(data, 1)) + png_chunk(b"IEND", b"")
    return PNG_SIGNATURE + png_chunk(b"IHDR", header) + palette + body


def jpeg_images() -> Iterator[Named]:
    """Name JPEGs and how they are made."""
    flat, photograph = Image.new("RGB", (SIDE, SIDE), (9, 99, 199)), tiled(4_000, 3_000)
    yield "photograph of 480 x 360", jpeg
    yield "12 megapixels", lambda: encode(photograph, "JPEG", quality=90)
    yield "12 megapixels, full chroma", lambda: encode(photograph, "JPEG", quality=97, subsampling="4:4:4")
    yield "12 megapixels, progressive", lambda: encode(photograph, "JPEG", quality=90, progressive=True)
    yield "25 megapixels, flat", lambda: encode(flat, "JPEG")
    yield "25 megapixels, flat, progressive", lambda: encode(flat, "JPEG", progressive=True)
    yield "25 megapixels, CMYK, progressive", lambda: encode(flat.convert("CMYK"), "JPEG", progressive=True)
    yield "25 megapixels, 4 scans", lambda: jpegs.progressive(SIDE, SIDE, 4)
    yield "25 megapixels, 56 scans", lambda: jpegs.progressive(SIDE, SIDE, 56)
    yield "25 megapixels, 28 scans of one component", lambda: jpegs.progressive(SIDE, SIDE, 28, 1)
    yield "25 megapixels, 43 refining scans", lambda: jpegs.refining_scans(SIDE, SIDE, 43)
    yield "25 megapixels, 50 narrow scans", lambda: jpegs.narrow_scans(SIDE, SIDE, 50)


def png_images() -> Iterator[Named]:
    """Name PNGs and how they are made."""
    photograph = tiled(4_000, 3_000)
    yield "photograph of 480 x 360", lambda: encode(scene(), "PNG")
    yield "12 megapixels", lambda: encode(photograph, "PNG", compress_level=1)
    yield "12 megapixels, alpha", lambda: encode(photograph.convert("RGBA"), "PNG", compress_level=1)
    for depth, colour in ((1, 0), (8, 0), (16, 0), (8, 2), (16, 2), (4, 3), (8, 3), (8, 4), (16, 4), (8, 6), (16, 6)):
        name = f"25 megapixels of {depth} bits, colour type {colour}"
        for told, row_filter in FILTERS.items():
            yield f"{name}, {told}", lambda d=depth, c=colour, f=row_filter: png_of_rows(d, c, f)  # type: ignore[misc]
        yield f"{name}, interlaced", lambda d=depth, c=colour: png_of_rows(d, c, 0, is_interlaced=True)  # type: ignore[misc]


def other_images() -> Iterator[Named]:
    """Name WebPs, GIFs and BMPs and how they are made."""
    flat, photograph, line = Image.new("RGB", (SIDE, SIDE)), tiled(4_000, 3_000), b"\xff\7" * 19 + b"\x9b\7\0\0"
    for told, lossless in (("lossy", False), ("lossless", True)):
        yield f"WebP, flat, {told}", lambda k=lossless: encode(flat, "WEBP", lossless=k, method=0)  # type: ignore[misc]
        yield f"WebP, photograph, {told}", lambda k=lossless: encode(photograph, "WEBP", lossless=k, method=1)  # type: ignore[misc]
    yield "WebP, flat, alpha", lambda: encode(flat.convert("RGBA"), "WEBP", method=0)
    yield "GIF, flat", lambda: encode(flat, "GIF")
    yield "GIF, photograph", lambda: encode(photograph, "GIF")
    yield "BMP, one bit", lambda: encode(flat.convert("1"), "BMP")
    yield "BMP, 6 megapixels", lambda: encode(tiled(2_500, 2_400), "BMP")
    yield "BMP, long runs", lambda: run_length_bmp(SIDE, SIDE, line * SIDE)
    yield "BMP, short runs", lambda: run_length_bmp(SIDE, SIDE, b"\1\7" * 500_000 + b"\1\0\0\0" * SIDE)
    yield "BMP, jumps", lambda: run_length_bmp(SIDE, SIDE, b"\0\2\1\0" * 500_000 + b"\1\0\0\0" * SIDE, 4)


def milliseconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    """Return the least of a few measurements."""

    def once() -> float:
        begin = clock()
        work()
        return clock() - begin

    return 1000 * min(once() for _ in range(TRIES))


def main() -> None:
    """Print one row for each image."""
    wanted = " ".join(sys.argv[1:])
    example = worker.example_ms()
    print(f"{'example':55} {example:19.1f} {worker.EXAMPLE_MS:9.1f} {worker.EXAMPLE_MS / example:6.2f}")
    kinds = {"JPEG": jpeg_images(), "PNG": png_images(), "": other_images()}
    for name, make in ((f"{kind} {name}".strip(), make) for kind, named in kinds.items() for name, make in named):
        if wanted in name:
            content = make()
            took = milliseconds(lambda: decode(content, VIEW), time.process_time)  # noqa: B023  used at once
            itself = milliseconds(lambda: decode_ms(content), time.perf_counter)  # noqa: B023
            estimate = decode_ms(content)
            print(f"{name:55} {len(content):9} {took:9.1f} {estimate:9} {estimate / took:6.2f} {1000 * itself:7.0f}")


if __name__ == "__main__":
    main()
