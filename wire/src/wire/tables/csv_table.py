"""Tables in CSV files that programs append to and people edit: what a row is, and how the service writes it.

The service writes UTF-8 with commas, every cell quoted, one line for each row. `csv_reader` reads this and what
spreadsheets make of it. No I/O.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

UTF_8 = "utf-8"
# Everything that str.splitlines breaks at.
_LINE_BREAK = re.compile("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
# What a spreadsheet takes for the beginning of a formula, also in the wide forms; and our own mark.
_FORMULA_STARTS = tuple("=+-@\t\r\n\0'\uff1d\uff0b\uff0d\uff20")


def one_line(text: str) -> str:
    """Return the text as one line: every line break becomes a space, nothing else changes."""
    return _LINE_BREAK.sub(" ", text)


def guarded(cell: str) -> str:
    """Return the cell with a mark in front where a spreadsheet would run it; `unguarded` undoes it."""
    return "'" + cell if cell.startswith(_FORMULA_STARTS) else cell


def unguarded(cell: str) -> str:
    """Return the cell as it was before `guarded`; an apostrophe that guards nothing stays."""
    return cell[1:] if cell[:1] == "'" and cell.startswith(_FORMULA_STARTS, 1) else cell


class Layout(NamedTuple):
    """What separates the cells of a row, and the columns in order; one that is not the table's has an empty name."""

    delimiter: str
    columns: tuple[str, ...]


class Form(NamedTuple):
    """How a file is written: what a row appended to it has to keep to."""

    encoding: str
    layout: Layout

    def encoded(self, line: str) -> bytes:
        """Return the line and its end as bytes."""
        return f"{line}\n".encode(self.encoding, "replace")


def _nothing_wrong(_: dict[str, str]) -> str:
    return ""


class Table:
    """The columns of a CSV file.

    `required` are those that a header must name. `checked` puts the cells of a row into their usual form and returns
    a description of the fault; an empty string where there is none.
    """

    def __init__(
        self,
        columns: Sequence[str],
        required: Sequence[str] = (),
        checked: Callable[[dict[str, str]], str] = _nothing_wrong,
    ) -> None:
        self.columns = tuple(columns)
        self.required = tuple(required) or self.columns[:1]
        self.checked = checked
        self.header_line = ",".join(columns)
        self.layout = Layout(",", self.columns)
        self.form = Form(UTF_8, self.layout)

    def line(self, cells: Mapping[str, str], layout: Layout | None = None) -> str:
        """Return the line for the named cells; columns that are not named stay empty.

        Every cell is quoted, so that a line cut short by a crash can be distinguished from a complete one.
        """
        return self.lines([cells], layout)[:-1]

    def lines(self, rows: Iterable[Mapping[str, str]], layout: Layout | None = None) -> str:
        """Return the lines for rows, each with its end: see `line`."""
        delimiter, columns = layout or self.layout
        lines = io.StringIO()
        writer = csv.writer(lines, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerows([guarded(one_line(cells.get(column, ""))) for column in columns] for cells in rows)
        return lines.getvalue()

    def is_torn(self, line: str) -> bool:
        """Return whether a last line without its end is only the beginning of a row, or header, of this service."""
        if line.startswith('"'):
            cells = split(line, ",")
            return cells is None or len(cells) != len(self.columns) or not line.endswith('"')
        return line != self.header_line and self.header_line.startswith(line)

    def read(self, line: str) -> dict[str, str] | None:
        """Return the cells of a line in the service's own form; None for the header and what is no row."""
        cells = split(line, ",")
        if cells is None or len(cells) != len(self.columns) or tuple(cells) == self.columns:
            return None
        return named(cells, self.columns, self.columns)


def split(line: str, delimiter: str) -> list[str] | None:
    """Return the cells; None where a quote does not end, or not at the end of a cell."""
    try:
        return next(csv.reader((line,), delimiter=delimiter, strict=True), None)
    except csv.Error:
        return None


def named(cells: Sequence[str], columns: tuple[str, ...], wanted: tuple[str, ...]) -> dict[str, str]:
    """Return the cells by the names that are wanted, each as one line and as it was before it was guarded."""
    found = dict(zip(columns, cells, strict=False)) if columns == wanted else dict.fromkeys(wanted, "")
    if columns != wanted:
        found.update({name: cell for name, cell in zip(columns, cells, strict=False) if name})
    elif len(cells) < len(columns):
        found |= dict.fromkeys(columns[len(cells) :], "")
    text = "".join(cells)
    if "'" not in text and text.isprintable():
        return found
    return {name: unguarded(one_line(cell)) for name, cell in found.items()}
