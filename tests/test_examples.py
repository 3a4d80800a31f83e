"""The sample images: small, each with its source and licence, and drawn again as they are."""

import re
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

from sightline_testing import examples

IMAGES = sorted(examples.FOLDER.rglob("*.jpg"))
LARGEST = 60 * 1024


def test_each_image_is_small_enough_to_ship_and_has_a_licence() -> None:
    named = re.findall(r"`([\w/-]+(?:\.jpg|/))`", (examples.FOLDER / "README.md").read_text())
    for image in IMAGES:
        inside = image.relative_to(examples.FOLDER)
        assert image.stat().st_size <= LARGEST, image
        assert str(inside) in named or f"{inside.parent}/" in named, f"examples/README.md does not list {inside}"
    assert [name for name in named if not (examples.FOLDER / name).exists()] == []


def test_drawn_images_are_those_that_the_code_draws(tmp_path: Path) -> None:
    examples.write(tmp_path)
    for drawn in tmp_path.rglob("*.jpg"):
        stored = examples.FOLDER / drawn.relative_to(tmp_path)
        with Image.open(drawn) as new, Image.open(stored) as old:
            assert new.size == old.size
            # JPEG encoders differ by version in the last bits.
            assert max(ImageStat.Stat(ImageChops.difference(new, old)).mean) == pytest.approx(0, abs=1), stored
