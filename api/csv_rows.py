"""Rows of CSV files that programs, people and spreadsheets read: one line each, whole or not at all. No I/O."""

import csv
import io
import re
from collections.abc import Mapping, Sequence

# Everything that str.splitlines breaks at.
_LINE_BREAK = re.compile("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
# What a spreadsheet takes for the beginning of a formula, also in the wide forms; and our own mark.
_FORMULA_STARTS = tuple("=+-@\t\r\n\0'\uff1d\uff0b\uff0d\uff20")


def one_line(text: str) -> str:
    """Give the text as one line, every line break a space and nothing else changed."""
    return _LINE_BREAK.sub(" ", text)


def guarded(cell: str) -> str:
    """Mark a cell that a spreadsheet would run; `unguarded` undoes it."""
    return "'" + cell if cell.startswith(_FORMULA_STARTS) else cell


def unguarded(cell: str) -> str:
    """Give the cell as it was before `guarded`."""
    return cell.removeprefix("'")


class Table:
    """The columns of a CSV file, and its lines without their line ends."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self.header_line = ",".join(columns)

    def line(self, cells: Mapping[str, str]) -> str:
        """Give the line for the named cells; columns that are not named stay empty.

        Every cell is quoted, so that a line cut short by a crash can be told from a whole one.
        """
        line = io.StringIO()
        writer = csv.writer(line, quoting=csv.QUOTE_ALL, lineterminator="")
        writer.writerow([guarded(one_line(cells.get(column, ""))) for column in self.columns])
        return line.getvalue()

    def is_whole(self, line: str) -> bool:
        """Say whether a line that lacks its end is a row, or the header, all the same."""
        row = self._row(line)
        if row is None:
            return False
        if line.startswith('"'):
            return line.endswith('"')
        # Not in our hand, unless it is the beginning of a header.
        return line == self.header_line or not self.header_line.startswith(line)

    def read(self, line: str) -> dict[str, str] | None:
        """Give the cells of a line as they were before they were guarded; None for the header and what is no row."""
        row = self._row(line)
        if row is None or tuple(row) == self.columns:
            return None
        return dict(zip(self.columns, map(unguarded, row), strict=True))

    def _row(self, line: str) -> list[str] | None:
        try:
            rows = list(csv.reader([line], strict=True))
        except csv.Error:  # a quote that was never closed
            return None
        return rows[0] if len(rows) == 1 and len(rows[0]) == len(self.columns) else None
