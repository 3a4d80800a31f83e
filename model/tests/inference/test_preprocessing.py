from functools import cache, lru_cache
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from inference import preprocessing
from inference.arrays import Pixels
from inference.decode import View, decode
from inference.errors import BundleError
from inference.preprocessing import Preprocessing
from sightline_testing import sample_images

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


def by_pillow(image: Image.Image, view: View) -> Pixels:
    cropped = image.crop(view.box(*image.size))
    return np.asarray(cropped.resize((view.width, view.height), Image.Resampling.BICUBIC))


@cache
def encoded_scene(size: tuple[int, int]) -> bytes:
    return sample_images.encode(sample_images.scene(*size), "PNG", compress_level=1)


def distance(one: Pixels, other: Pixels) -> float:
    return cv2.norm(one, other, cv2.NORM_L1) / one.size


@pytest.mark.parametrize("size", [(480, 360), (300, 900), (231, 229), (1_500, 1_100), (3_000, 2_100), (100, 80)])
@pytest.mark.parametrize("changes", [{}, {"resize": "stretch"}, {"size": [160, 192]}])
def test_the_resize_is_nearly_pillows_antialiased_one(size: tuple[int, int], changes: dict[str, Any]) -> None:
    found = prepared(encoded_scene(size), **changes)
    assert distance(found, by_pillow(sample_images.scene(*size), table(**changes).view)) < 2.5


def test_fine_stripes_do_not_turn_into_coarse_ones() -> None:
    stripes = Image.fromarray(np.tile(np.array([0, 255], np.uint8), (2_000, 1_000)))
    assert prepared(sample_images.encode(stripes, "PNG")).std() < 10


PILLOWS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "area": Image.Resampling.BOX,
}
# How much more of fine grain is left than by Pillow's filters, which are wider than the means that are taken here.
MOST_GRAIN = {"bicubic": 1.45, "bilinear": 1.75, "area": 1.15}
UNEVEN = [
    (4_000, 300), (300, 4_000), (4_000, 100), (100, 4_000), (1_000, 230), (230, 1_000), (3_000, 450), (449, 3_000),
    (448, 3_000), (700, 200), (200, 700), (500, 300), (480, 360), (11_000, 220), (225, 11_000), (2_000, 1_500),
]  # fmt: skip


@cache
def encoded_noise(size: tuple[int, int]) -> tuple[Image.Image, bytes, bytes]:
    width, height = size
    noise = np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    jpeg = sample_images.encode(image, "JPEG", quality=95, subsampling="4:4:4")
    return image, sample_images.encode(image, "PNG", compress_level=0), jpeg


_decode_once = lru_cache(maxsize=2)(decode)  # a PNG and a JPEG


