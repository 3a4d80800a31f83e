import hashlib
import struct
import time
from collections.abc import Callable

import pytest
from PIL import Image

from inference import jpeg_header
from inference.errors import IMAGE_BROKEN, IMAGE_TOO_LARGE, UNSUPPORTED_TYPE, ImageError
from sightline_testing import pictures
from sightline_testing.hostile import jpegs


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def refusal(content: bytes) -> ImageError:
    with pytest.raises(ImageError) as caught:
        jpeg_header.read(content)
    return caught.value


def inserted(content: bytes, *segments: bytes) -> bytes:
    return content[:2] + b"".join(segments) + content[2:]


def test_size_and_scans_are_told() -> None:
    header = jpeg_header.read(pictures.jpeg(300, 200))
    assert (header.width, header.height, header.orientation, header.is_single_scan) == (300, 200, 1, True)
    assert not jpeg_header.read(pictures.jpeg(progressive=True)).is_single_scan


def test_a_size_inside_a_comment_is_not_the_size() -> None:
    liar = segment(0xFE, b"\xff\xc0\0\x11\x08" + struct.pack(">HHB", 60_000, 60_000, 3))
    assert jpeg_header.read(inserted(pictures.jpeg(300, 200), liar)).width == 300


def test_an_end_inside_a_comment_does_not_hide_the_scans_behind_it() -> None:
    content = pictures.many_scans_jpeg(1_000)
    second = content.index(b"\xff\xda", content.index(b"\xff\xda") + 2)
    hidden = content[:second] + segment(0xFE, b"\xff\xd9") + content[second:]
    assert refusal(hidden).code == IMAGE_TOO_LARGE


def test_scans_behind_the_end_of_the_picture_do_not_count() -> None:
    content = pictures.jpeg(progressive=True) + b"\xff\xda\0\x02" * 1_000
    assert jpeg_header.read(content).width == 480


def test_no_header_takes_more_than_a_thousand_steps() -> None:
    content = inserted(pictures.jpeg(), segment(0xFE, b"") * 999_999)
    assert refusal(content).code == IMAGE_TOO_LARGE
    assert refusal(b"\xff\xd8" + b"\xff\x01" * 1_000_000).code in (IMAGE_TOO_LARGE, IMAGE_BROKEN)


def test_filling_bytes_before_a_marker_are_passed_over() -> None:
    content = pictures.jpeg()
    assert jpeg_header.read(content[:2] + b"\xff" * 40 + content[2:]).width == 480


@pytest.mark.parametrize("count", range(jpeg_header.FIRST_SEARCHED_BYTES - 8, jpeg_header.FIRST_SEARCHED_BYTES + 8))
@pytest.mark.parametrize("filling", [b"\xff", b"\0", b"\xd0"])
def test_a_marker_is_found_wherever_the_pieces_that_are_searched_meet(count: int, filling: bytes) -> None:
    content = pictures.jpeg()
    for pieces in (1, 3, 15, 31):
        filled = content[:2] + filling * (pieces * count) + content[2:]
        assert jpeg_header.read(filled).width == 480


FILLED = 20_000_000


@pytest.mark.parametrize("filling", [b"\xff", b"\xff\0", b"\xff\xd0", b"\xff\xff\0"])
@pytest.mark.parametrize("is_in_scan", [False, True])
def test_filling_up_to_the_largest_upload_takes_about_as_long_as_hashing_it(filling: bytes, is_in_scan: bool) -> None:
    content = pictures.jpeg(progressive=True)
    at = len(content) - 2 if is_in_scan else 2
    filled = content[:at] + filling * (FILLED // len(filling)) + content[at:]
    hashing_s = min(seconds(lambda: hashlib.md5(filled, usedforsecurity=False)) for _ in range(3))
    assert min(seconds(lambda: jpeg_header.read(filled)) for _ in range(3)) < 3 * hashing_s


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
    assert refusal(content).code == IMAGE_BROKEN


def test_a_picture_without_height_is_broken() -> None:
    content = bytearray(pictures.jpeg())
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 7] = b"\0\0"
    assert refusal(bytes(content)).code == IMAGE_BROKEN


@pytest.mark.parametrize("marker", [jpegs.LOSSLESS, 0xC5, jpegs.ARITHMETIC, 0xCA, 0xCF])
def test_kinds_of_jpeg_that_nobody_needs_are_refused_by_name(marker: int) -> None:
    fault = refusal(jpegs.header_alone(64, 64, marker))
    assert fault.code == UNSUPPORTED_TYPE
    assert f"kind FF{marker:02X}" in str(fault)


def test_a_sequential_jpeg_that_cannot_hold_its_pixels_is_refused_undecoded() -> None:
    fault = refusal(jpegs.header_alone(9_984, 9_984))
    assert fault.code == IMAGE_BROKEN
    assert "9984 x 9984 pixels ends after" in str(fault)


def test_the_emptiest_sequential_jpeg_that_is_whole_is_taken() -> None:
    whole = pictures.encode(Image.new("L", (4_000, 4_000)), "JPEG", optimize=True)
    assert jpeg_header.read(whole).width == 4_000
    assert 4_000 * 4_000 / len(whole) > jpeg_header.MAX_PIXELS_PER_BYTE / 2
