from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from evaluation import batch_prediction, domains
from evaluation.comparison import Pair
from inference.arrays import Pixels
from inference.model import Model
from sightline_testing.drawings import drawing_jpeg

LABEL = "crossword_puzzle"


@pytest.fixture(scope="module")
def version(bundles: Path) -> Model:
    return batch_prediction.load(bundles / "efficientnet-lite0" / "1-int8")


def pairs(folder: Path, change: Callable[[Pixels], Pixels], label: str, *, is_right: bool = False) -> list[Pair]:
    found = []
    for seed in range(8):
        path = folder / f"{is_right}{seed}.png"
        cv2.imwrite(str(path), change(scene(seed)))
        found.append(Pair(path, label, ((label if is_right else "other", 0.9),), ((label, 0.9),)))
    return found


@cache
def scene(seed: int) -> Pixels:
    """Return soft colours behind some discs, as much of it dark as light, with the noise of a camera."""
    draw = np.random.default_rng(seed)
    soft = cv2.GaussianBlur(draw.normal(size=(300, 300, 3)), (0, 0), 20)
    ranks = soft.reshape(-1, 3).argsort(axis=0).argsort(axis=0).reshape(soft.shape)
    pixels = np.ascontiguousarray(ranks / ranks.max() * 235 + 10, np.uint8)
    for _ in range(12):
        place, tint = draw.integers(0, 300, 2).tolist(), draw.integers(0, 256, 3).tolist()
        cv2.circle(pixels, place, int(draw.integers(15, 50)), tint, -1)
    noisy: Pixels = np.clip(pixels + draw.normal(0, 5, pixels.shape), 0, 255).astype(np.uint8)
    return noisy


def dark(pixels: Pixels) -> Pixels:
    return pixels // 6


def grey(pixels: Pixels) -> Pixels:
    return np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)


def sepia(pixels: Pixels) -> Pixels:
    tinted: Pixels = (grey(pixels) * np.array([0.7, 0.95, 1.0])).astype(np.uint8)
    return tinted


def night(pixels: Pixels) -> Pixels:
    noise = np.random.default_rng(1).normal(0, 5, pixels.shape)
    seen = (pixels / 255) ** 2.2 * 90 * np.array([1.2, 0.9, 0.8])
    noisy: Pixels = np.clip(seen + noise, 0, 255).astype(np.uint8)
    return noisy


def pencil(pixels: Pixels) -> Pixels:
    edges = cv2.Canny(np.asarray(cv2.GaussianBlur(pixels, (0, 0), 2), np.uint8), 30, 80)
    return np.repeat(255 - cv2.dilate(edges, np.ones((3, 3)))[:, :, None], 3, axis=2).astype(np.uint8)


def chalk(pixels: Pixels) -> Pixels:
    return np.asarray(255 - pencil(pixels), np.uint8)


def blurred(pixels: Pixels) -> Pixels:
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), 8), dtype=np.uint8)


def screenshot(pixels: Pixels) -> Pixels:
    window = np.full((300, 300, 3), 245, np.uint8)
    window[:30] = (90, 60, 60)
    window[110:210, 120:230] = cv2.resize(pixels, (110, 100))
    return window


def same(pixels: Pixels) -> Pixels:
    return pixels


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (dark, "dark"),
        (night, "dark"),
        (grey, "grey or single-tone"),
        (sepia, "grey or single-tone"),
        (pencil, "sketch-like (lines on a plain ground)"),
        (chalk, "sketch-like (lines on a plain ground)"),
        (blurred, "blurred"),
        (screenshot, "flat (screenshots, graphics)"),
    ],
)
def test_what_most_errors_share_and_right_answers_do_not_is_named(
    version: Model, tmp_path: Path, change: Callable[[Pixels], Pixels], named: str
) -> None:
    right = pairs(tmp_path, same, LABEL, is_right=True)
    wrong = pairs(tmp_path, change, LABEL)
    stored = {Path(each.path.name): each.path.read_bytes() for each in wrong}
    # Stored images have a name alone, and are read by their store.
    wrong = [each._replace(path=Path(each.path.name), read=stored.get) for each in wrong]
    found = domains.notes(version, [*wrong, *right])
    assert [f"of 8 errors of A are of {named} images" in note for note in found] == [True]


def test_what_right_answers_share_as_well_is_no_domain(version: Model, tmp_path: Path) -> None:
    right = pairs(tmp_path, dark, LABEL, is_right=True)
    assert domains.notes(version, [*pairs(tmp_path, dark, LABEL), *right]) == []


def test_few_errors_make_no_domain(version: Model, tmp_path: Path) -> None:
    assert domains.notes(version, pairs(tmp_path, dark, LABEL)[:4]) == []


def test_errors_that_a_rotation_mends_are_named(version: Model, tmp_path: Path) -> None:
    found = []
    for seed in range(8):
        path = tmp_path / f"{seed}.jpg"
        path.write_bytes(drawing_jpeg("bar_chart", seed))
        # The answers for the turned images are right; A is wrong for the image as it is.
        pair = Pair(path, "", (("other", 0.9),), (("other", 0.9),))
        ((_, pixels),) = domains._read(version, [pair])
        found.append(pair._replace(label=domains._top1(version, np.rot90(pixels, 3))))
    (note,) = [note for note in domains.notes(version, found) if "once turned" in note]
    assert note.startswith("8 of 8 errors of A are right once turned by 90° clockwise")
