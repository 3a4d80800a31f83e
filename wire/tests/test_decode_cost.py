"""The estimate by formats and headers; benchmarks/own/decode_cost.py compares it with what decoding takes."""

from __future__ import annotations

import io
import random
import struct
from unittest.mock import MagicMock

import pytest
from PIL import Image

from sightline_testing import sample_images
from sightline_testing.hostile import jpegs
from sightline_testing.odd_files import phones
from wire import decode_cost
from wire.decode_cost import MAX_FILLING, MAX_STEPS, PHOTOGRAPH_MS, SEARCHED_BYTES, decode_ms, min_ms

EXPENSIVE_MS = 250
FLAT = Image.new("RGB", (5_000, 5_000), (9, 99, 199))


def animation(width: int, height: int) -> bytes:
    """Return the beginning of an animated WebP: its canvas, and a frame of one colour."""
    content = sample_images.encode(Image.new("RGB", (width, height)), "WEBP", lossless=True, method=0)
    canvas = bytes((2, 0, 0, 0)) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    frame = bytes(16) + content[12:]
    parts = ((b"VP8X", canvas), (b"ANIM", bytes(6)), (b"ANMF", frame))
    body = b"WEBP" + b"".join(kind + struct.pack("<I", len(data)) + data for kind, data in parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def test_a_scan_counts_wherever_the_pieces_that_are_searched_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    content = jpegs.narrow_scans(1_000, 800, 40)
    assert len(content) < SEARCHED_BYTES
    whole = decode_ms(content)
    assert whole > 0
    for size in (1, 2, 3, 7, 50, 1_000):
        monkeypatch.setattr(decode_cost, "SEARCHED_BYTES", size)
        assert decode_ms(content) == whole


def test_no_search_goes_through_more_than_a_piece_of_a_large_file(monkeypatch: pytest.MonkeyPatch) -> None:
    content = jpegs.narrow_scans(1_000, 800, 40)
    pattern = MagicMock(finditer=MagicMock(side_effect=decode_cost._SCAN.finditer))
    monkeypatch.setattr(decode_cost, "_SCAN", pattern)
    assert decode_ms(content[:-2] + b"\xff" * 2_000_000 + content[-2:])
    assert max(end - begin for _, begin, end in (each.args for each in pattern.finditer.call_args_list)) < 300_000


@pytest.mark.parametrize("name", sample_images.GOOD_NAMES)
def test_an_image_of_a_sixth_of_a_megapixel_costs_a_few_milliseconds_in_every_format(name: str) -> None:
    assert decode_ms(sample_images.good(name).content) <= 6 * PHOTOGRAPH_MS


def test_a_usual_photograph_costs_nothing_beyond_itself() -> None:
    assert decode_ms(sample_images.jpeg(640, 480)) == 0


def test_twelve_megapixels_of_a_camera_are_not_expensive_and_cost_more_than_small_ones() -> None:
    assert 10 < decode_ms(sample_images.large_jpeg(4_000, 3_000)) < EXPENSIVE_MS
    assert decode_ms(sample_images.large_jpeg(6_000, 4_000)) < EXPENSIVE_MS


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda: jpegs.refining_scans(5_000, 5_000, 43), id="many scans"),
        pytest.param(lambda: jpegs.progressive(5_000, 5_000, 50), id="many bits"),
        pytest.param(sample_images.deep_png, id="deep PNG"),
        pytest.param(lambda: sample_images.run_length_bmp(5_000, 5_000, b"\1\0\0\0" * 5_000), id="runs"),
        pytest.param(lambda: sample_images.encode(FLAT, "WEBP", lossless=True, method=0), id="WebP"),
        pytest.param(lambda: sample_images.encode(Image.new("P", (5_000, 5_000)), "GIF"), id="GIF"),
        pytest.param(lambda: animation(5_000, 5_000), id="animation"),
        pytest.param(lambda: phones.with_size(sample_images.good("phone.heic").content, 5_000, 5_000), id="HEIC"),
        pytest.param(lambda: phones.with_size(sample_images.good("colour.avif").content, 5_000, 5_000), id="AVIF"),
    ],
)
def test_small_files_that_take_long_are_expensive(content: object) -> None:
    assert callable(content)
    data = content()
    assert decode_ms(data) > EXPENSIVE_MS
    assert min_ms(data) < 2_000


def test_a_tiff_costs_by_its_samples_and_by_what_is_compressed() -> None:
    grey, colour = (sample_images.encode(Image.new(mode, (3_000, 2_000)), "TIFF") for mode in ("L", "RGB"))
    assert 2 < decode_ms(colour) / decode_ms(grey) < 4
    noisy = sample_images.encode(sample_images.scene(900, 600).resize((3_000, 2_000)), "TIFF", compression="tiff_lzw")
    assert decode_ms(noisy) > decode_ms(colour)


def test_each_scan_of_a_jpeg_costs() -> None:
    few, many = (decode_ms(jpegs.progressive(2_000, 2_000, scans)) for scans in (10, 50))
    assert many > 3 * few
    few, many = (decode_ms(jpegs.narrow_scans(5_000, 5_000, scans)) for scans in (10, 50))
    assert many > 1.5 * few


def test_what_lies_behind_many_small_blocks_counts_as_the_largest_image() -> None:
    gif = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0) + (b"!\xfe" + b"\1x" * 10 + b"\0") * MAX_STEPS
    webp = b"RIFF" + struct.pack("<I", 10**6) + b"WEBP" + b"none\0\0\0\0" * MAX_STEPS
    content = sample_images.jpeg(64, 48)
    filled = content[:2] + b"\xff" * 2 * MAX_FILLING + content[2:]
    assert all(decode_ms(each) > EXPENSIVE_MS for each in (gif, webp, filled))


@pytest.mark.parametrize("name", [*sample_images.GOOD_NAMES, *sample_images.BAD_NAMES])
def test_no_bytes_make_the_estimate_fail(name: str) -> None:
    source = sample_images.good(name) if name in sample_images.GOOD_NAMES else sample_images.bad(name)
    draw = random.Random(7)  # noqa: S311  images, not secrets
    for _ in range(50):
        content = bytearray(source.content[: draw.randrange(1, 2_000)])
        for _ in range(3):
            content[draw.randrange(len(content))] = draw.randrange(256)
        assert 0 <= decode_ms(bytes(content)) < 10**9


def test_metadata_and_what_follows_the_image_cost_nothing() -> None:
    content = sample_images.encode(sample_images.scene(), "PNG")
    assert decode_ms(content + bytes(1_000_000)) < decode_ms(content) + 10
    out = io.BytesIO()
    sample_images.scene().save(out, "WEBP", quality=90, icc_profile=bytes(1_000_000))
    assert decode_ms(out.getvalue()) < 10
