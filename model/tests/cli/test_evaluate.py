import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pytest

from cli import evaluate
from evaluation import batch_prediction
from sightline_testing.drawings import drawing_jpeg
from sightline_testing.reviewed import FeedbackFiles
from tests.improving import improved, places, train_on_less, use, work_on_a_copy
from wire.tables.feedback import RENAMES, RENAMES_FILE

KIND, OTHER = "sheet_music", "floor_plan"


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
        work_on_a_copy(bundles, folder, patched)
        train_on_less(patched, 64, folds=3)  # of which two are enough to estimate what a version of all would do
        assert improved(files) == 0
        assert evaluate.main([*places(files), "--labelled", str(labelled.parent), "--page", str(page)]) == 0
    return Evaluated(folder / "bundles", files, printed.getvalue(), page.read_text())


def test_two_versions_are_compared_in_the_terminal_and_on_a_page_that_needs_nothing_else(evaluated: Evaluated) -> None:
    assert "A: efficientnet-lite0/1-int8\nB: efficientnet-lite0/2-int8\n" in evaluated.printed
    for line in (
        r"Reviewed cases \(18\)",
        r"top-1 +0\.0% \(0\.0% to [\d.]+%\) +[1-9]",
        r"Unreported images \(2\)",
        r"Labelled images \(4\)",
        r"sheet_music +0 -> +[34] of 4",
    ):
        assert re.search(line, evaluated.printed), line
    assert evaluated.page.count("<svg") >= 3
    assert evaluated.page.count('src="data:image/jpeg;base64,') >= 4
    assert not re.search(r'(?:src|href)="(?!data:)|url\(|<script', evaluated.page)


def test_a_version_is_evaluated_on_its_own_cases_by_cross_validation(evaluated: Evaluated) -> None:
    assert re.search(r"Versions trained without them have \d+ of 12 images of B's new classes right", evaluated.printed)
    assert "Of 6 images of new classes with one or two cases nothing can be estimated" in evaluated.printed
    assert not re.search(r"odd_\d +0 -> +1", evaluated.printed)


def test_without_anything_to_compare_on_it_says_what_is_missing(
    evaluated: Evaluated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(evaluated.bundles, monkeypatch)
    nothing = ["--feedback", str(tmp_path / "no"), "--uploads", str(tmp_path / "no")]
    for named in ([], ["2-int8"]):
        assert evaluate.main([*nothing, *named]) == 1
        assert "nothing to compare on" in capsys.readouterr().err
    assert evaluate.main([*places(evaluated.files), "9-int8"]) == 1
    assert "'9-int8' is no version" in capsys.readouterr().err


def test_versions_that_call_a_class_differently_are_compared_by_what_it_is_called_now(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    renames = ((KIND, "Musical notation"), (OTHER, "floor plans"), ("tabby", "tiger cat"))
    rows = "".join(f'"2026","{label}","{name}","Ann"\n' for label, name in renames)
    (tmp_path / RENAMES_FILE).write_text(f"{RENAMES.header_line}\n{rows}")
    folder = evaluated.bundles / "efficientnet-lite0"
    loaded = batch_prediction.load(folder / "1-int8"), batch_prediction.load(folder / "2-int8")
    models, names = batch_prediction.same_names(loaded, evaluated.bundles, tmp_path)
    base = loaded[0].bundle.labels
    expected = tuple("tiger_cat" if label == "tabby" else label for label in base)
    assert models[0].bundle.labels == expected
    assert models[1].bundle.labels[: len(base) + 2] == (*expected, "Musical notation", "floor plans")
    assert [names.of(label) for label in ("Sheet  Music", "FLOOR plan", "Tabby")] == [
        "Musical notation",
        "floor plans",
        "tiger_cat",
    ]
