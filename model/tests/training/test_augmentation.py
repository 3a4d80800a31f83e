"""Which augmentations are made, and which would change a label."""

import re
from pathlib import Path

import numpy as np
import pytest

from inference.errors import BundleError
from training.augmentation import KINDS, MIRROR, RECOLOUR, SKEW, TURN, augmentations, chosen_kinds
from training.gathering import changing_labels

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)


@pytest.mark.parametrize("kinds", [KINDS, (RECOLOUR, SKEW), (MIRROR,), (TURN, RECOLOUR), ()])
def test_the_image_comes_first_and_then_what_was_asked_for(kinds: tuple[str, ...]) -> None:
    made = list(augmentations(PIXELS, 1, kinds))
    assert (made[0] == PIXELS).all()
    assert len(made) == (5 if SKEW in kinds else 1 + len(kinds))
    assert all(each.shape == PIXELS.shape for each in made)
    assert (MIRROR in kinds) == any((each == PIXELS[:, ::-1]).all() for each in made)


@pytest.mark.parametrize(
    ("lines", "kinds"),
    [
        ("", KINDS),
        ("[training]\n", KINDS),
        ('[training]\naugment = ["skew", "recolour"]\n', (RECOLOUR, SKEW)),
        ("[training]\naugment = []\n", ()),
    ],
)
def test_a_bundle_says_which_augmentations_are_made(lines: str, kinds: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "bundle.toml").write_text(f"schema = 1\n{lines}")
    assert chosen_kinds(tmp_path) == kinds


@pytest.mark.parametrize("value", ['"mirror"', '["flip"]', "[1]", "[[]]", "3"])
def test_what_is_no_augmentation_is_named(value: str, tmp_path: Path) -> None:
    (tmp_path / "bundle.toml").write_text(f"schema = 1\n[training]\naugment = {value}\n")
    with pytest.raises(BundleError, match=re.escape("expected a list of some of mirror, turn, recolour, skew")):
        chosen_kinds(tmp_path)


def views(draw: np.random.Generator, first: int, mirrored: int) -> list[np.ndarray]:
    """Ten images that one feature identifies, and that have another one when they are mirrored."""
    found = []
    for _ in range(10):
        rows = draw.normal(0, 1, (5, 20)).astype(np.float32)
        rows[:, first] += 6
        rows[1, first] -= 6
        rows[1, mirrored] += 6
        found.append(rows)
    return found


def test_mirrored_images_that_show_another_label_are_found() -> None:
    draw, labels = np.random.default_rng(0), ["left"] * 10 + ["right"] * 10
    assert changing_labels(labels, views(draw, 0, 1) + views(draw, 1, 0), KINDS) == {MIRROR}
    assert changing_labels(labels, views(draw, 0, 0) + views(draw, 1, 1), KINDS) == set()
    # One sign among other classes is enough.
    others = [rows for label in range(2, 12) for rows in views(draw, label, label)]
    names = [f"other {at // 10}" for at in range(100)]
    assert changing_labels(labels + names, views(draw, 0, 1) + views(draw, 1, 0) + others, KINDS) == {MIRROR}


def test_nothing_is_concluded_from_one_label_or_from_labels_that_cannot_be_told_apart() -> None:
    draw = np.random.default_rng(0)
    assert changing_labels(["left"] * 10, views(draw, 0, 1), KINDS) == set()
    noise = [draw.normal(0, 1, (5, 20)).astype(np.float32) for _ in range(20)]
    assert changing_labels(["a", "b"] * 10, noise, KINDS) == set()
