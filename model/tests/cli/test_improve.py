"""The command that makes a better version, with real pictures and the real model."""

import os
import re
import shutil
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

import settings
from cli import improve
from inference import model
from inference.model import Model
from registry import versions
from sightline_testing import photographs
from sightline_testing.drawings import drawing_jpeg
from sightline_testing.reviewed import FeedbackFiles
from training import features

KINDS = ("pie_chart", "sheet_music", "floor_plan")
REPORTS, UNSEEN = 10, 20
FULL = bool(os.environ.get("FULL"))


@pytest.fixture
def files(bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeedbackFiles:
    """Folders of a test's own, and a copy of the bundles."""
    shutil.copytree(bundles, tmp_path / "bundles")
    monkeypatch.setattr(settings, "BUNDLES_FOLDER", str(tmp_path / "bundles"))
    return FeedbackFiles(tmp_path / "uploads", tmp_path / "feedback")


@pytest.fixture
def few_synthetic_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit on a few, where a test is about which cases are used, and not about what the version predicts."""
    if not FULL:
        monkeypatch.setattr(features, "SYNTHETIC_IMAGES", 16)


def run(files: FeedbackFiles, *more: str) -> int:
    return improve.main(["--feedback", str(files.feedback), "--uploads", str(files.uploads), *more])


def loaded(version: str) -> Model:
    folder = Path(settings.BUNDLES_FOLDER) / "efficientnet-lite0" / version
    return model.load(folder, "openvino", streams=1, cores=1)


def named(judged: Model, contents: Iterable[bytes]) -> list[str]:
    found, pixels = [], judged.new_batch(1)
    for content in contents:
        judged.prepare(content, pixels[0])
        found.append(judged.top_k(judged.predict(pixels)[0], 1)[0][0])
    return found


def drawings(kind: str, first: int, count: int) -> list[bytes]:
    return [_drawing(kind, seed) for seed in range(first, first + count)]


_drawing = cache(drawing_jpeg)


def test_ten_reports_of_new_classes_are_enough_and_an_old_look_alike_stays(
    files: FeedbackFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    files.accept((content, kind) for kind in KINDS for content in drawings(kind, 0, REPORTS))
    for content in drawings("crossword_puzzle", 100, 5):
        files.upload(content)  # unreported traffic
    assert run(files) == 0
    printed = capsys.readouterr().out
    assert "30 reviewed cases, 5 unreported images, from efficientnet-lite0/1-int8" in printed
    assert "reviewed cases: 30/30" in printed
    assert "made efficientnet-lite0/2-int8" in printed
    before, after = loaded("1-int8"), loaded("2-int8")
    assert after.bundle.labels == (*before.bundle.labels, *KINDS)
    for kind in KINDS:
        assert named(after, drawings(kind, 1000, UNSEEN)).count(kind) >= UNSEEN - 2, kind
    for kind in ("pinwheel", "crossword_puzzle"):
        old = drawings(kind, 1000, UNSEEN)
        assert named(after, old).count(kind) >= named(before, old).count(kind) - 4, kind
    record = versions.record_of(Path(settings.BUNDLES_FOLDER) / "efficientnet-lite0" / "2-int8")
    assert record is not None
    assert (record.base, len(record.cases), len(record.traffic)) == ("efficientnet-lite0/1-int8", 30, 5)


def test_photographs_keep_their_answers_when_no_traffic_is_stored(files: FeedbackFiles) -> None:
    files.accept((content, kind) for kind in KINDS for content in drawings(kind, 0, REPORTS))
    seen = photographs.required()
    contents = [photograph.path.read_bytes() for photograph in seen]
    assert run(files) == 0
    right = [
        sum(name == each.label for name, each in zip(named(loaded(version), contents), seen, strict=True))
        for version in ("1-int8", "2-int8")
    ]
    assert right[1] >= right[0] - 2


@pytest.mark.usefixtures("few_synthetic_images")
def test_reports_that_nobody_reviewed_change_nothing(files: FeedbackFiles, capsys: pytest.CaptureFixture[str]) -> None:
    for content in drawings("pie_chart", 0, 100 if FULL else 20):
        files.report(content, "tench")
    assert run(files) == 1
    assert "holds no reviewed report" in capsys.readouterr().err
    files.accept((content, "bar_chart") for content in drawings("bar_chart", 0, 3))
    assert run(files) == 0
    record = versions.record_of(Path(settings.BUNDLES_FOLDER) / "efficientnet-lite0" / "2-int8")
    assert record is not None
    assert {case.label for case in record.cases} == {"bar_chart"}
    assert record.traffic == ()  # what somebody called wrong does not hold the model to its answer either


@pytest.mark.usefixtures("few_synthetic_images")
def test_an_improved_version_is_improved_from_the_beginning(files: FeedbackFiles) -> None:
    files.accept((content, "pie_chart") for content in drawings("pie_chart", 0, 3))
    report = files.report(drawings("pie_chart", 50, 1)[0], "tench")
    files.decide(report, "accept", "tench")
    assert run(files) == 0
    files.decide(report, "reject")
    assert run(files, "--bundle", "efficientnet-lite0/2-int8", "--version", "mine") == 0
    record = versions.record_of(Path(settings.BUNDLES_FOLDER) / "efficientnet-lite0" / "mine")
    assert record is not None
    assert record.base == "efficientnet-lite0/1-int8"
    assert {case.label for case in record.cases} == {"pie_chart"}


@pytest.mark.usefixtures("few_synthetic_images")
def test_a_picture_that_is_gone_altered_or_broken_is_left_out(
    files: FeedbackFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    gone, altered, whole = drawings("pie_chart", 0, 3)
    files.accept([(gone, "pie_chart"), (altered, "pie_chart"), (b"no picture", "pie_chart"), (whole, "pie_chart")])
    (files.uploads / files.upload(gone)).unlink()
    (files.uploads / files.upload(altered)).write_bytes(whole)
    assert run(files) == 0
    assert re.search(r"^1 cases, 0 unreported images", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.usefixtures("few_synthetic_images")
def test_a_version_that_is_taken_is_refused(files: FeedbackFiles, capsys: pytest.CaptureFixture[str]) -> None:
    files.accept((content, "pie_chart") for content in drawings("pie_chart", 0, 1))
    assert run(files, "--version", "1-int8") == 1
    assert "taken" in capsys.readouterr().err
