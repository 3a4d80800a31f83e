import csv
import io
from pathlib import Path

import pytest

from inference.errors import CasesError
from sightline_testing.reviewed import FeedbackFiles
from storage.images.folder import image_folder
from training import cases
from wire.tables.feedback import DECISIONS_FILE, RENAMES, RENAMES_FILE, REPORTS_FILE


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


def test_a_case_names_the_image_by_its_name_in_the_upload_folder(files: FeedbackFiles) -> None:
    files.accept([(b"image", "tench")])
    [case] = cases.reviewed(files.feedback)
    assert (files.uploads / case.image).read_bytes() == b"image"
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


def report_again(files: FeedbackFiles, content: bytes, number: int, name: str = "", **changed: str) -> str:
    """Report a stored image again, under another name if there is one; return the report's id."""
    files.report(content, "x")
    path = files.feedback / REPORTS_FILE
    *lines, last = path.read_text().splitlines(keepends=True)
    report_id = f"again-{number}"
    [row] = csv.reader([last])
    row[0], row[2] = report_id, name or row[2]
    row[3] = changed.get("sha256", row[3])
    path.write_text("".join((*lines, ",".join(f'"{cell}"' for cell in row) + "\n")))
    return report_id


def test_of_all_decisions_about_one_image_the_last_counts_and_not_the_last_report(files: FeedbackFiles) -> None:
    first, second = files.report(b"same", "x"), report_again(files, b"same", 1)
    files.accept([(b"other", "y")])
    files.decide(second, "correct", "puma")
    files.decide(first, "correct", "lynx")
    assert labels(files) == ["lynx", "y"]
    files.decide(second, "accept", "ocelot")
    assert sorted(labels(files)) == ["ocelot", "y"]
    # What is rejected is not believed; what was decided about the image before stands.
    files.decide(second, "reject")
    assert labels(files) == ["lynx", "y"]


@pytest.mark.parametrize("sha256", [None, ""])
def test_an_image_that_is_stored_under_two_names_is_one(files: FeedbackFiles, sha256: str | None) -> None:
    first = files.report(b"same", "x")
    second = report_again(files, b"same", 1, "uploads/same.jpeg")
    third = report_again(files, b"same", 2, **({} if sha256 is None else {"sha256": sha256}))
    for report, label in ((third, "a"), (second, "b"), (first, "c")):
        files.decide(report, "correct", label)
    assert labels(files) == ["c"]


def test_a_row_that_is_there_twice_is_one_case(files: FeedbackFiles) -> None:
    files.accept([(b"a", "x")])
    path = files.feedback / REPORTS_FILE
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    assert labels(files) == ["x"]


def test_spellings_of_one_class_are_one_label(files: FeedbackFiles) -> None:
    """Reviewed while no worker was alive, or by an earlier release, which kept labels as they were typed."""
    spellings = [
        "Tiger  cat",
        "tiger_cat",
        "tiger\u200b cat",
        "Bar chart",
        "bar_chart",
        "BAR\u00a0CHART",
        "\uff42ar chart",
    ]
    files.accept([(label.encode(), label) for label in spellings])
    found = [case.label for case in cases.reviewed(files.feedback, ["tabby", "tiger_cat"])]
    assert found == ["tiger_cat"] * 3 + ["Bar chart"] * 4


def test_a_new_class_keeps_the_name_that_it_was_decided_under_first(files: FeedbackFiles) -> None:
    first, second = files.report(b"a", "x"), files.report(b"b", "x")
    files.decide(second, "correct", "Bar chart")
    files.decide(first, "correct", "bar_chart")
    assert labels(files) == ["Bar chart"] * 2


def test_a_label_of_which_nothing_is_shown_makes_no_case(files: FeedbackFiles) -> None:
    files.accept([(b"a", "\u200b"), (b"b", "_"), (b"c", "x")])
    assert labels(files) == ["x"]


def rename(files: FeedbackFiles, *renames: tuple[str, str]) -> None:
    rows = "".join(f'"2026","{label}","{name}","Ann"\n' for label, name in renames)
    (files.feedback / RENAMES_FILE).write_text(RENAMES.header_line + "\n" + rows)


def test_what_was_reported_before_a_rename_has_the_new_name(files: FeedbackFiles) -> None:
    files.accept([(b"a", "bar chart"), (b"b", "Bar_Graph"), (b"c", "column chart"), (b"d", "tiger cat")])
    rename(files, ("bar chart", "column chart"), ("bar graph", "Bar chart"), ("tiger_cat", "striped cat"))
    found = [case.label for case in cases.reviewed(files.feedback, ["tabby", "tiger_cat", "bar chart"])]
    assert found == ["column chart"] * 3 + ["striped cat"]


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


def test_an_image_is_either_trained_on_or_held_out_under_whatever_extension(files: FeedbackFiles) -> None:
    names = {files.upload(bytes([number])) for number in range(200)}
    held, trained = (
        set(cases.unreported(image_folder(files.uploads), (), 400, held_out=which)) for which in (True, False)
    )
    assert held | trained == names == set(cases.unreported(image_folder(files.uploads), (), 400))
    assert not held & trained
    assert 30 <= len(held) <= 70
    assert all(cases.is_held_out(name.replace(".jpg", ".png")) == (name in held) for name in names)


def test_ordinary_images_are_found_in_any_subfolder_and_bounded(tmp_path: Path) -> None:
    for name in ("a.jpg", "b/c.PNG", "b/d/e.webp", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = cases.ordinary(tmp_path, 10)
    assert {Path(path).name for path in found} == {"a.jpg", "c.PNG", "e.webp"}
    assert len(cases.ordinary(tmp_path, 2)) == 2
    assert cases.ordinary(tmp_path, 2) == cases.ordinary(tmp_path, 2)


def test_a_folder_without_ordinary_images_is_named(tmp_path: Path) -> None:
    with pytest.raises(CasesError, match="ORDINARY_IMAGES"):
        cases.ordinary(tmp_path, 10)
