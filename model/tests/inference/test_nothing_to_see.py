"""Images and frames of one colour: animations that begin with one, and what is answered with a warning."""

import numpy as np
import pytest
from PIL import Image

from inference.decode import MAX_FRAMES, View, decode
from inference.errors import IMAGE_TOO_LARGE, ImageError
from inference.preprocessing import is_of_one_colour
from sightline_testing.sample_images import encode, scene

SIZE = (128, 96)
WHOLE = View(2_048, 2_048, None)
BLACK, CLEAR = Image.new("RGB", SIZE), Image.new("RGBA", SIZE, (255, 0, 0, 0))
OPTIONS = {"GIF": {}, "WEBP": {"lossless": True, "exact": True}}


def frames(kind: str, first: Image.Image, *others: Image.Image) -> bytes:
    return encode(first, kind, save_all=True, append_images=others, duration=50, **OPTIONS[kind])


def seen(content: bytes) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    return decode(content, WHOLE).pixels.astype(int)


@pytest.mark.parametrize("kind", OPTIONS)
@pytest.mark.parametrize("first", [BLACK, CLEAR], ids=["black", "clear"])
@pytest.mark.parametrize("count", [1, 3])
def test_an_animation_is_its_first_frame_that_shows_something(kind: str, first: Image.Image, count: int) -> None:
    other = scene(*SIZE).convert(first.mode)
    blank = [Image.new("RGB", SIZE, (at, 0, 0)).convert(first.mode) for at in range(1, count)]
    content = frames(kind, first, *blank, other, other.transpose(Image.Transpose.ROTATE_180))
    assert np.abs(seen(content) - np.asarray(scene(*SIZE))).mean() < 12  # a GIF has few colours


@pytest.mark.parametrize("kind", OPTIONS)
def test_an_animation_of_one_colour_in_each_frame_is_its_first(kind: str) -> None:
    colours = [Image.new("RGB", SIZE, (at, 200, 0)) for at in range(0, 2 * MAX_FRAMES, 2)]
    assert (seen(frames(kind, *colours, scene(*SIZE))) == (0, 200, 0)).all()


def test_what_is_broken_behind_the_first_frame_does_not_count() -> None:
    content = frames("GIF", BLACK, scene(*SIZE))
    assert (seen(content[: len(content) // 2]) == 0).all()


def test_frames_are_looked_at_as_long_as_the_budget_lasts() -> None:
    with pytest.raises(ImageError) as caught:
        decode(frames("WEBP", BLACK, scene(*SIZE)), WHOLE, 1e-9)
    assert caught.value.code == IMAGE_TOO_LARGE


def test_one_colour_is_all_pixels_alike_but_for_the_noise_of_an_encoder() -> None:
    pixels = np.full((224, 224, 3), 128, np.uint8)
    assert is_of_one_colour(pixels)
    pixels[::3] += 2
    assert is_of_one_colour(pixels)
    pixels[5, 7, 2] += 3  # not one of those that are checked first
    assert not is_of_one_colour(pixels)
    assert not is_of_one_colour(np.asarray(scene(224, 224)))
