import csv

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from wire.tables import csv_table
from wire.tables.csv_table import Table

# Where lines break, what ends a quoted string, what begins a formula.
tricky = st.text(
    st.one_of(st.characters(codec="utf-8"), st.sampled_from("\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029'\"\\{},:=+-@\t"))
)


TABLE = Table(("id", "label", "comment"))


@given(text=tricky)
def test_a_text_becomes_one_line_and_only_its_line_breaks_change(text: str) -> None:
    line = csv_table.one_line(text)
    assert line.splitlines() in ([line], [])
    assert line == text.replace("\r\n", "\n").translate(
        {ord(mark): " " for mark in "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"}
    )


@given(cell=tricky)
def test_the_guard_can_be_undone(cell: str) -> None:
    assert csv_table.unguarded(csv_table.guarded(cell)) == cell


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\0", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
def test_a_cell_that_a_spreadsheet_would_run_is_guarded(start: str) -> None:
    assert csv_table.guarded(start + "SUM(A1)").startswith("'")
    assert csv_table.guarded("SUM" + start) == "SUM" + start


@given(cells=st.dictionaries(st.sampled_from(TABLE.columns), tricky))
def test_a_row_is_one_line_of_csv_with_every_column(cells: dict[str, str]) -> None:
    line = TABLE.line(cells)
    assert "\n" not in line
    assert "\r" not in line
    [row] = csv.reader([line], strict=True)
    assert TABLE.read(line) == {column: csv_table.one_line(cells.get(column, "")) for column in TABLE.columns}
    assert not any(cell.startswith(("=", "+", "-", "@", "\t")) for cell in row)


@given(cells=st.dictionaries(st.sampled_from(TABLE.columns), tricky), data=st.data())
def test_a_row_cut_short_is_told_from_a_whole_one(cells: dict[str, str], data: st.DataObject) -> None:
    line = TABLE.line(cells)
    assert not TABLE.is_torn(line)
    kept = data.draw(st.integers(0, len(line) - 1))
    # Cut between two quotes that escape one in the last cell, a row seems complete.
    assume(not (line[kept - 1] == line[kept] == '"'))
    assert kept == 0 or TABLE.is_torn(line[:kept])


@pytest.mark.parametrize("kept", range(len(TABLE.header_line)))
def test_a_header_cut_short_is_not_whole(kept: int) -> None:
    assert TABLE.is_torn(TABLE.header_line[:kept])


def test_a_row_in_somebody_else_s_hand_is_whole() -> None:
    assert not TABLE.is_torn(TABLE.header_line)
    assert not TABLE.is_torn("1,tabby,by hand")


@pytest.mark.parametrize("line", ["", "1,2", "1,2,3,4", '"1,2,3', TABLE.header_line])
def test_what_is_no_row_is_read_as_none(line: str) -> None:
    assert TABLE.read(line) is None
