import re
import shutil
from pathlib import Path

import pytest

import settings
from cli import evaluate, improve
from sightline_testing.drawings import drawing_jpeg
from sightline_testing.reviewed import FeedbackFiles

KIND, OTHER = "sheet_music", "floor_plan"


@pytest.fixture
def files(bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeedbackFiles:
    """Folders of a test's own with an improved version and some traffic."""
    shutil.copytree(bundles, tmp_path / "bundles")
    monkeypatch.setattr(settings, "BUNDLES_FOLDER", str(tmp_path / "bundles"))
    files = FeedbackFiles(tmp_path / "uploads", tmp_path / "feedback")
    files.accept((drawing_jpeg(kind, seed), kind) for kind in (KIND, OTHER) for seed in range(6))
    for seed in range(5):
        files.upload(drawing_jpeg("crossword_puzzle", seed))
    assert improve.main(places(files)) == 0
    return files


def places(files: FeedbackFiles) -> list[str]:
    return ["--feedback", str(files.feedback), "--uploads", str(files.uploads)]


def test_two_versions_are_compared_in_the_terminal_and_on_a_page_that_needs_nothing_else(
    files: FeedbackFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(4):
        folder = tmp_path / "labelled" / KIND
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{seed}.jpg").write_bytes(drawing_jpeg(KIND, 1000 + seed))
    page = tmp_path / "page.html"
    arguments = [*places(files), "--labelled", str(tmp_path / "labelled"), "--page", str(page)]
    assert evaluate.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "A: efficientnet-lite0/1-int8\nB: efficientnet-lite0/2-int8\n" in printed
    for line in (
        r"Reviewed cases \(12\)",
        r"top-1 +0\.0% +\d",
        r"Unreported images \(5\)",
        r"Labelled images \(4\)",
        r"sheet_music +0 -> +[34] of 4",
    ):
        assert re.search(line, printed), line
    html = page.read_text()
    assert html.count("<svg") >= 3
    assert html.count('src="data:image/jpeg;base64,') >= 4
    assert not re.search(r'(?:src|href)="(?!data:)|url\(|<script', html)


def test_a_version_is_evaluated_on_its_own_cases_by_cross_validation(
    files: FeedbackFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    # Six pictures of one kind under a name that nothing about them tells: known by heart, it would be right.
    files.accept((drawing_jpeg("bar_chart", seed), f"odd_{seed}") for seed in range(6))
    assert improve.main([*places(files), "--version", "odd"]) == 0
    capsys.readouterr()
    assert evaluate.main([*places(files), "odd"]) == 0
    printed = capsys.readouterr().out
    assert "Reviewed cases (18)" in printed
    right = re.search(r"top-1 +0\.0% +([\d.]+)%", printed)
    assert right is not None
    assert float(right[1]) <= 100 * 12 / 18 + 0.1


def test_without_anything_to_compare_on_it_says_what_is_missing(
    files: FeedbackFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main(["--feedback", str(tmp_path / "no"), "--uploads", str(tmp_path / "no")]) == 1
    assert "nothing to compare on" in capsys.readouterr().err
    assert evaluate.main([*places(files), "9-int8"]) == 1
    assert "'9-int8' is no version" in capsys.readouterr().err
