import re
import shutil
from pathlib import Path

import pytest

import settings
from cli import evaluate, improve
from evaluation import calibration, comparison
from evaluation.comparison import Comparison, Pair
from sightline_testing.drawings import drawing_jpeg
from sightline_testing.reviewed import FeedbackFiles

KIND, OTHER = "sheet_music", "floor_plan"


def said(label: str, score: float = 0.9) -> tuple[tuple[str, float], ...]:
    return ((label, score), ("other", 1 - score))


def pair(label: str, first: str, second: str) -> Pair:
    return Pair(Path(f"{label}.jpg"), label, said(first), said(second))


def test_what_got_better_and_worse_is_told_picture_by_picture_and_by_class() -> None:
    pairs = [pair("a", "x", "a"), pair("a", "a", "a"), pair("b", "b", "x"), pair("c", "x", "x")]
    found = Comparison("", "", pairs)
    assert found.better() == [pairs[0]]
    assert found.worse() == [pairs[2]]
    assert found.classes() == [
        comparison.OfClass("a", 2, 1, 2),
        comparison.OfClass("b", 1, 1, 0),
        comparison.OfClass("c", 1, 0, 0),
    ]
    assert found.agreeing == 2
    first, second = found.figures()
    assert (first.right, second.right) == (2, 2)


def test_the_label_counts_as_found_among_the_first_five() -> None:
    first, _ = Comparison("", "", [pair("other", "x", "y"), pair("z", "x", "y")]).figures()
    assert (first.right, first.among_five) == (0, 1)


def test_pictures_that_nobody_labelled_are_only_agreed_on() -> None:
    found = Comparison("", "", [pair("", "x", "x"), pair("", "x", "y")])
    assert not found.labelled
    assert found.changed() == [found.pairs[1]]
    assert (found.better(), found.worse()) == ([], [])


def test_scores_that_are_right_as_often_as_they_say_have_no_calibration_error() -> None:
    found = calibration.bins([0.75, 0.75, 0.75, 0.75, 1.0], [True, True, True, False, True])
    assert [each.answers for each in found] == [0] * 7 + [4, 0, 1]
    assert calibration.expected_error(found) == pytest.approx(0)
    assert calibration.expected_error(calibration.bins([0.95, 0.95], [True, False])) == pytest.approx(0.45)
    assert calibration.expected_error(calibration.bins([], [])) == 0


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
        r"right +0\.0% +\d",
        r"Unreported pictures \(5\)",
        r"Labelled pictures \(4\)",
        r"sheet_music +0 -> +[34] of 4",
    ):
        assert re.search(line, printed), line
    html = page.read_text()
    assert html.count("<svg") >= 3
    assert html.count('src="data:image/jpeg;base64,') >= 4
    assert not re.search(r'(?:src|href)="(?!data:)|url\(|<script', html)


def test_cases_are_judged_as_if_the_version_had_not_been_fitted_on_them(
    files: FeedbackFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    # Six pictures of one kind under a name that nothing about them tells: known by heart, it would be right.
    files.accept((drawing_jpeg("bar_chart", seed), f"odd_{seed}") for seed in range(6))
    assert improve.main([*places(files), "--version", "odd"]) == 0
    capsys.readouterr()
    assert evaluate.main([*places(files), "odd"]) == 0
    printed = capsys.readouterr().out
    assert "Reviewed cases (18)" in printed
    right = re.search(r"right +0\.0% +([\d.]+)%", printed)
    assert right is not None
    assert float(right[1]) <= 100 * 12 / 18 + 0.1


def test_without_anything_to_compare_on_it_says_what_is_missing(
    files: FeedbackFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main(["--feedback", str(tmp_path / "no"), "--uploads", str(tmp_path / "no")]) == 1
    assert "nothing to compare on" in capsys.readouterr().err
    assert evaluate.main([*places(files), "9-int8"]) == 1
    assert "'9-int8' is no version" in capsys.readouterr().err
