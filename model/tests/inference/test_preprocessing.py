from functools import cache
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from inference import preprocessing
from inference.arrays import Pixels
from inference.decode import View
from inference.errors import BundleError
from inference.preprocessing import Preprocessing
from sightline_testing import pictures

TABLE: dict[str, Any] = {
    "resize": "center-crop",
    "crop_ratio": 0.875,
    "size": [224, 224],
    "interpolation": "bicubic",
    "channels": "RGB",
    "mean": [127.0, 127.0, 127.0],
    "std": [128.0, 128.0, 128.0],
    "layout": "NCHW",
}


def table(**changes: Any) -> Preprocessing:
    return preprocessing.from_table({**TABLE, **changes})


def prepared(content: bytes, **changes: Any) -> Pixels:
    wanted = table(**changes)
    out = np.zeros((*wanted.size, 3), np.uint8)
    wanted.prepare(content, out)
    return out


def by_pillow(picture: Image.Image, view: View) -> Pixels:
    cropped = picture.crop(view.box(*picture.size))
    return np.asarray(cropped.resize((view.width, view.height), Image.Resampling.BICUBIC))


@cache
def encoded_scene(size: tuple[int, int]) -> bytes:
    return pictures.encode(pictures.scene(*size), "PNG", compress_level=1)


def distance(one: Pixels, other: Pixels) -> float:
    return float(np.abs(one.astype(int) - other).mean())


@pytest.mark.parametrize("size", [(480, 360), (300, 900), (231, 229), (1_500, 1_100), (3_000, 2_100), (100, 80)])
@pytest.mark.parametrize("changes", [{}, {"resize": "stretch"}, {"size": [160, 192]}])
def test_the_resize_is_nearly_pillows_antialiased_one(size: tuple[int, int], changes: dict[str, Any]) -> None:
    found = prepared(encoded_scene(size), **changes)
    assert distance(found, by_pillow(pictures.scene(*size), table(**changes).view)) < 2.5


def test_fine_stripes_do_not_turn_into_coarse_ones() -> None:
    stripes = Image.fromarray(np.tile(np.array([0, 255], np.uint8), (2_000, 1_000)))
    assert prepared(pictures.encode(stripes, "PNG")).std() < 12


def test_a_large_jpeg_looks_like_the_same_picture_decoded_in_full() -> None:
    picture = pictures.scene(2_000, 1_500)
    found = prepared(pictures.encode(picture, "JPEG", quality=95))
    assert distance(found, by_pillow(picture, table().view)) < 2.5


@pytest.mark.parametrize("changes", [{}, {"resize": "stretch", "size": [160, 192]}])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_seen_upright(orientation: int, changes: dict[str, Any]) -> None:
    upright = prepared(pictures.encode(pictures.scene(), "PNG"), **changes)
    assert distance(prepared(pictures.turned_jpeg(orientation), **changes), upright) < 2.5


def test_an_orientation_in_a_png_or_webp_counts_too() -> None:
    lying = pictures.scene().transpose(pictures.STORED_BY_ORIENTATION[6])
    upright = prepared(pictures.encode(pictures.scene(), "PNG"))
    for kind in ("PNG", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        content = pictures.encode(lying, kind, exif=pictures.exif(6), **options)
        assert distance(prepared(content), upright) < 1


def test_the_square_is_cut_from_the_middle() -> None:
    picture = Image.new("RGB", (600, 200), (255, 0, 0))
    picture.paste((0, 0, 255), (200, 0, 400, 200))
    found = prepared(pictures.encode(picture, "PNG"), crop_ratio=1.0)
    assert np.all(found == (0, 0, 255))


def test_a_stretched_picture_loses_nothing_at_its_edges() -> None:
    picture = Image.new("RGB", (600, 200), (0, 0, 255))
    picture.paste((255, 0, 0), (0, 0, 60, 200))
    found = prepared(pictures.encode(picture, "PNG"), resize="stretch")
    assert np.all(found[:, :20] == (255, 0, 0))


def test_the_pixels_are_written_into_the_place_given() -> None:
    batch = np.full((3, 224, 224, 3), 7, np.uint8)
    table().prepare(pictures.jpeg(), batch[1])
    assert np.array_equal(batch[1], prepared(pictures.jpeg()))
    assert np.all(batch[[0, 2]] == 7)


@pytest.mark.parametrize("interpolation", preprocessing.INTERPOLATIONS)
def test_every_interpolation_keeps_a_flat_colour(interpolation: str) -> None:
    flat = pictures.encode(Image.new("RGB", (700, 500), (10, 200, 90)), "PNG")
    assert np.all(prepared(flat, interpolation=interpolation) == (10, 200, 90))


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (3, 2), (224, 224), (225, 224), (12_000, 240)])
def test_any_size_within_the_limits_is_taken(size: tuple[int, int]) -> None:
    assert prepared(pictures.encode(Image.new("RGB", size, (9, 9, 9)), "PNG")).max() == 9


def test_opencv_starts_no_threads_of_its_own() -> None:
    assert cv2.getNumThreads() == 1


def test_the_digest_names_exactly_these_numbers() -> None:
    assert table().digest == table().digest
    changes: list[dict[str, Any]] = [
        {"resize": "stretch"}, {"crop_ratio": 0.9}, {"size": [224, 225]}, {"interpolation": "bilinear"},
        {"channels": "BGR"}, {"mean": [127.5, 127.0, 127.0]}, {"std": [127.5, 128.0, 128.0]}, {"layout": "NHWC"},
    ]  # fmt: skip
    assert len({table(**change).digest for change in [{}, *changes]}) == 1 + len(changes)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("resize", "fit"), ("interpolation", "magic"), ("channels", "CMYK"), ("layout", "NCWH"), ("size", 224),
        ("crop_ratio", 0), ("crop_ratio", 1.5), ("crop_ratio", "0.9"), ("crop_ratio", True), ("resize", ["stretch"]),
        ("size", [224]), ("size", [0, 224]), ("size", [224.5, 224]), ("size", [9_999, 224]), ("mean", [1, 2]),
        ("mean", [1, 2, "3"]),
        ("std", [1, 2, 0]), ("std", None), ("mean", [float("nan"), 1.0, 1.0]), ("std", [float("inf"), 1.0, 1.0]),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_with_its_key(key: str, value: Any) -> None:
    with pytest.raises(BundleError) as caught:
        table(**{key: value})
    assert f"{key} = {value!r}" in str(caught.value)


def test_a_missing_and_an_unknown_key_are_told() -> None:
    with pytest.raises(BundleError, match="crop_ratio"):
        preprocessing.from_table({key: value for key, value in TABLE.items() if key != "crop_ratio"})
    with pytest.raises(BundleError, match="sharpen"):
        table(sharpen=True)


@pytest.mark.parametrize("value", range(1, 9))
def test_upright_is_what_pillow_makes_of_it(value: int) -> None:
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    picture = Image.fromarray(pixels)
    picture.getexif()[0x0112] = value
    assert np.array_equal(preprocessing.upright(pixels, value), np.asarray(ImageOps.exif_transpose(picture)))
