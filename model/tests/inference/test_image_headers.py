import hashlib
import io
import random
import struct
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from inference import image_headers
from inference.errors import IMAGE_BROKEN, IMAGE_TOO_LARGE, UNSUPPORTED_TYPE, ImageError
from inference.image_headers import exif_orientation, first_image
from inference.limits import MAX_CHUNKS
from sightline_testing import sample_images
from sightline_testing.hostile import jpegs

KINDS = {"png": "PNG", "gif": "GIF", "bmp": "BMP", "webp": "WEBP"}
NAMES = [name for name in sample_images.GOOD_NAMES if name.rpartition(".")[2] in KINDS]


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("value", range(1, 9))
def test_every_orientation_is_read_in_both_byte_orders(value: int, byte_order: str) -> None:
    block = sample_images.exif(value, byte_order=byte_order)
    assert exif_orientation(block) == value
    assert exif_orientation(block.removeprefix(image_headers.EXIF_PREFIX)) == value


@pytest.mark.parametrize("value", [0, 9, 65_535])
def test_an_orientation_that_does_not_exist_is_none(value: int) -> None:
    assert exif_orientation(sample_images.exif(value)) == image_headers.UPRIGHT


@given(st.binary(max_size=200))
def test_whatever_stands_there_is_read_without_a_fault(block: bytes) -> None:
    assert exif_orientation(block) in range(1, 9)


@given(st.integers(0, 2**32 - 1), st.integers(0, 65_535), st.binary(max_size=64))
def test_offsets_and_counts_beyond_the_block_are_harmless(directory: int, entries: int, rest: bytes) -> None:
    block = b"II*\0" + struct.pack("<IH", directory, entries) + rest
    assert exif_orientation(block) in range(1, 9)


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def jpeg_refusal(content: bytes) -> ImageError:
    with pytest.raises(ImageError) as caught:
        image_headers.read_jpeg_header(content)
    return caught.value


def inserted(content: bytes, *segments: bytes) -> bytes:
    return content[:2] + b"".join(segments) + content[2:]


def test_size_and_scans_are_told() -> None:
    header = image_headers.read_jpeg_header(sample_images.jpeg(300, 200))
    assert (header.width, header.height, header.orientation, header.is_single_scan) == (300, 200, 1, True)
    assert not image_headers.read_jpeg_header(sample_images.jpeg(progressive=True)).is_single_scan


def test_a_size_inside_a_comment_is_not_the_size() -> None:
    liar = segment(0xFE, b"\xff\xc0\0\x11\x08" + struct.pack(">HHB", 60_000, 60_000, 3))
    assert image_headers.read_jpeg_header(inserted(sample_images.jpeg(300, 200), liar)).width == 300


def test_an_end_inside_a_comment_does_not_hide_the_scans_behind_it() -> None:
    content = sample_images.many_scans_jpeg(1_000)
    second = content.index(b"\xff\xda", content.index(b"\xff\xda") + 2)
    hidden = content[:second] + segment(0xFE, b"\xff\xd9") + content[second:]
    assert jpeg_refusal(hidden).code == IMAGE_TOO_LARGE


def test_scans_behind_the_end_of_the_image_do_not_count() -> None:
    content = sample_images.jpeg(progressive=True) + b"\xff\xda\0\x02" * 1_000
    assert image_headers.read_jpeg_header(content).width == 480


def test_no_header_takes_more_than_a_thousand_steps() -> None:
    content = inserted(sample_images.jpeg(), segment(0xFE, b"") * 999_999)
    assert jpeg_refusal(content).code == IMAGE_TOO_LARGE
    assert jpeg_refusal(b"\xff\xd8" + b"\xff\x01" * 1_000_000).code in (IMAGE_TOO_LARGE, IMAGE_BROKEN)


def test_filling_bytes_before_a_marker_are_passed_over() -> None:
    content = sample_images.jpeg()
    assert image_headers.read_jpeg_header(content[:2] + b"\xff" * 40 + content[2:]).width == 480


@pytest.mark.parametrize("count", range(image_headers.FIRST_SEARCHED_BYTES - 8, image_headers.FIRST_SEARCHED_BYTES + 8))
@pytest.mark.parametrize("filling", [b"\xff", b"\0", b"\xd0"])
def test_a_marker_is_found_wherever_the_pieces_that_are_searched_meet(count: int, filling: bytes) -> None:
    content = sample_images.jpeg()
    for pieces in (1, 3, 15, 31):
        filled = content[:2] + filling * (pieces * count) + content[2:]
        assert image_headers.read_jpeg_header(filled).width == 480


