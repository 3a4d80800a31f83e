"""Image files of odd kinds: each has the label of its plain sRGB form, or is refused with its code and a reason."""

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from inference import model
from inference.decode import View, decode
from inference.errors import ImageError
from inference.preprocessing import upright
from sightline_testing.odd_files import SIZE, OddFile, all_files
from sightline_testing.sample_images import encode

WHOLE = View(2_048, 2_048, None)  # nothing is scaled down
FILES = all_files()
SHOWN = [file for file in FILES if file.shows]
REFUSED = [file for file in FILES if not file.shows]
# Of smaller ones, the noise of a lossy encoder may decide on the label.
LABELLED_PIXELS = SIZE[0] * SIZE[1]


@cache
def content_of(file: OddFile) -> bytes:
    """Return what a file holds, which is made once for all tests."""
    return file.content()


def named(files: Iterable[OddFile]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("file", files, ids=lambda file: file.name)


def test_there_are_more_than_400_different_files() -> None:
    assert len(set(map(content_of, FILES))) > 400
    assert len(SHOWN) > 400


@pytest.fixture(scope="session")
def label_of(bundles: Path) -> Callable[[bytes], str]:
    loaded = model.load(bundles / "efficientnet-lite0" / "1-fp32", "openvino", streams=1, cores=1)

    @cache  # many files hold the same image
    def of_pixels(pixels: bytes) -> str:
        batch = loaded.new_batch(1)
        batch[:] = np.frombuffer(pixels, np.uint8).reshape(batch.shape)
        return loaded.top_k(loaded.predict(batch)[0], 1)[0][0]

    @cache
    def label(content: bytes) -> str:
        batch = loaded.new_batch(1)
        loaded.prepare(content, batch[0])
        return of_pixels(batch.tobytes())

    return label


@cache
def plain_form(pixels: bytes, size: tuple[int, int]) -> bytes:
    return encode(Image.frombytes("RGB", size, pixels), "PNG", compress_level=1)


@named(SHOWN)
def test_an_odd_file_has_the_pixels_and_the_label_of_its_plain_form(
    file: OddFile, label_of: Callable[[bytes], str]
) -> None:
    assert file.shows
    plain, found = file.shows(), decode(content_of(file), WHOLE)
    assert found.size == plain.size
    pixels = np.ascontiguousarray(upright(found.pixels, found.orientation))
    assert cv2.absdiff(pixels, np.asarray(plain)).mean() <= file.tolerance
    if plain.width * plain.height >= LABELLED_PIXELS:
        assert label_of(content_of(file)) == label_of(plain_form(plain.tobytes(), plain.size))


@named(REFUSED)
def test_an_odd_file_without_pixels_is_refused_with_its_code_and_a_reason(file: OddFile) -> None:
    with pytest.raises(ImageError) as caught:
        decode(content_of(file), WHOLE)
    assert caught.value.code == file.code
    assert len(str(caught.value)) > 10
    assert "object at" not in str(caught.value)
