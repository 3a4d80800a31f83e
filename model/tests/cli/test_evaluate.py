import os
import re
import shutil
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pytest

import settings
from cli import evaluate, improve
from sightline_testing.drawings import drawing_jpeg
from sightline_testing.reviewed import FeedbackFiles
from training import features, train

KIND, OTHER = "sheet_music", "floor_plan"
# As many as the commands use take three times as long.
FULL = bool(os.environ.get("FULL"))
SYNTHETIC_IMAGES, FOLDS = (features.SYNTHETIC_IMAGES, train.FOLDS) if FULL else (64, 3)


class Evaluated(NamedTuple):
    """A folder of bundles with an improved version, its cases, and what `evaluate` printed and wrote."""

    bundles: Path
    files: FeedbackFiles
    printed: str
    page: str


@pytest.fixture(scope="module")
def evaluated(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """Improve the default version and compare both, once for all tests."""
    folder = tmp_path_factory.mktemp("evaluated")
    shutil.copytree(bundles, folder / "bundles")
    files = FeedbackFiles(folder / "uploads", folder / "feedback")
    files.accept((drawing_jpeg(kind, seed), kind) for kind in (KIND, OTHER) for seed in range(6))
    # Images of one kind under labels that nothing in them suggests: only a version that was trained on them has these.
    files.accept((drawing_jpeg("bar_chart", seed), f"odd_{seed}") for seed in range(6))
    for seed in range(5):
        files.upload(drawing_jpeg("crossword_puzzle", seed))
    labelled = folder / "labelled" / KIND
    labelled.mkdir(parents=True)
    for seed in range(4):
        (labelled / f"{seed}.jpg").write_bytes(drawing_jpeg(KIND, 1000 + seed))
    printed, page = StringIO(), folder / "page.html"
    with pytest.MonkeyPatch.context() as patched, redirect_stdout(printed):
        patched.setattr(settings, "BUNDLES_FOLDER", str(folder / "bundles"))
        patched.setattr(features, "SYNTHETIC_IMAGES", SYNTHETIC_IMAGES)
        patched.setattr(train, "FOLDS", FOLDS)
        assert improve.main(places(files)) == 0
        assert evaluate.main([*places(files), "--labelled", str(labelled.parent), "--page", str(page)]) == 0
    return Evaluated(folder / "bundles", files, printed.getvalue(), page.read_text())


def places(files: FeedbackFiles) -> list[str]:
    return ["--feedback", str(files.feedback), "--uploads", str(files.uploads)]


def test_two_versions_are_compared_in_the_terminal_and_on_a_page_that_needs_nothing_else(evaluated: Evaluated) -> None:
    assert "A: efficientnet-lite0/1-int8\nB: efficientnet-lite0/2-int8\n" in evaluated.printed
    for line in (
        r"Reviewed cases \(18\)",
        r"top-1 +0\.0% +[1-9]",
        r"Unreported images \(5\)",
        r"Labelled images \(4\)",
        r"sheet_music +0 -> +[34] of 4",
    ):
        assert re.search(line, evaluated.printed), line
    assert evaluated.page.count("<svg") >= 3
    assert evaluated.page.count('src="data:image/jpeg;base64,') >= 4
    assert not re.search(r'(?:src|href)="(?!data:)|url\(|<script', evaluated.page)


def test_a_version_is_evaluated_on_its_own_cases_by_cross_validation(evaluated: Evaluated) -> None:
    right = re.search(r"top-1 +0\.0% +([\d.]+)%", evaluated.printed)
    assert right is not None
    assert float(right[1]) <= 100 * 12 / 18 + 0.1


def test_without_anything_to_compare_on_it_says_what_is_missing(
    evaluated: Evaluated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(settings, "BUNDLES_FOLDER", str(evaluated.bundles))
    nothing = ["--feedback", str(tmp_path / "no"), "--uploads", str(tmp_path / "no")]
    for named in ([], ["2-int8"]):
        assert evaluate.main([*nothing, *named]) == 1
        assert "nothing to compare on" in capsys.readouterr().err
    assert evaluate.main([*places(evaluated.files), "9-int8"]) == 1
    assert "'9-int8' is no version" in capsys.readouterr().err
