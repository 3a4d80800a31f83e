"""What is read of HEIC and AVIF before they are decoded: sizes, tiles, hidden frames."""

import struct
from collections.abc import Callable

import pytest

from inference import av1, decode
from inference.errors import IMAGE_BROKEN, IMAGE_TOO_LARGE, UNSUPPORTED_TYPE, ImageError
from inference.image_headers import first_image
from sightline_testing.odd_files.phones import with_size
from sightline_testing.sample_images import FAST_HEIC, encode, scene

SIZE = (128, 96)


def avif(**options: object) -> bytes:
    return encode(scene(*SIZE), "AVIF", speed=10, **options)


def heic(**options: object) -> bytes:
    return encode(scene(*SIZE), "HEIF", **FAST_HEIC, **options)


def refusal(content: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        decode.decode(content, decode.View(64, 64, None))
    return caught.value.code


@pytest.mark.parametrize("make", [avif, heic, lambda: heic(tile_size=64)])
def test_the_size_is_read_from_the_boxes(make: Callable[[], bytes]) -> None:
    content = make()
    assert first_image(decode.kind_of(content), content)[0] == SIZE


@pytest.mark.parametrize("length", [9, 40, 100, 200, 300, 400])
@pytest.mark.parametrize("make", [avif, heic])
def test_boxes_that_are_cut_off_are_refused(make: Callable[[], bytes], length: int) -> None:
    content = make()
    assert refusal(content[: max(length, 12)]) in {IMAGE_BROKEN, UNSUPPORTED_TYPE}


def with_data(content: bytes, edit: Callable[[bytes], bytes]) -> bytes:
    """Return an AVIF whose one image has other data, its place and length put right."""
    at = content.index(b"mdat") + 4
    data = edit(content[at:])
    place = content.index(b"iloc")
    old, new = (struct.pack(">I", len(each)) for each in (content[at:], data))
    head = content[:place] + content[place:at].replace(old, new, 1)
    return head[:-8] + struct.pack(">I4s", len(data) + 8, b"mdat") + data


def test_each_hidden_frame_of_an_avif_counts() -> None:
    content = avif()
    assert decode.decode(with_data(content, lambda data: data), decode.View(64, 64, None)).size == SIZE
    frame = bytes((av1.FRAME << 3 | av1.HAS_SIZE, 1, 0))
    # So many of 12,288 pixels are more than are decoded.
    assert refusal(with_data(content, lambda data: data + frame * 7_000)) == IMAGE_TOO_LARGE
    assert refusal(with_data(content, lambda data: data + b"\x12\0" * 30_000)) == IMAGE_TOO_LARGE


def test_a_second_picture_in_a_heic_is_refused() -> None:
    content = heic()
    twice = with_data(content, lambda data: data + struct.pack(">I", 4) + b"\x26\1\x80\0")
    assert refusal(twice) == IMAGE_BROKEN


def test_tiles_count_once_for_each_use() -> None:
    content = heic(tile_size=64)
    tiles = content.replace(struct.pack(">II", 64, 64), struct.pack(">II", 5_000, 4_900))
    assert refusal(tiles) == IMAGE_TOO_LARGE
    # Of what joins the tiles, the size that it has itself counts as well.
    grid = content.replace(struct.pack(">HH", *SIZE), struct.pack(">HH", 30_000, 30_000))
    assert grid != content
    assert refusal(grid) == IMAGE_TOO_LARGE


def test_an_image_of_a_sequence_header_that_is_larger_is_refused() -> None:
    content = avif()
    header = next(payload for kind, payload in av1.units(content[content.index(b"mdat") + 4 :]) if kind == 1)
    assert av1.max_size(header) == SIZE
    assert refusal(with_size(content, 6_000, 6_000)) == IMAGE_TOO_LARGE


@pytest.mark.parametrize("is_reduced", [True, False])
@pytest.mark.parametrize("has_times", [True, False])
def test_the_size_stands_behind_what_only_films_have(is_reduced: bool, has_times: bool) -> None:
    bits = "000" + "1" + ("1" + "00000" if is_reduced else "0")
    if not is_reduced:
        model = "1" + "00010" + "0" * 42
        bits += "1" + "0" * 64 + "1" + "00101" + model if has_times else "0"
        bits += "1" + "00001"  # delays follow, and two points
        for level in ("01000" + "1", "00111"):
            bits += "0" * 12 + level + ("1" + "0" * 7 if has_times else "") + "1" + "0000"
    bits += "1111" + "1010" + f"{6_000 - 1:016b}" + f"{700 - 1:011b}"
    bits += "0" * (-len(bits) % 8)
    payload = int(bits, 2).to_bytes(len(bits) // 8, "big")
    assert av1.max_size(payload) == (6_000, 700)
    for length in range(len(payload) - 1):
        with pytest.raises(ImageError):
            av1.max_size(payload[:length])
