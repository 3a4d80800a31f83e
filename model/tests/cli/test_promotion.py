"""`cli.models promote` of versions that `improve` made: what is refused, what is provisional, what passes."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from cli import models
from inference import bundle, compiled
from serving import heat_maps
from sightline_testing.drawings import drawing_jpeg
from sightline_testing.reviewed import FeedbackFiles
from tests.bundle_copies import NAME
from tests.improving import FULL, improved, places, train_on_less, use, work_on_a_copy

KIND, OTHER, OLD = "sheet_music", "floor_plan", "crossword_puzzle"
SYNTHETIC_IMAGES = 64


class Loop(NamedTuple):
    """A folder of bundles with two improved versions, and the files that they were made of."""

    bundles: Path
    files: FeedbackFiles
    poisoned: FeedbackFiles

    def promote(self, files: FeedbackFiles, *words: str) -> int:
        return models.main(["promote", *words, *places(files)])

    @property
    def active(self) -> str:
        return (self.bundles / "active").read_text().strip()


@pytest.fixture(scope="module")
def made(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Loop:
    """Make a good version, and one of an old class's images that were accepted under another name."""
    folder = tmp_path_factory.mktemp("promotion")
    good = FeedbackFiles(folder / "good" / "uploads", folder / "good" / "feedback")
    good.accept((drawing_jpeg(kind, seed), kind) for kind in (KIND, OTHER) for seed in range(8))
    poisoned = FeedbackFiles(folder / "poisoned" / "uploads", folder / "poisoned" / "feedback")
    poisoned.accept((drawing_jpeg(OLD, seed), "board game") for seed in range(6))
    with pytest.MonkeyPatch.context() as patched:
        work_on_a_copy(bundles, folder, patched)
        train_on_less(patched, SYNTHETIC_IMAGES)
        for files, name in ((good, "good"), (poisoned, "poisoned")):
            make(files, name)
    return Loop(folder / "bundles", good, poisoned)


def make(files: FeedbackFiles, name: str) -> None:
    assert improved(files, "--bundle", f"{NAME}/1-int8", "--new-version", name) == 0


@pytest.fixture
def loop(made: Loop, no_workers: None, monkeypatch: pytest.MonkeyPatch) -> Loop:
    """The default version is active, and Redis has no workers."""
    use(made.bundles, monkeypatch)
    train_on_less(monkeypatch, SYNTHETIC_IMAGES)
    (made.bundles / "active").write_text("efficientnet-lite0/1-int8\n")
    return made


def test_on_a_fresh_install_images_of_an_old_class_under_another_name_are_refused(
    loop: Loop, capsys: pytest.CaptureFixture[str]
) -> None:
    assert loop.promote(loop.poisoned, "poisoned", "--provisional") == 2
    told = capsys.readouterr().err
    assert "cases of 'board game' are 'crossword_puzzle' to the active version" in told
    assert loop.active == "efficientnet-lite0/1-int8"


def test_on_a_fresh_install_a_good_version_has_to_be_confirmed(loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    assert loop.promote(loop.files, "good") == 2
    told = capsys.readouterr()
    assert "good shows no harm, but provisionally: only 0 images of your own" in told.err
    assert "--provisional confirms" in told.err
    assert "images that come with the model: " in told.out
    assert loop.active == "efficientnet-lite0/1-int8"
    assert loop.promote(loop.files, "good", "--provisional") == 0
    assert loop.active == "efficientnet-lite0/good"
    found = bundle.load(loop.bundles / "efficientnet-lite0" / "good")
    assert compiled.kept(found.folder, compiled.key(heat_maps.FINDING, found.digest)) == b""  # no worker has to check
    assert ",provisional" in (loop.bundles / "promotions.csv").read_text().splitlines()[-1]


def test_labelled_images_that_the_version_was_trained_on_show_nothing(
    loop: Loop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label(tmp_path, KIND, 20)
    for seed in range(8):
        (tmp_path / KIND / f"known{seed}.jpg").write_bytes(drawing_jpeg(KIND, seed))
    assert loop.promote(loop.files, "good", "--labelled", str(tmp_path)) == 0
    printed = capsys.readouterr().out
    assert re.search("labelled images: 0 right answers lost, (1[6-9]|20) gained, of 20\n", printed)
    assert re.search("synthetic images: agreement on ", printed)
    assert loop.active == "efficientnet-lite0/good"


def test_a_version_that_was_taught_wrong_labels_is_refused_and_force_overrules(
    loop: Loop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (loop.bundles / "active").write_text("efficientnet-lite0/good\n")
    label(tmp_path / "labelled", KIND, 10)
    label(tmp_path / "labelled", OTHER, 10)
    # A reviewer accepts reports that name one kind as the other.
    taught_wrong = FeedbackFiles(tmp_path / "uploads", tmp_path / "feedback")
    taught_wrong.accept((drawing_jpeg(kind, seed), kind) for kind in (KIND, OTHER) for seed in range(8))
    taught_wrong.accept((drawing_jpeg(KIND, seed), OTHER) for seed in range(200, 250 if FULL else 212))
    make(taught_wrong, "taught-wrong")
    assert loop.promote(taught_wrong, "taught-wrong", "--labelled", str(tmp_path / "labelled")) == 2
    told = capsys.readouterr().err
    assert "taught-wrong was not promoted: " in told
    assert f"labelled images of '{KIND}' it loses" in told
    assert loop.active == "efficientnet-lite0/good"
    assert loop.promote(taught_wrong, "taught-wrong", "--force") == 0
    assert loop.active == "efficientnet-lite0/taught-wrong"


def label(folder: Path, kind: str, count: int) -> None:
    """Write so many images that no version was trained on into the folder of their label."""
    (folder / kind).mkdir(parents=True)
    for seed in range(100, 100 + count):
        (folder / kind / f"{seed}.jpg").write_bytes(drawing_jpeg(kind, seed))
