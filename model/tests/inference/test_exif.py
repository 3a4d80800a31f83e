import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from inference import exif
from sightline_testing import pictures


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("value", range(1, 9))
def test_every_orientation_is_read_in_both_byte_orders(value: int, byte_order: str) -> None:
    block = pictures.exif(value, byte_order=byte_order)
    assert exif.orientation(block) == value
    assert exif.orientation(block.removeprefix(exif.PREFIX)) == value


@pytest.mark.parametrize("value", [0, 9, 65_535])
def test_an_orientation_that_does_not_exist_is_none(value: int) -> None:
    assert exif.orientation(pictures.exif(value)) == exif.UPRIGHT


@given(st.binary(max_size=200))
def test_whatever_stands_there_is_read_without_a_fault(block: bytes) -> None:
    assert exif.orientation(block) in range(1, 9)


@given(st.integers(0, 2**32 - 1), st.integers(0, 65_535), st.binary(max_size=64))
def test_offsets_and_counts_beyond_the_block_are_harmless(directory: int, entries: int, rest: bytes) -> None:
    block = b"II*\0" + struct.pack("<IH", directory, entries) + rest
    assert exif.orientation(block) in range(1, 9)


@pytest.mark.parametrize("value", range(1, 9))
def test_upright_is_what_pillow_makes_of_it(value: int) -> None:
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    picture = Image.fromarray(pixels)
    picture.getexif()[0x0112] = value
    assert np.array_equal(exif.upright(pixels, value), np.asarray(ImageOps.exif_transpose(picture)))
