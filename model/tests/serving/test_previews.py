"""Previews: any stored image as a small JPEG that every browser shows."""

import io
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference.errors import ImageError
from inference.model import load
from serving import previews
from serving.classifier import Classifier, Occupancy
from sightline_testing import sample_images
from sightline_testing.profiles import profile
from sightline_testing.sample_images import FAST_HEIC, STORED_BY_ORIENTATION, encode, exif, scene
from storage.images.folder import image_folder
from wire import Answer, Delivery, Job

SIZE = (480, 360)


def shown(content: bytes, side: int = 640) -> Image.Image:
    found = Image.open(io.BytesIO(previews.draw(content, side)))
    assert found.format == "JPEG"
    assert found.mode == "RGB"
    return found


def distance(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one).astype(int) - np.asarray(other)).mean())


MAKES: dict[str, Callable[[], bytes]] = {
    "heic": lambda: encode(scene(*SIZE), "HEIF", **FAST_HEIC),
    "avif": lambda: encode(scene(*SIZE), "AVIF", speed=10),
    "tiff": lambda: encode(scene(*SIZE), "TIFF"),
    "jpeg": lambda: sample_images.jpeg(*SIZE),
    "png": lambda: encode(scene(*SIZE), "PNG"),
}


@pytest.mark.parametrize("kind", MAKES)
def test_a_preview_shows_the_image(kind: str) -> None:
    found = shown(MAKES[kind]())
    assert found.size == SIZE
    assert distance(found, scene(*SIZE)) < 6


@pytest.mark.parametrize(
    ("size", "side", "expected"),
    [((480, 360), 240, (240, 180)), ((360, 480), 240, (180, 240)), ((60, 40), 240, (60, 40))],
)
def test_its_longest_side_is_bounded_and_none_is_enlarged(
    size: tuple[int, int], side: int, expected: tuple[int, int]
) -> None:
    assert shown(encode(scene(*size), "TIFF"), side).size == expected


def test_a_large_image_keeps_its_proportions() -> None:
    for size in ((2_000, 1_500), (1_500, 2_000)):
        found = shown(encode(scene(*SIZE).resize(size), "TIFF"), 240)
        assert max(found.size) == 240
        assert distance(found, scene(*SIZE).resize(found.size)) < 6


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_it_is_upright(orientation: int) -> None:
    stored = scene(*SIZE).transpose(STORED_BY_ORIENTATION[orientation])
    found = shown(encode(stored, "HEIF", exif=exif(orientation), **FAST_HEIC))
    assert found.size == SIZE
    assert distance(found, scene(*SIZE)) < 6


def test_wide_colours_become_those_that_every_screen_has() -> None:
    content = encode(Image.new("RGB", (64, 64), (200, 60, 60)), "TIFF", icc_profile=profile("Display P3"))
    [red, green, _] = np.asarray(shown(content))[32, 32].tolist()
    assert red > 205
    assert green < 57


def test_a_broken_image_has_none() -> None:
    with pytest.raises(ImageError):
        previews.draw(MAKES["heic"]()[:400], 640)


def test_a_worker_adds_a_preview_to_the_answer_of_a_job_that_asks_for_one(bundles: Path, uploads: Path) -> None:
    (uploads / "scene.heic").write_bytes(MAKES["heic"]())
    model = load(bundles / "efficientnet-lite0" / "1-int8", "openvino", streams=1, cores=1)
    classifier = Classifier(model, image_folder(uploads), 2, Occupancy())
    jobs = [Job("a", "scene.heic", "replies", 5_000, preview_side=100), Job("b", "scene.heic", "replies", 5_000)]
    outcomes = classifier.outcomes([Delivery(f"{at}-0", job, 1, 1.5, math.inf, 2) for at, job in enumerate(jobs)])
    [with_preview, without] = [answer for _, answer in outcomes if isinstance(answer, Answer)]
    assert Image.open(io.BytesIO(with_preview.preview)).size == (100, 75)
    assert (without.preview, without.predictions) == (b"", with_preview.predictions)
    assert (jobs[0].passes, jobs[1].passes) == (2, 1)
