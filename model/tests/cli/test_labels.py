"""Renaming and merging classes by command."""

import csv
from pathlib import Path

import pytest

from cli import command, labels
from sightline_testing.reviewed import FeedbackFiles
from training import cases
from wire.tables.feedback import RENAMES, RENAMES_FILE

KNOWN = ("tabby", "tiger_cat", "tench")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeedbackFiles:
    monkeypatch.setattr(command, "known_labels", lambda: KNOWN)
    files = FeedbackFiles(tmp_path / "uploads", tmp_path / "feedback")
    files.accept([(b"a", "bar chart"), (b"b", "Bar_Chart"), (b"c", "bar graph"), (b"d", "Tiger cat")])
    return files


def run(files: FeedbackFiles, *words: str) -> int:
    return labels.main([words[0], "--feedback", str(files.feedback), *words[1:]])


def found(files: FeedbackFiles) -> list[str]:
    return [case.label for case in cases.reviewed(files.feedback, KNOWN)]


def test_a_renamed_class_is_called_so_in_all_cases(files: FeedbackFiles, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(files, "rename", "BAR chart", " Column  chart ") == 0
    assert "'bar chart' is called 'Column chart' from now on" in capsys.readouterr().out
    assert found(files) == ["Column chart", "Column chart", "bar graph", "tiger_cat"]
    assert run(files, "rename", "tiger cat", "striped cat") == 0
    assert found(files)[-1] == "striped cat"
    assert run(files, "rename", "column chart", "bar chart") == 0
    assert run(files, "rename", "bar chart", "Bar Chart") == 0
    assert found(files)[:2] == ["Bar Chart"] * 2


def test_merged_classes_are_one(files: FeedbackFiles, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(files, "merge", "bar graph", "BAR chart") == 0
    assert run(files, "merge", "tench", "tabby") == 0
    assert found(files) == ["bar chart"] * 3 + ["tiger_cat"]
    capsys.readouterr()
    assert run(files, "list") == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split() for line in printed] == [
        ["0", "0", "cases", "tabby", "(also", "tench)"],
        ["1", "1", "cases", "tiger_cat"],
        ["new", "3", "cases", "bar", "chart", "(also", "bar", "graph)"],
    ]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("rename", "pie chart", "x"), "'pie chart' is no class of the model"),
        (("rename", "bar chart", "Tiger Cat"), "'tiger_cat' is a class already: `merge`"),
        (("rename", "bar chart", "bar graph"), "'bar graph' is a class already: `merge`"),
        (("rename", "bar chart", " _ "), "cannot be a name"),
        (("rename", "bar chart", "\u200b"), "cannot be a name"),
        (("rename", "bar chart", "x" * 201), "cannot be a name"),
        (("rename", "bar_chart", "bar chart"), "is called 'bar chart' already"),
        (("merge", "bar chart", "pie chart"), "'pie chart' is no class: `rename`"),
        (("merge", "pie chart", "bar chart"), "'pie chart' is no class of the model"),
        (("merge", "bar chart", "BAR_CHART"), "are one class already"),
    ],
)
def test_what_cannot_be_is_refused_by_name_and_changes_nothing(
    files: FeedbackFiles, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], reason: str
) -> None:
    assert run(files, *words) == 1
    assert reason in capsys.readouterr().err
    assert not (files.feedback / RENAMES_FILE).exists()


def rewrite(path: Path, delimiter: str, encoding: str) -> None:
    rows = list(csv.reader(path.read_text().splitlines()))
    path.write_bytes("".join(delimiter.join(row) + "\r\n" for row in rows).removesuffix("\r\n").encode(encoding))


@pytest.mark.parametrize(("delimiter", "encoding"), [(",", "utf-8"), (";", "utf-8-sig"), ("\t", "utf-16")])
def test_a_table_that_a_spreadsheet_has_saved_is_written_on(
    files: FeedbackFiles, delimiter: str, encoding: str
) -> None:
    assert run(files, "rename", "bar chart", "=SUM(A1)") == 0
    rewrite(files.feedback / RENAMES_FILE, delimiter, encoding)
    assert run(files, "rename", "bar graph", "gr\u00f6\u00dfer") == 0
    assert found(files) == ["=SUM(A1)", "=SUM(A1)", "gr\u00f6\u00dfer", "tiger_cat"]
    assert list(cases.unread(files.feedback)) == []


def test_half_a_row_is_named_and_hides_none(files: FeedbackFiles) -> None:
    run(files, "rename", "bar chart", "x")
    with (files.feedback / RENAMES_FILE).open("a") as file:
        file.write(RENAMES.line({"label": "tabby", "name": "y"})[:10])
    assert run(files, "rename", "bar graph", "z") == 0
    assert found(files) == ["x", "x", "z", "tiger_cat"]
    assert len(list(cases.unread(files.feedback))) == 1