@pytest.fixture
def _decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an image decoded once for all interpolations, on which decoding does not depend."""
    monkeypatch.setattr(preprocessing, "decode", _decode_once)


@pytest.mark.usefixtures("_decoded_once")
@pytest.mark.parametrize("interpolation", PILLOWS)  # varies fastest
@pytest.mark.parametrize(
    "changes", [{"resize": "stretch"}, {"resize": "stretch", "size": [96, 320]}, {"size": [320, 96]}]
)
@pytest.mark.parametrize("size", UNEVEN)
def test_no_more_of_fine_grain_is_left_than_pillows_filter_leaves(
    size: tuple[int, int], interpolation: str, changes: dict[str, Any]
) -> None:
    image, png, jpeg = encoded_noise(size)
    view = table(**changes).view
    expected = np.asarray(image.resize((view.width, view.height), PILLOWS[interpolation], view.box(*size)))
    for content in (png, jpeg):
        found = prepared(content, interpolation=interpolation, **changes)
        assert found.std() < MOST_GRAIN[interpolation] * expected.std()
        assert abs(float(found.mean()) - float(expected.mean())) < 0.8


def test_nearest_takes_single_pixels_along_both_sides() -> None:
    for size in UNEVEN:
        image, png, _ = encoded_noise(size)
        expected = image.resize((224, 224), Image.Resampling.NEAREST)
        assert np.array_equal(prepared(png, resize="stretch", interpolation="nearest"), np.asarray(expected)), size


def test_a_large_jpeg_looks_like_the_same_image_decoded_in_full() -> None:
    image = sample_images.scene(2_000, 1_500)
    found = prepared(sample_images.encode(image, "JPEG", quality=95))
    assert distance(found, by_pillow(image, table().view)) < 2.5


@pytest.mark.parametrize("changes", [{}, {"resize": "stretch", "size": [160, 192]}])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_image_is_seen_upright(orientation: int, changes: dict[str, Any]) -> None:
    upright = prepared(encoded_scene(sample_images.scene().size), **changes)
    assert distance(prepared(sample_images.turned_jpeg(orientation), **changes), upright) < 2.5


def test_an_orientation_in_a_png_or_webp_counts_too() -> None:
    lying = sample_images.scene().transpose(sample_images.STORED_BY_ORIENTATION[6])
    upright = prepared(sample_images.encode(sample_images.scene(), "PNG"))
    for kind in ("PNG", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        content = sample_images.encode(lying, kind, exif=sample_images.exif(6), **options)
        assert distance(prepared(content), upright) < 1


def test_the_square_is_cut_from_the_middle() -> None:
    image = Image.new("RGB", (600, 200), (255, 0, 0))
    image.paste((0, 0, 255), (200, 0, 400, 200))
    found = prepared(sample_images.encode(image, "PNG"), crop_ratio=1.0)
    assert np.all(found == (0, 0, 255))


def test_a_stretched_image_loses_nothing_at_its_edges() -> None:
    image = Image.new("RGB", (600, 200), (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, 60, 200))
    found = prepared(sample_images.encode(image, "PNG"), resize="stretch")
    assert np.all(found[:, :20] == (255, 0, 0))


def test_the_pixels_are_written_into_the_place_given() -> None:
    batch = np.full((3, 224, 224, 3), 7, np.uint8)
    table().prepare(sample_images.jpeg(), batch[1])
    assert np.array_equal(batch[1], prepared(sample_images.jpeg()))
    assert np.all(batch[[0, 2]] == 7)


@pytest.mark.parametrize("interpolation", preprocessing.INTERPOLATIONS)
def test_every_interpolation_keeps_a_flat_colour(interpolation: str) -> None:
    flat = sample_images.encode(Image.new("RGB", (700, 500), (10, 200, 90)), "PNG")
    assert np.all(prepared(flat, interpolation=interpolation) == (10, 200, 90))


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (3, 2), (224, 224), (225, 224), (12_000, 240)])
def test_any_size_within_the_limits_is_taken(size: tuple[int, int]) -> None:
    assert prepared(sample_images.encode(Image.new("RGB", size, (9, 9, 9)), "PNG")).max() == 9


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
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = value
    assert np.array_equal(preprocessing.upright(pixels, value), np.asarray(ImageOps.exif_transpose(image)))


@pytest.mark.parametrize("ratio", [0.875, 224 / 256, 0.9032, 1.0, 0.05])
def test_a_square_input_gets_the_square_that_it_always_got(ratio: float) -> None:
    for width in range(1, 600, 7):
        for height in range(1, 600, 11):
            half = min(width, height) * ratio / 2
            left, top = round(width / 2 - half), round(height / 2 - half)
            right, bottom = round(width / 2 + half), round(height / 2 + half)
            expected = (left, top, max(right, left + 1), max(bottom, top + 1))
            assert View(224, 224, ratio).box(width, height) == expected


@pytest.mark.parametrize("size", [(160, 288), (97, 131), (384, 128)])
@pytest.mark.parametrize("image", [(1000, 400), (400, 1000), (640, 640), (131, 97)])
@pytest.mark.parametrize("ratio", [0.5, 0.95, 1.0])
def test_a_centre_crop_has_the_shape_of_the_input(size: tuple[int, int], image: tuple[int, int], ratio: float) -> None:
    width, height = image
    left, top, right, bottom = View(*size, ratio).box(width, height)
    across, down = right - left, bottom - top
    assert across / size[1] == pytest.approx(down / size[0], abs=1.5 / min(size))
    assert max(across / width, down / height) == pytest.approx(ratio, abs=2 / min(image))
    assert (left + right, top + bottom) == pytest.approx((width, height), abs=1)


def test_a_stretched_crop_takes_the_same_part_of_both_sides() -> None:
    assert View(224, 224, 0.875, is_stretched=True).box(800, 400) == (50, 25, 750, 375)
    assert View(224, 224, 1.0, is_stretched=True).box(800, 400) == (0, 0, 800, 400)
