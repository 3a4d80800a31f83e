import csv
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import reports
from reports import Report

# Where lines break, what ends a quoted string, what begins a formula.
tricky = st.text(
    st.one_of(st.characters(codec="utf-8"), st.sampled_from("\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029'\"\\{},:=+-@\t"))
)


@given(text=tricky)
def test_a_report_is_one_line_and_only_its_line_breaks_change(text: str) -> None:
    line = reports.one_line(text)
    assert line.splitlines() in ([line], [])
    assert line == text.replace("\r\n", "\n").translate(
        {ord(mark): " " for mark in "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"}
    )


@given(
    filename=st.from_regex(r"[0-9a-f]{32}\.(jpg|png)", fullmatch=True),
    prediction=st.text(
        st.characters(codec="utf-8", exclude_characters="\\\r\n'", exclude_categories=["Cc"]), max_size=60
    ),
    score=st.floats(0, 1),
)
def test_the_page_s_report_is_read_back(filename: str, prediction: str, score: float) -> None:
    text = f"{{'filename': '{filename}', 'prediction': '{prediction}', 'score': {score}}}"
    assert reports.parse(text) == Report(filename, prediction, score)


@pytest.mark.parametrize("label", ["carpenter's_kit", "jack-o'-lantern", "'", "it's, 'score': 0.1"])
def test_labels_that_end_the_string_early_are_read_all_the_same(label: str) -> None:
    text = f"{{'filename': 'a.jpg', 'prediction': '{label}', 'score': 0.9}}"
    assert reports.parse(text) == Report("a.jpg", label, 0.9)


@pytest.mark.parametrize(
    "text",
    [
        '{"score": 1, "prediction": "tabby", "filename": "a.jpg"}',
        " {'filename':'a.jpg','prediction':'tabby','score':1} ",
        "{'filename': 'a.jpg', 'prediction': 'tab' 'by', 'score': 1e0}",
    ],
)
def test_any_way_to_write_the_three_keys_will_do(text: str) -> None:
    assert reports.parse(text) == Report("a.jpg", "tabby", 1.0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "this is wrong",
        "[]",
        "{}",
        "{'filename': 'a.jpg', 'prediction': 'tabby'}",
        "{'filename': 'a.jpg', 'prediction': 'tabby', 'score': 'high'}",
        "{'filename': 'a.jpg', 'prediction': 'tabby', 'score': True}",
        "{'filename': 'a.jpg', 'prediction': 'tabby', 'score': None}",
        "{'filename': 'a.jpg', 'prediction': 'tabby', 'score': 1e999}",
        "{'filename': 'a.jpg', 'prediction': 7, 'score': 1}",
        "{'filename': 'a.jpg', 'prediction': 'tabby', 'score': 1, 'more': 2}",
        "{'filename': '../a.jpg', 'prediction': 'tabby', 'score': 1}",
        "{'filename': 'a\\\\b.jpg', 'prediction': 'tabby', 'score': 1}",
        "{'filename': '', 'prediction': 'tabby', 'score': 1}",
        "{'filename': 'a.jpg', 'prediction': 'it's', 'score': 1.2.3}",
        "{'filename': 'a.jpg', 'prediction': 'tabby', 'score': " + "9" * 4000 + "}",
        "{'filename': 'a.jpg', 'prediction': '" + "x" * reports.MAX_SHAPE_CHARACTERS + "', 'score': 1}",
        "(" * 4000,
        "\0",
        "__import__('os').system('true')",
    ],
)
def test_any_other_text_is_no_report(text: str) -> None:
    assert reports.parse(text) is None


@given(text=st.one_of(tricky, st.text()))
def test_no_text_makes_the_reader_fail(text: str) -> None:
    report = reports.parse(text)
    assert report is None or math.isfinite(report.score)


@given(cell=tricky)
def test_the_guard_can_be_undone(cell: str) -> None:
    assert reports.unguarded(reports.guarded(cell)) == cell


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\0", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_a_cell_that_a_spreadsheet_would_run_is_guarded(start: str) -> None:
    assert reports.guarded(start + "SUM(A1)").startswith("'")
    assert reports.guarded("SUM" + start) == "SUM" + start


@given(cells=st.dictionaries(st.sampled_from(reports.COLUMNS), tricky))
def test_a_row_is_one_line_of_csv_with_every_column(cells: dict[str, str]) -> None:
    line = reports.row_line(cells)
    assert "\n" not in line
    assert "\r" not in line
    [row] = csv.reader([line], strict=True)
    told = dict(zip(reports.COLUMNS, map(reports.unguarded, row), strict=True))
    assert told == {column: reports.one_line(cells.get(column, "")) for column in reports.COLUMNS}
    assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for cell in row)


@given(cells=st.dictionaries(st.sampled_from(reports.COLUMNS), tricky), data=st.data())
def test_a_row_cut_short_is_told_from_a_whole_one(cells: dict[str, str], data: st.DataObject) -> None:
    line = reports.row_line(cells)
    assert reports.is_whole_row(line)
    kept = data.draw(st.integers(0, len(line) - 1))
    # Between the two quotes that stand for one in the last cell, a row cannot be told from a whole one.
    assume(not (line[kept - 1] == line[kept] == '"'))
    assert not reports.is_whole_row(line[:kept])


@pytest.mark.parametrize("kept", range(len(reports.HEADER_LINE)))
def test_a_header_cut_short_is_not_whole(kept: int) -> None:
    assert not reports.is_whole_row(reports.HEADER_LINE[:kept])


def test_a_row_in_somebody_else_s_hand_is_whole() -> None:
    assert reports.is_whole_row(reports.HEADER_LINE)
    assert reports.is_whole_row("1,2026-01-01,a.jpg,,tabby,0.5,,,,by hand")
