import io
import random
import struct

import pytest
from PIL import Image

from inference import containers
from inference.errors import IMAGE_BROKEN, IMAGE_TOO_LARGE, ImageError
from sightline_testing import pictures

KINDS = {"png": "PNG", "gif": "GIF", "bmp": "BMP", "webp": "WEBP"}
NAMES = [name for name in pictures.GOOD_NAMES if name.rpartition(".")[2] in KINDS]


def kind_of(name: str) -> str:
    return KINDS[name.rpartition(".")[2]]


def refusal(kind: str, content: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        containers.first_picture(kind, content)
    return caught.value.code


@pytest.mark.parametrize("name", NAMES)
def test_the_size_is_read_from_the_header(name: str) -> None:
    size, _ = containers.first_picture(kind_of(name), pictures.good(name).content)
    assert size == (480, 360)


@pytest.mark.parametrize("name", NAMES)
def test_a_header_cut_off_is_broken(name: str) -> None:
    for length in range(12, 30):
        assert refusal(kind_of(name), pictures.good(name).content[:length]) == IMAGE_BROKEN


def test_a_png_keeps_only_what_makes_its_picture() -> None:
    extra = b"".join(pictures.png_chunk(kind, b"?") for kind in (b"tEXt", b"iCCP", b"acTL", b"gAMA"))
    bare = pictures.png((4, 4), 8, 0, bytes(16))
    assert containers.first_picture("PNG", pictures.png((4, 4), 8, 0, bytes(16), extra))[1] == bare
    assert containers.first_picture("PNG", bare)[1] is bare


def test_a_chunk_that_goes_beyond_the_file_is_a_truncation() -> None:
    content = pictures.good("colour.png").content
    lying = content.replace(struct.pack(">I", 13) + b"IHDR", struct.pack(">I", 2**31) + b"IHDR")
    assert refusal("PNG", lying) == IMAGE_BROKEN


def test_no_png_is_walked_for_ever() -> None:
    chunks = pictures.png_chunk(b"tEXt", b"") * 100_000
    assert refusal("PNG", pictures.png((4, 4), 8, 0, bytes(16), chunks)) == IMAGE_TOO_LARGE


def gif_with(extensions: bytes) -> bytes:
    content = pictures.good("still.gif").content
    begin = 13 + (3 << (content[10] & 7) + 1)
    return content[:begin] + extensions + content[begin:]


@pytest.mark.parametrize("extensions", [b"!\xfe\0" * 100_000, b"!\xfe" + b"\x01?" * 100_000 + b"\0"])
def test_no_gif_is_walked_for_ever(extensions: bytes) -> None:
    assert refusal("GIF", gif_with(extensions)) == IMAGE_TOO_LARGE


def test_a_gif_keeps_only_what_makes_its_picture() -> None:
    _, bare = containers.first_picture("GIF", gif_with(b"!\xfe\x05hello\0"))
    assert bare == containers.first_picture("GIF", pictures.good("still.gif").content)[1]


def test_a_frame_larger_than_its_gif_is_what_counts() -> None:
    content = bytearray(pictures.good("still.gif").content)
    frame = content.index(b",", 13 + 3 * 256)
    content[frame + 5 : frame + 9] = struct.pack("<HH", 60_000, 60_000)
    size, _ = containers.first_picture("GIF", bytes(content))
    assert size == (60_000, 60_000)


def random_runs(draw: random.Random, bits: int) -> bytes:
    """Runs, literal pixels, line ends and jumps in any order."""
    runs = b""
    for _ in range(draw.randint(1, 60)):
        kind, count = draw.random(), draw.randint(3, 9)
        literal = draw.randbytes((count * bits + 7) // 8)
        if kind < 0.5:
            runs += bytes((draw.randint(1, 9), draw.randrange(256)))
        elif kind < 0.7:
            runs += b"\0\0"
        elif kind < 0.8:
            runs += bytes((0, 2, draw.randint(0, 4), draw.randint(0, 2)))
        else:
            runs += bytes((0, count)) + literal + bytes(len(literal) % 2)
    return runs


def test_a_run_length_bmp_becomes_the_same_image_without_runs() -> None:
    draw, seen = random.Random(3), 0  # noqa: S311  images, not secrets
    for _ in range(500):
        bits = draw.choice((4, 8))
        width, height = draw.randint(1, 20), draw.randint(1, 12)
        content = pictures.run_length_bmp(width, height, random_runs(draw, bits), bits)
        try:
            expected = Image.open(io.BytesIO(content)).convert("RGB").tobytes()
        except (OSError, ValueError):
            continue  # the runs end early
        size, plain = containers.first_picture("BMP", content)
        assert size == (width, height)
        assert Image.open(io.BytesIO(plain)).convert("RGB").tobytes() == expected
        seen += 1
    assert seen > 100


def test_a_run_length_bmp_of_runs_without_end_is_refused() -> None:
    content = pictures.run_length_bmp(1_000, 1_000, b"\1\0" * (containers.MAX_RUNS + 1_000))
    assert refusal("BMP", content) == IMAGE_TOO_LARGE


def test_a_run_length_bmp_of_another_depth_is_refused() -> None:
    assert refusal("BMP", pictures.run_length_bmp(8, 8, b"").replace(b"\1\0\x08\0", b"\1\0\x18\0")) == IMAGE_BROKEN


def test_a_bmp_stored_from_the_top_has_its_height() -> None:
    header = struct.pack("<IiiHHIIiiII", 40, 8, -9, 1, 24, 0, 0, 0, 0, 0, 0)
    assert containers.first_picture("BMP", b"BM" + bytes(12) + header)[0] == (8, 9)
    old = struct.pack("<IHHHH", 12, 8, 9, 1, 24)
    assert containers.first_picture("BMP", b"BM" + bytes(12) + old)[0] == (8, 9)


def webp_of(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


CANVAS = (b"VP8X", bytes((2, 0, 0, 0, 7, 0, 0, 7, 0, 0)))
FRAME = bytes(16)


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"none", b"")] * containers.MAX_CHUNKS,
        [(b"odd ", b"x")] * containers.MAX_CHUNKS,
        [(b"ANMF", FRAME + b"none\0\0\0\0" * containers.MAX_CHUNKS)],
        [(b"ANMF", FRAME)] * containers.MAX_CHUNKS,
    ],
    ids=["empty", "odd", "inside a frame", "frames"],
)
def test_no_webp_has_chunks_without_end(chunks: list[tuple[bytes, bytes]]) -> None:
    assert refusal("WEBP", webp_of(CANVAS, *chunks)) == IMAGE_TOO_LARGE
    assert containers.first_picture("WEBP", webp_of(CANVAS, *chunks[:-1]))[0] == (8, 8)


def test_frames_within_frames_are_counted_once() -> None:
    nested = b""
    for _ in range(2_000):
        nested = FRAME + b"ANMF" + struct.pack("<I", len(nested)) + nested
    assert containers.first_picture("WEBP", webp_of(CANVAS, (b"ANMF", nested)))[0] == (8, 8)


def test_a_png_has_one_header_and_it_comes_first() -> None:
    small, large = pictures.png((8, 8), 8, 0, bytes(64)), pictures.png((9_000, 9_000), 1, 0, bytes(1_125 * 9_000))
    signature, header = small[:8], large[8:33]
    assert refusal("PNG", small[:33] + header + small[33:]) == IMAGE_BROKEN
    assert refusal("PNG", signature + pictures.png_chunk(b"eXIf", small[16:29]) + large[8:]) == IMAGE_BROKEN