FILLED = 20_000_000


@pytest.mark.parametrize("filling", [b"\xff", b"\xff\0", b"\xff\xd0", b"\xff\xff\0"])
@pytest.mark.parametrize("is_in_scan", [False, True])
def test_filling_up_to_the_largest_upload_takes_about_as_long_as_hashing_it(filling: bytes, is_in_scan: bool) -> None:
    content = sample_images.jpeg(progressive=True)
    at = len(content) - 2 if is_in_scan else 2
    filled = content[:at] + filling * (FILLED // len(filling)) + content[at:]
    hashing_s = min(seconds(lambda: hashlib.md5(filled, usedforsecurity=False)) for _ in range(3))
    assert min(seconds(lambda: image_headers.read_jpeg_header(filled)) for _ in range(3)) < 3 * hashing_s


def seconds(step: Callable[[], object]) -> float:
    begin = time.thread_time()
    step()
    return time.thread_time() - begin


@pytest.mark.parametrize(
    "content",
    [b"\xff\xd8\xff", b"\xff\xd8\xff\xd9", b"\xff\xd8\xff\xda\0\x08\x01\x01\0\0?\0",
     b"\xff\xd8" + segment(0xC0, b"\x08"), b"\xff\xd8" + bytes(1_000)],
)  # fmt: skip
def test_what_has_no_frame_and_scan_is_broken(content: bytes) -> None:
    assert jpeg_refusal(content).code == IMAGE_BROKEN


def test_an_image_without_height_is_broken() -> None:
    content = bytearray(sample_images.jpeg())
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 7] = b"\0\0"
    assert jpeg_refusal(bytes(content)).code == IMAGE_BROKEN


@pytest.mark.parametrize("marker", [jpegs.LOSSLESS, 0xC5, jpegs.ARITHMETIC, 0xCA, 0xCF])
def test_kinds_of_jpeg_that_nobody_needs_are_refused_by_name(marker: int) -> None:
    fault = jpeg_refusal(jpegs.header_alone(64, 64, marker))
    assert fault.code == UNSUPPORTED_TYPE
    assert f"kind FF{marker:02X}" in str(fault)


def test_a_sequential_jpeg_that_cannot_hold_its_pixels_is_refused_undecoded() -> None:
    fault = jpeg_refusal(jpegs.header_alone(9_984, 9_984))
    assert fault.code == IMAGE_BROKEN
    assert "9984 x 9984 pixels ends after" in str(fault)


def test_the_emptiest_sequential_jpeg_that_is_whole_is_taken() -> None:
    whole = sample_images.encode(Image.new("L", (4_000, 4_000)), "JPEG", optimize=True)
    assert image_headers.read_jpeg_header(whole).width == 4_000
    assert 4_000 * 4_000 / len(whole) > image_headers.MAX_PIXELS_PER_BYTE / 2


def kind_of(name: str) -> str:
    return KINDS[name.rpartition(".")[2]]


