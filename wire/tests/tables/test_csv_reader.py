import csv
import io
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.tables.csv_reader import MAX_ROW_CHARACTERS, Fault, Place, Row, TableReader, form_of
from wire.tables.csv_table import Table, guarded
from wire.tables.feedback import DECISIONS, REPORTS, folder_name

TABLE = Table(("id", "label", "comment"), ("id", "label"))
CELLS = {"id": "7", "label": "größer", "comment": '=SUM(A1), "so"; it\tis'}
tricky = st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from("\r\n'\"\\,;\t=+-@\x85\u2028")), max_size=20)
content = st.lists(
    st.one_of(
        st.sampled_from(
            [b"\n", b"\r\n", b"\r", b'"', b",", b";", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"a,b,c\n", b"sep=;\n"]
        ),
        st.sampled_from([f"{table.header_line}\n".encode() for table in (TABLE, REPORTS)]),
        st.builds(lambda label: TABLE.line({**CELLS, "label": label}).encode() + b"\n", tricky),
        st.binary(max_size=12),
    ),
    max_size=12,
).map(b"".join)


BEGIN = Place()


def read(table: Table, data: bytes, place: Place = BEGIN, end: int | None = None) -> list[Row | Fault]:
    return list(TableReader(table, io.BytesIO(data), place, end, takes_open_end=True))


def saved(delimiter: str, encoding: str, end: str, columns: tuple[str, ...]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, "mine", "ignore", delimiter=delimiter, lineterminator=end)
    writer.writeheader()
    writer.writerows([{name: guarded(cell) for name, cell in {**CELLS, "id": str(at)}.items()} for at in range(3)])
    return text.getvalue().encode(encoding)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_what_spreadsheets_save_is_read(delimiter: str, encoding: str, end: str) -> None:
    for columns in (TABLE.columns, TABLE.columns[::-1], ("note", *TABLE.columns), (*TABLE.columns, "note", "more")):
        data = saved(delimiter, encoding, end, columns)
        expected = [Row(at + 2, {**CELLS, "id": str(at)}) for at in range(3)]
        assert read(TABLE, data) == expected
        form = form_of(TABLE, data)
        line = form.encoded(TABLE.line({**CELLS, "id": "3"}, form.layout))
        assert read(TABLE, data + line) == [*expected, Row(5, {**CELLS, "id": "3"})]
        assert form.layout.columns == tuple(name if name in TABLE.columns else "" for name in columns)


@given(data=content)
def test_no_bytes_make_the_reader_fail(data: bytes) -> None:
    for table in (TABLE, REPORTS, DECISIONS):
        form_of(table, data)
        found = read(table, data)
        assert [each.line for each in found] == sorted({each.line for each in found})
        assert all(set(each.cells) == set(table.columns) for each in found if isinstance(each, Row))
        assert all(
            len(cell.splitlines()) <= 1 for each in found if isinstance(each, Row) for cell in each.cells.values()
        )


@given(data=content, count=st.integers(0, 6))
def test_reading_on_from_a_place_finds_the_same(data: bytes, count: int) -> None:
    reader = TableReader(TABLE, io.BytesIO(data), takes_open_end=True)
    first = list(islice(reader, count))
    assert first + read(TABLE, data, reader.place) == read(TABLE, data)
    assert read(TABLE, data, end=reader.place.offset) == first


@given(comments=st.lists(tricky, max_size=5), torn=st.integers(0, 60))
def test_a_row_that_was_not_written_to_its_end_hides_no_other(comments: list[str], torn: int) -> None:
    lines = [TABLE.line({**CELLS, "comment": comment}) for comment in comments]
    half = TABLE.line(CELLS)[: min(torn, 12)]
    data = "\n".join([TABLE.header_line, *lines, half, *lines, ""]).encode()
    found = [each for each in read(TABLE, data) if isinstance(each, Row)]
    assert len(found) == 2 * len(comments)


def test_a_row_beyond_every_limit_is_a_fault_and_hides_no_other() -> None:
    long = TABLE.line({**CELLS, "comment": "x" * MAX_ROW_CHARACTERS})
    data = "\n".join([TABLE.header_line, TABLE.line(CELLS), long, TABLE.line(CELLS), ""]).encode()
    assert [type(each) for each in read(TABLE, data)] == [Row, Fault, Row]
    fits = TABLE.line({**CELLS, "comment": "x" * (MAX_ROW_CHARACTERS - 100)})
    assert read(TABLE, data.replace(long.encode(), fits.encode()))[1].line == 3


def test_what_the_service_appends_is_read_in_any_file() -> None:
    """An earlier version wrote rows of its own form into every file."""
    row = TABLE.line(CELLS) + "\n"
    for head in ("id;label;comment\n1;a;b\n", "comment,id,label,mine\nb,1,a,x\n", "id,label\n1,a\n", "nonsense\n"):
        assert Row(head.count("\n") + 1, CELLS) in read(TABLE, (head + row).encode())


@pytest.mark.parametrize(
    ("text", "number"),
    [("0.73", "0.73"), ("0,73", "0.73"), ("7.3E-1", "0.73"), ("7,3E-01", "0.73"), ("73%", "0.73"), ("73 %", "0.73"),
     ("1", "1.0"), ("nan", ""), ("1e999", ""), ("high", ""), ("", "")],
)  # fmt: skip
def test_a_score_is_read_however_a_spreadsheet_writes_it(text: str, number: str) -> None:
    row = dict.fromkeys(REPORTS.columns, "") | {"report_id": "r", "image_path": "a.jpg", "score": text}
    [found] = read(REPORTS, f"{REPORTS.header_line}\n{REPORTS.line(row)}\n".encode())
    assert isinstance(found, Row)
    assert found.cells["score"] == number


@given(labels=st.lists(st.text(min_size=1), min_size=2, max_size=2, unique=True))
def test_each_label_has_a_folder_of_its_own(labels: list[str]) -> None:
    names = [folder_name(label) for label in labels]
    assert len(set(names)) == 2 or any(0xD800 <= ord(character) <= 0xDFFF for label in labels for character in label)
    assert all(0 < len(name.encode()) <= 255 and not set(name) & set("/\\\0") for name in names)
