import csv
import io
from pathlib import Path

import pytest

from inference.errors import CasesError
from sightline_testing.reviewed import FeedbackFiles
from training import cases
from wire.tables.feedback import DECISIONS_FILE, REPORTS_FILE


@pytest.fixture
def files(tmp_path: Path) -> FeedbackFiles:
    return FeedbackFiles(tmp_path / "uploads", tmp_path / "feedback")


def labels(files: FeedbackFiles) -> list[str]:
    return [case.label for case in cases.reviewed(files.feedback)]


def test_only_what_a_reviewer_accepted_or_corrected_is_a_case(files: FeedbackFiles) -> None:
    for content, decision in ((b"a", "accept"), (b"b", "correct"), (b"c", "reject"), (b"d", "")):
        report = files.report(content, "pie_chart")
        if decision:
            files.decide(report, decision, "bar_chart" if decision == "correct" else "pie_chart")
    assert labels(files) == ["pie_chart", "bar_chart"]


def test_the_last_decision_of_a_report_holds(files: FeedbackFiles) -> None:
    first, second = files.report(b"a", "x"), files.report(b"b", "x")
    for report, decision, label in (
        (first, "accept", "x"),
        (second, "reject", ""),
        (first, "reject", ""),
        (second, "correct", "y"),
    ):
        files.decide(report, decision, label)
    assert labels(files) == ["y"]


def test_a_case_names_the_picture_by_its_name_in_the_upload_folder(files: FeedbackFiles) -> None:
    files.accept([(b"picture", "tench")])
    [case] = cases.reviewed(files.feedback)
    assert (files.uploads / case.image).read_bytes() == b"picture"
    assert len(case.sha256) == 64


def test_a_half_written_row_is_no_case_and_hides_none(files: FeedbackFiles) -> None:
    files.accept([(b"a", "x"), (b"b", "y")])
    for name in (REPORTS_FILE, DECISIONS_FILE):
        with (files.feedback / name).open("a") as file:
            file.write('"r-3","2026')
    assert labels(files) == ["x", "y"]


def test_the_mark_against_formulas_is_undone(files: FeedbackFiles) -> None:
    files.accept([(b"a", "'=sum")])
    assert labels(files) == ["=sum"]


def test_without_files_there_are_no_cases(tmp_path: Path) -> None:
    assert list(cases.reviewed(tmp_path)) == []


def test_a_file_without_its_columns_is_refused_by_name(files: FeedbackFiles) -> None:
    files.feedback.mkdir()
    (files.feedback / DECISIONS_FILE).write_text("when,who\n1,2\n")
    with pytest.raises(CasesError, match=r"decisions\.csv has no column report_id, decision, label"):
        cases.final_labels(files.feedback)


def test_when_there_are_too_many_every_label_gets_its_share_and_the_newest_stay(files: FeedbackFiles) -> None:
    files.accept([(f"common {at}".encode(), "common") for at in range(20)])
    files.accept([(f"rare {at}".encode(), "rare") for at in range(3)])
    found = cases.choose(cases.reviewed(files.feedback), 10)
    assert [case.label for case in found] == ["rare"] * 3 + ["common"] * 7
    kept = {(files.uploads / case.image).read_bytes() for case in found}
    assert {f"common {at}".encode() for at in range(13, 20)} < kept


def test_a_picture_that_was_reported_twice_counts_once_as_it_was_last_named(files: FeedbackFiles) -> None:
    files.accept([(b"same", "x"), (b"other", "y")])
    again = files.report(b"same", "z") + "-again"
    path = files.feedback / REPORTS_FILE
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]) + lines[-1].replace(again.removesuffix("-again"), again))
    files.decide(again, "correct", "z")
    assert sorted(case.label for case in cases.choose(cases.reviewed(files.feedback), 10)) == ["y", "z"]


def spreadsheet(path: Path, delimiter: str, encoding: str, *, columns: int = 1) -> None:
    """Save the file as a spreadsheet does, with its columns in another order."""
    with path.open(newline="") as file:
        rows = [row[columns:] + row[:columns] for row in csv.reader(file)]
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerows(rows)
    path.write_bytes(text.getvalue().removesuffix("\r\n").encode(encoding))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_files_that_a_spreadsheet_has_saved_hold_the_same_cases(
    files: FeedbackFiles, delimiter: str, encoding: str
) -> None:
    files.accept([(b"a", "x"), (b"b", "'=sum"), (b"c", "größer; älter")])
    before = list(cases.reviewed(files.feedback))
    for name in (REPORTS_FILE, DECISIONS_FILE):
        spreadsheet(files.feedback / name, delimiter, encoding)
    assert list(cases.reviewed(files.feedback)) == before
    assert list(cases.unread(files.feedback)) == []


def test_a_row_of_any_version_is_read_and_what_is_no_row_is_named(files: FeedbackFiles) -> None:
    files.accept([(b"a", "x"), (b"b", "y")])
    path = files.feedback / REPORTS_FILE
    path.write_text(path.read_text().replace('"x",""', f'"x","{"z" * 600_000}"') + "nonsense\n" * 30)
    assert labels(files) == ["x", "y"]
    with (files.feedback / DECISIONS_FILE).open("a") as file:
        file.write(f'"now","r-1","accept","{"l" * 200_000}","tester"\n')
    assert labels(files) == ["x", "y"]
    said = list(cases.unread(files.feedback))
    assert said[0] == f"{path}, line 4 has 1 cells, the header names 10; the line is not used"
    assert said[-2:] == [
        f"{path}: 30 lines cannot be read and are not used",
        f"{files.feedback / DECISIONS_FILE}, line 4 has a label of 200000 characters, more than 1000;"
        " the line is not used",
    ]