def refusal(kind: str, content: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        first_image(kind, content)
    return caught.value.code


@pytest.mark.parametrize("name", NAMES)
def test_the_size_is_read_from_the_header(name: str) -> None:
    size, _ = first_image(kind_of(name), sample_images.good(name).content)
    assert size == (480, 360)


@pytest.mark.parametrize("name", NAMES)
def test_a_header_cut_off_is_broken(name: str) -> None:
    for length in range(12, 30):
        assert refusal(kind_of(name), sample_images.good(name).content[:length]) == IMAGE_BROKEN


def test_a_png_keeps_only_what_makes_its_image() -> None:
    extra = b"".join(sample_images.png_chunk(kind, b"?") for kind in (b"tEXt", b"iCCP", b"acTL", b"gAMA"))
    bare = sample_images.png((4, 4), 8, 0, bytes(16))
    assert first_image("PNG", sample_images.png((4, 4), 8, 0, bytes(16), extra))[1] == bare
    assert first_image("PNG", bare)[1] is bare


def test_a_chunk_that_goes_beyond_the_file_is_a_truncation() -> None:
    content = sample_images.good("colour.png").content
    lying = content.replace(struct.pack(">I", 13) + b"IHDR", struct.pack(">I", 2**31) + b"IHDR")
    assert refusal("PNG", lying) == IMAGE_BROKEN


def test_no_png_is_walked_for_ever() -> None:
    chunks = sample_images.png_chunk(b"tEXt", b"") * 100_000
    assert refusal("PNG", sample_images.png((4, 4), 8, 0, bytes(16), chunks)) == IMAGE_TOO_LARGE


def gif_with(extensions: bytes) -> bytes:
    content = sample_images.good("still.gif").content
    begin = 13 + (3 << (content[10] & 7) + 1)
    return content[:begin] + extensions + content[begin:]


@pytest.mark.parametrize("extensions", [b"!\xfe\0" * 100_000, b"!\xfe" + b"\x01?" * 100_000 + b"\0"])
def test_no_gif_is_walked_for_ever(extensions: bytes) -> None:
    assert refusal("GIF", gif_with(extensions)) == IMAGE_TOO_LARGE


def test_a_gif_keeps_only_what_makes_its_image() -> None:
    _, bare = first_image("GIF", gif_with(b"!\xfe\x05hello\0"))
    assert bare == first_image("GIF", sample_images.good("still.gif").content)[1]


def test_a_frame_larger_than_its_gif_is_what_counts() -> None:
    content = bytearray(sample_images.good("still.gif").content)
    frame = content.index(b",", 13 + 3 * 256)
    content[frame + 5 : frame + 9] = struct.pack("<HH", 60_000, 60_000)
    size, _ = first_image("GIF", bytes(content))
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
        content = sample_images.run_length_bmp(width, height, random_runs(draw, bits), bits)
        try:
            expected = Image.open(io.BytesIO(content)).convert("RGB").tobytes()
        except (OSError, ValueError):
            continue  # the runs end early
        size, plain = first_image("BMP", content)
        assert size == (width, height)
        assert Image.open(io.BytesIO(plain)).convert("RGB").tobytes() == expected
        seen += 1
    assert seen > 100


def test_a_run_length_bmp_of_runs_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_headers, "MAX_RUNS", 50_000)
    content = sample_images.run_length_bmp(1_000, 1_000, b"\1\0" * (image_headers.MAX_RUNS + 1_000))
    assert refusal("BMP", content) == IMAGE_TOO_LARGE


def test_a_run_length_bmp_of_another_depth_is_refused() -> None:
    assert refusal("BMP", sample_images.run_length_bmp(8, 8, b"").replace(b"\1\0\x08\0", b"\1\0\x18\0")) == IMAGE_BROKEN


def test_a_bmp_stored_from_the_top_has_its_height() -> None:
    header = struct.pack("<IiiHHIIiiII", 40, 8, -9, 1, 24, 0, 0, 0, 0, 0, 0)
    assert first_image("BMP", b"BM" + bytes(12) + header)[0] == (8, 9)
    old = struct.pack("<IHHHH", 12, 8, 9, 1, 24)
    assert first_image("BMP", b"BM" + bytes(12) + old)[0] == (8, 9)


def webp_of(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


CANVAS = (b"VP8X", bytes((2, 0, 0, 0, 7, 0, 0, 7, 0, 0)))
FRAME = bytes(16)


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"none", b"")] * MAX_CHUNKS,
        [(b"odd ", b"x")] * MAX_CHUNKS,
        [(b"ANMF", FRAME + b"none\0\0\0\0" * MAX_CHUNKS)],
        [(b"ANMF", FRAME)] * MAX_CHUNKS,
    ],
    ids=["empty", "odd", "inside a frame", "frames"],
)
def test_no_webp_has_chunks_without_end(chunks: list[tuple[bytes, bytes]]) -> None:
    assert refusal("WEBP", webp_of(CANVAS, *chunks)) == IMAGE_TOO_LARGE
    assert first_image("WEBP", webp_of(CANVAS, *chunks[:-1]))[0] == (8, 8)


def test_frames_within_frames_are_counted_once() -> None:
    nested = b""
    for _ in range(2_000):
        nested = FRAME + b"ANMF" + struct.pack("<I", len(nested)) + nested
    assert first_image("WEBP", webp_of(CANVAS, (b"ANMF", nested)))[0] == (8, 8)


def test_a_png_has_one_header_and_it_comes_first() -> None:
    small, large = (
        sample_images.png((8, 8), 8, 0, bytes(64)),
        sample_images.png((9_000, 9_000), 1, 0, bytes(1_125 * 9_000)),
    )
    signature, header = small[:8], large[8:33]
    assert refusal("PNG", small[:33] + header + small[33:]) == IMAGE_BROKEN
    assert refusal("PNG", signature + sample_images.png_chunk(b"eXIf", small[16:29]) + large[8:]) == IMAGE_BROKEN
