"""The command that makes a better version, with real images and the real model."""

import re
from pathlib import Path

import pytest

import settings
from inference import bundle
from inference.arrays import Floats
from registry import versions
from sightline_testing import photographs
from sightline_testing.drawings import drawing_jpeg
from sightline_testing.reviewed import FeedbackFiles
from tests.improving import FULL, improved, loaded, named, train_on_less, use, work_on_a_copy
from wire.tables.feedback import RENAMES, RENAMES_FILE

KINDS = ("pie_chart", "sheet_music", "floor_plan")
REPORTS, UNSEEN = 10, 20 if FULL else 10


@pytest.fixture
def files(bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeedbackFiles:
    """Folders of a test's own, and a copy of the bundles."""
    work_on_a_copy(bundles, tmp_path, monkeypatch)
    return FeedbackFiles(tmp_path / "uploads", tmp_path / "feedback")


@pytest.fixture
def few_synthetic_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit on a few, where a test is about which cases are used, and not about what the version predicts."""
    train_on_less(monkeypatch, 16)


def drawings(kind: str, first: int, count: int) -> list[bytes]:
    return [drawing_jpeg(kind, seed) for seed in range(first, first + count)]


@pytest.fixture(scope="module")
def of_ten_reports(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of bundles with a version of ten reports of each kind, made without stored traffic."""
    folder = tmp_path_factory.mktemp("ten-reports")
    files = FeedbackFiles(folder / "uploads", folder / "feedback")
    files.accept((content, kind) for kind in KINDS for content in drawings(kind, 0, REPORTS))
    with pytest.MonkeyPatch.context() as patched:
        made = work_on_a_copy(bundles, folder, patched)
        assert improved(files) == 0
    return made


def test_ten_reports_of_new_classes_are_enough_and_an_old_look_alike_stays(
    of_ten_reports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(of_ten_reports, monkeypatch)
    before, after = loaded("1-int8"), loaded("2-int8")
    assert after.bundle.labels == (*before.bundle.labels, *KINDS)
    for kind in KINDS:
        assert named(after, drawings(kind, 1000, UNSEEN)).count(kind) >= UNSEEN * 0.9, kind
    for kind in ("pinwheel", "crossword_puzzle"):
        old = drawings(kind, 1000, UNSEEN)
        assert named(after, old).count(kind) >= named(before, old).count(kind) - UNSEEN * 0.2, kind


def test_photographs_keep_their_answers_when_no_traffic_is_stored(
    of_ten_reports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(of_ten_reports, monkeypatch)
    seen = photographs.required()
    contents = [photograph.path.read_bytes() for photograph in seen]
    right = [
        sum(name == each.label for name, each in zip(named(loaded(version), contents), seen, strict=True))
        for version in ("1-int8", "2-int8")
    ]
    assert right[1] >= right[0] - 2


@pytest.mark.usefixtures("few_synthetic_images")
def test_stored_images_that_nobody_reported_are_rehearsed_but_for_a_quarter(
    files: FeedbackFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    files.accept((content, "pie_chart") for content in drawings("pie_chart", 0, 3))
    for content in drawings("crossword_puzzle", 100, 5):
        files.upload(content)
    assert improved(files) == 0
    printed = capsys.readouterr().out
    # Two of the five are held out of every rehearsal set.
    assert "3 cases, 3 unreported or ordinary images, from efficientnet-lite0/1-int8" in printed
    assert "reviewed cases: 3/3" in printed
    assert "made efficientnet-lite0/2-int8" in printed
    record = versions.record_of(Path(settings.BUNDLES_FOLDER) / "efficientnet-lite0" / "2-int8")
    assert record is not None
    assert (record.base, len(record.cases), len(record.images)) == ("efficientnet-lite0/1-int8", 3, 3)


@pytest.mark.usefixtures("few_synthetic_images")
def test_reports_that_nobody_reviewed_change_nothing(files: FeedbackFiles, capsys: pytest.CaptureFixture[str]) -> None:
    for content in drawings("pie_chart", 0, 100 if FULL else 20):
        files.report(content, "tench")
    assert improved(files) == 1
    assert "holds no reviewed report" in capsys.readouterr().err
    files.accept((content, "bar_chart") for content in drawings("bar_chart", 0, 3))
    assert improved(files) == 0
    record = versions.record_of(Path(settings.BUNDLES_FOLDER) / "efficientnet-lite0" / "2-int8")
    assert record is not None
    assert {case.label for case in record.cases} == {"bar_chart"}
    assert record.images == ()  # reported images do not keep the model's answer either


@pytest.mark.usefixtures("few_synthetic_images")
def test_an_improved_version_is_improved_from_the_beginning(files: FeedbackFiles) -> None:
    files.accept((content, "pie_chart") for content in drawings("pie_chart", 0, 3))
    report = files.report(drawings("pie_chart", 50, 1)[0], "tench")
    files.decide(report, "accept", "tench")
    assert improved(files) == 0
    files.decide(report, "reject")
    assert improved(files, "--bundle", "efficientnet-lite0/2-int8", "--new-version", "mine") == 0
    record = versions.record_of(Path(settings.BUNDLES_FOLDER) / "efficientnet-lite0" / "mine")
    assert record is not None
    assert record.base == "efficientnet-lite0/1-int8"
    assert {case.label for case in record.cases} == {"pie_chart"}


@pytest.mark.usefixtures("few_synthetic_images")
def test_an_image_that_is_gone_altered_or_broken_is_left_out(
    files: FeedbackFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    gone, altered, whole = drawings("pie_chart", 0, 3)
    files.accept([(gone, "pie_chart"), (altered, "pie_chart"), (b"no image", "pie_chart"), (whole, "pie_chart")])
    (files.uploads / files.upload(gone)).unlink()
    (files.uploads / files.upload(altered)).write_bytes(whole)
    assert improved(files) == 0
    assert re.search(r"^1 cases, 0 images", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.usefixtures("few_synthetic_images")
def test_a_version_that_is_taken_is_refused(files: FeedbackFiles, capsys: pytest.CaptureFixture[str]) -> None:
    files.accept((content, "pie_chart") for content in drawings("pie_chart", 0, 1))
    assert improved(files, "--new-version", "1-int8") == 1
    assert "taken" in capsys.readouterr().err


def labels_of(version: str) -> tuple[str, ...]:
    return bundle.load(Path(settings.BUNDLES_FOLDER) / "efficientnet-lite0" / version).labels


def rename(files: FeedbackFiles, label: str, name: str) -> None:
    with (files.feedback / RENAMES_FILE).open("a") as file:
        file.write(f"{RENAMES.header_line}\n" if file.tell() == 0 else "")
        file.write(f'"2026","{label}","{name}","Ann"\n')


@pytest.mark.usefixtures("few_synthetic_images")
def test_a_class_keeps_its_number_in_every_later_version(files: FeedbackFiles) -> None:
    base = labels_of("1-int8")
    kinds = {kind: drawings(kind, 0, 3) for kind in KINDS}
    [pie, sheet, plan] = KINDS
    files.accept((content, pie) for content in kinds[pie])
    [first, *_] = [files.report(content, sheet) for content in kinds[sheet]]
    files.decide(first, "accept", sheet)
    assert improved(files) == 0
    assert labels_of("2-int8") == (*base, pie, sheet)
    # All cases of the first one are rejected, and another one becomes the first of the reports.
    for content in kinds[pie]:
        files.decide(files.report(content, pie), "reject")
    reports = files.feedback / "feedback.csv"
    before = reports.read_text()
    reports.unlink()
    files.accept((content, plan) for content in kinds[plan])
    reports.write_text(reports.read_text() + before.partition("\n")[2])
    assert improved(files) == 0
    assert labels_of("3-int8") == (*base, pie, sheet, plan)
    # A class without cases is never answered, and no other class gets its number.
    scores = scores_of("3-int8", kinds[pie] + kinds[sheet] + kinds[plan])
    assert scores[:, len(base)].max() < 1e-6
    assert scores[:, len(base) + 2].max() > 0.5
    # It is back under its number, as it was called first.
    for content in kinds[pie]:
        files.decide(files.report(content, "Pie  Chart"), "accept", "Pie  Chart")
    assert improved(files) == 0
    assert labels_of("4-int8") == (*base, pie, sheet, plan)
    assert scores_of("4-int8", kinds[pie])[:, len(base)].min() > 0.5


def scores_of(version: str, contents: list[bytes]) -> Floats:
    judged = loaded(version)
    pixels = judged.new_batch(len(contents))
    for content, place in zip(contents, pixels, strict=True):
        judged.prepare(content, place)
    return judged.predict(pixels)


@pytest.mark.usefixtures("few_synthetic_images")
def test_renamed_and_merged_classes_keep_their_numbers_in_the_next_version(files: FeedbackFiles) -> None:
    base = labels_of("1-int8")
    [pie, sheet, plan] = KINDS
    files.accept((content, kind) for kind in KINDS for content in drawings(kind, 0, 3))
    assert improved(files) == 0
    assert labels_of("2-int8") == (*base, pie, sheet, plan)
    rename(files, "Pie chart", "cake diagram")
    rename(files, sheet, "floor_plan")
    rename(files, base[5], "An old class")
    assert improved(files) == 0
    assert labels_of("3-int8") == (*base[:5], "An old class", *base[6:], "cake diagram", sheet, plan)
    after = loaded("3-int8")
    assert named(after, drawings(pie, 0, 3)) == ["cake diagram"] * 3
    assert named(after, drawings(sheet, 0, 3)) == [plan] * 3
    assert scores_of("3-int8", drawings(sheet, 0, 3))[:, len(base) + 1].max() < 1e-6
    # The version of before is as it was.
    assert named(loaded("2-int8"), drawings(pie, 0, 3)) == [pie] * 3
    # A class of the base that is merged into a new one is never answered.
    rename(files, "web_site", "cake diagram")
    assert improved(files) == 0
    number = base.index("web_site")
    assert labels_of("4-int8")[number] == "web_site"
    assert scores_of("4-int8", drawings(pie, 50, 3))[:, number].max() < 1e-6
