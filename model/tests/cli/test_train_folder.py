"""A version from folders of images, with the real model."""

from pathlib import Path
from random import Random

import cv2
import numpy as np
import pytest

from cli import models
from registry import versions
from registry.versions import Record
from sightline_testing.drawings import drawing_jpeg
from tests.bundle_copies import NAME
from tests.improving import loaded, named, train_on_less, work_on_a_copy


@pytest.fixture
def bundles_folder(bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the bundles, few synthetic images, and no reports."""
    train_on_less(monkeypatch, 16)
    return work_on_a_copy(bundles, tmp_path, monkeypatch)


def train(folder: Path, *more: str) -> int:
    places = ["--feedback", str(folder.parent / "none"), "--uploads", str(folder.parent / "none")]
    return models.main(["train", str(folder), *places, *more])


def put(folder: Path, label: str, contents: list[bytes]) -> None:
    (folder / label).mkdir(parents=True, exist_ok=True)
    for content in contents:
        (folder / label / f"{len(list((folder / label).iterdir()))}.jpg").write_bytes(content)


def record(bundles_folder: Path) -> Record:
    found = versions.record_of(bundles_folder / NAME / "2-int8")
    assert found is not None
    return found


def arrow(seed: int, *, points_left: bool) -> bytes:
    """Return an arrow that a person drew: its place, size, colours and thickness vary, its direction does not."""
    draw = Random(f"arrow {points_left} {seed}")  # noqa: S311 -- images, not secrets
    dark = [draw.randint(0, 120) for _ in range(3)]
    pixels = np.full((300, 300, 3), [draw.randint(170, 255) for _ in range(3)], np.uint8)
    left, right, y = draw.randint(20, 60), draw.randint(240, 280), draw.randint(110, 190)
    ends = ((right, y), (left, y + draw.randint(-15, 15)))
    start, tip = ends if points_left else ends[::-1]
    cv2.arrowedLine(pixels, start, tip, dark, draw.randint(12, 30), tipLength=draw.uniform(0.3, 0.45))
    return bytes(cv2.imencode(".jpg", pixels)[1])


def test_folders_become_a_version_whose_classes_are_found_in_other_images(
    bundles_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "classes"
    for label in ("pie_chart", "Floor plan"):
        kind = label.lower().replace(" ", "_")
        put(folder, label, [drawing_jpeg(kind, seed) for seed in range(8)])
    put(folder, "Crossword-Puzzle".replace("-", " "), [drawing_jpeg("crossword_puzzle", seed) for seed in range(3)])
    put(folder, "pie_chart", [b"no image"])
    assert train(folder) == 0
    printed = capsys.readouterr()
    assert "fitting 2 new classes and 1 old ones" in printed.out
    assert "left out, because they are gone, altered or no images: 1 of 20" in printed.err
    made = record(bundles_folder)
    assert {case.label for case in made.cases} == {"pie_chart", "Floor plan", "crossword_puzzle"}
    assert all(Path(case.image).is_absolute() and not case.report_id for case in made.cases)
    for kind, label in (("pie_chart", "pie_chart"), ("floor_plan", "Floor plan")):
        assert named(loaded("2-int8"), [drawing_jpeg(kind, seed) for seed in range(100, 110)]).count(label) >= 8, kind


def test_arrows_are_not_mirrored(bundles_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "arrows"
    for side in ("left", "right"):
        put(folder, f"arrow {side}", [arrow(seed, points_left=side == "left") for seed in range(10)])
    assert train(folder) == 0
    assert "augmentations: " in capsys.readouterr().out
    assert "mirror" not in record(bundles_folder).augment
    right = 0
    for side in ("left", "right"):
        arrows = [arrow(seed, points_left=side == "left") for seed in range(100, 110)]
        right += named(loaded("2-int8"), arrows).count(f"arrow {side}")
    assert right >= 14  # 9 or 10, as by chance, where arrows are mirrored


def test_ordinary_images_are_held_and_recorded_by_hash(bundles_folder: Path, tmp_path: Path) -> None:
    put(tmp_path / "classes", "pie_chart", [drawing_jpeg("pie_chart", seed) for seed in range(3)])
    put(tmp_path / "usual", "any", [drawing_jpeg("crossword_puzzle", seed) for seed in range(4)])
    assert train(tmp_path / "classes", "--ordinary", str(tmp_path / "usual")) == 0
    made = record(bundles_folder)
    assert len(made.images) == 4
    assert {Path(image.name).parent for image in made.images} == {(tmp_path / "usual" / "any").resolve()}
    assert all(len(image.sha256) == 64 for image in made.images)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (("pie_chart", "floor_plan"), "are one image with two labels"),
        (("_",), "names no class"),
        ((), "holds no labelled images"),
    ],
)
def test_folders_that_cannot_be_meant_are_refused(
    labels: tuple[str, ...], reason: str, bundles_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "classes").mkdir()
    for label in labels:
        put(tmp_path / "classes", label, [drawing_jpeg("pie_chart", 0)])
    assert train(tmp_path / "classes") == 1
    assert reason in capsys.readouterr().err
    assert not (bundles_folder / NAME / "2-int8").exists()
