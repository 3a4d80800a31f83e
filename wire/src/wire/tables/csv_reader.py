"""Reads tables in CSV files as the service and as spreadsheets write them.

Spreadsheets save a table with a byte order mark, as UTF-16 or Windows-1252, with semicolons or tabs, with columns
moved, added or left out, with CR or CRLF at the end of lines, with line breaks in cells and with empty rows.
`TableReader` reads all of these; a line that it cannot read is a `Fault` with its number, never an exception.
"""

import csv
import io
from collections import deque
from collections.abc import Generator, Iterator
from itertools import islice
from typing import BinaryIO, NamedTuple

from wire.tables.csv_table import UTF_8, Form, Layout, Table, named, split, unguarded

# More than any version of the service could write in one row: reports had at most 256 KiB, and each quote is doubled.
MAX_ROW_CHARACTERS = 2 * 1024 * 1024
# Lines of one row, where its cells hold line breaks.
MAX_ROW_LINES = 1000
# What has to be read of a file to know how it is written.
HEAD_BYTES = 16 * 1024
DELIMITERS = ",;\t|"
_BLANKS = DELIMITERS + '" \xa0'
# Longest first: a UTF-8 mark begins with no other one.
_MARKS = ((b"\xef\xbb\xbf", UTF_8), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
_MAX_LAYOUTS = 4
# A title, or a line that names the delimiter, may stand before the header.
_MAX_LINES_BEFORE_HEADER = 10


class Place(NamedTuple):
    """A place between two rows of a file, and what is known of the file there."""

    offset: int = 0
    lines: int = 0
    layouts: tuple[Layout, ...] = ()


_BEGIN = Place()


class Row(NamedTuple):
    """A row: the number of its first line, and its cells by the table's columns."""

    line: int
    cells: dict[str, str]


class Fault(NamedTuple):
    """A line that is no row of the table, and why."""

    line: int
    reason: str


def form_of(table: Table, head: bytes) -> Form:
    """Return the form in which to append to a file that begins so, without losing a cell."""
    if not head or head.startswith(table.header_line.encode() + b"\n"):
        return table.form
    reader = TableReader(table, io.BytesIO(head))
    for _ in islice(reader, _MAX_LINES_BEFORE_HEADER):
        pass
    layouts = (each for each in reader.layouts if set(table.columns) <= set(each.columns))
    return Form(reader.encoding, next(layouts, table.layout))


class TableReader:
    """Iterates over the rows and faults of an open file, from a place up to an offset.

    `place` is where the row or fault returned last ends. A last line without its end may be in the midst of being
    written: it is read only where `takes_open_end` is set and it is a whole row.
    """

    def __init__(
        self,
        table: Table,
        file: BinaryIO,
        place: Place = _BEGIN,
        end: int | None = None,
        *,
        takes_open_end: bool = False,
    ) -> None:
        # One cell may be as long as a row; the limit is the interpreter's, and only ever raised here.
        csv.field_size_limit(max(csv.field_size_limit(), MAX_ROW_CHARACTERS))
        self._table = table
        self._end = end
        self._takes_open_end = takes_open_end
        self.encoding, mark = _encoding_of(file)
        # UTF-16 has no byte that could be kept as it is; in UTF-8, what is none is decoded line by line.
        self._errors = "surrogateescape" if self.encoding == UTF_8 else "replace"
        self.place = place._replace(offset=max(place.offset, mark))
        # Those of the header last seen come first; `place` has those of what was returned.
        self.layouts = place.layouts
        file.seek(self.place.offset)
        self._text = io.TextIOWrapper(file, self.encoding, self._errors, newline="")
        self._again: deque[str] = deque()

    def __iter__(self) -> Generator[Row | Fault]:
        try:
            yield from self._found()
        finally:
            # The file is the caller's to close.
            self._text.detach()

    def _found(self) -> Iterator[Row | Fault]:
        while first := self._next_line():
            number = self.place.lines + 1
            text, found = self._row_from(first)
            offset = self.place.offset + self._size_of(text)
            if self._end is not None and offset > self._end:
                return
            if not text.endswith(("\n", "\r")) and not (self._takes_open_end and isinstance(found, dict)):
                return
            self.place = Place(offset, number - 1 + _count_lines(text), self.layouts)
            if isinstance(found, dict):
                yield Row(number, found)
            elif found:
                yield Fault(number, found)

    def _next_line(self) -> str:
        if self._again:
            return self._again.popleft()
        return self._text.readline(MAX_ROW_CHARACTERS)

    def _size_of(self, text: str) -> int:
        if self.encoding == UTF_8:
            return len(text) if text.isascii() else len(text.encode(UTF_8, "surrogateescape"))
        return len(text.encode(self.encoding, "surrogatepass"))

    def _row_from(self, first: str) -> tuple[str, dict[str, str] | str]:
        """Return a row's text, which may be several lines, and its cells, or what is wrong with its first line."""
        if len(first) >= MAX_ROW_CHARACTERS:
            return self._whole_line(first), f"is longer than {MAX_ROW_CHARACTERS} characters"
        found = self._cells_of(first)
        if not found or isinstance(found, dict) or first.count('"') % 2 == 0:
            return first, found
        lines = [first]
        while (line := self._next_line()) and len(lines) < MAX_ROW_LINES:
            lines.append(line)
            # A row by itself is no part of another one: what was open before it was never closed.
            if line.count('"') % 2:
                found_joined = self._cells_of("".join(lines))
                if isinstance(found_joined, dict):
                    return "".join(lines), found_joined
                break
            if isinstance(self._cells_of(line), dict):
                break
        else:
            lines.append(line)
        self._again.extendleft(reversed([line for line in lines[1:] if line]))
        return first, found

    def _whole_line(self, begun: str) -> str:
        parts = [begun]
        while parts[-1] and not parts[-1].endswith(("\n", "\r")):
            parts.append(self._text.readline(MAX_ROW_CHARACTERS))
        return "".join(parts)

    def _cells_of(self, text: str) -> dict[str, str] | str:
        """Return the cells of a row, or what is wrong; an empty string for a header and an empty row."""
        line = _decoded(text).rstrip("\r\n")
        if not line.strip(_BLANKS) or line[:4].lower() == "sep=":
            return ""
        is_near_begin = self.place.lines < _MAX_LINES_BEFORE_HEADER
        if not self.layouts or self._table.required[0] in (_plain(line) if is_near_begin else line):
            found = self._table_header(line)
            if found is not None:
                return found
        return self._cells_in(line, self.layouts)

    def _table_header(self, line: str) -> str | None:
        """Take note of a header and return what it lacks; None where the line is none."""
        layout = max((_header(line, delimiter, self._table.columns) for delimiter in DELIMITERS), key=_count_named)
        if _count_named(layout) < 2:
            if self.layouts:
                return None
            # No header: a row that has a cell for each column shows what separates them.
            count = len(self._table.columns)
            fits = [each for each in DELIMITERS if len(split(line, each) or ()) == count]
            if not fits:
                return self._lacks(())
            self._add_layout(Layout(fits[0], self._table.columns))
            return None
        self._add_layout(layout)
        return self._lacks(layout.columns)

    def _lacks(self, columns: tuple[str, ...]) -> str:
        missing = [name for name in self._table.required if name not in columns]
        return f"has no column {', '.join(missing)}: the first line must name the columns" if missing else ""

    def _add_layout(self, layout: Layout) -> None:
        others = tuple(each for each in self.layouts if each != layout)
        self.layouts = (layout, *others)[:_MAX_LAYOUTS]

    def _cells_in(self, line: str, layouts: tuple[Layout, ...]) -> dict[str, str] | str:
        """Return the cells by the layout of the last header, else by one that has as many cells.

        What the service appends, every cell quoted, fits into any file.
        """
        own = (self._table.layout,) if line.startswith('"') else ()
        wrong = ""
        for layout in (*layouts, *own):
            cells = split(line, layout.delimiter)
            if cells is not None and len(cells) == len(layout.columns):
                found = self._fitted(line, cells, layout)
                if isinstance(found, dict):
                    return found
                wrong = wrong or found
        cells = split(line, layouts[0].delimiter)
        return wrong or ("has a quote that does not end" if cells is None else self._fitted(line, cells, layouts[0]))

    def _fitted(self, line: str, cells: list[str], layout: Layout) -> dict[str, str] | str:
        count, expected = len(cells), len(layout.columns)
        while len(cells) > expected and not cells[-1]:
            cells.pop()
        found = named(cells, layout.columns, self._table.columns)
        # Spreadsheets leave out delimiters after the last cell with something in it; the service quotes every cell.
        is_cut = line.startswith('"') or not all(found[name] for name in self._table.required)
        if len(cells) > expected or (count < expected and is_cut):
            return f"has {count} cells, the header names {expected}"
        return self._table.checked(found) or found


def _encoding_of(file: BinaryIO) -> tuple[str, int]:
    """Return the encoding of a file and the length of its byte order mark."""
    file.seek(0)
    head = file.read(4)
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding, len(mark)
    if len(head) == 4 and head[1] == head[3] == 0 != head[0]:
        return "utf-16-le", 0
    if len(head) == 4 and head[0] == head[2] == 0 != head[1]:
        return "utf-16-be", 0
    return UTF_8, 0


def _decoded(text: str) -> str:
    """Return a line that may hold bytes that are not UTF-8 as text, in the encoding of spreadsheets on Windows."""
    if text.isascii():
        return text
    try:
        text.encode(UTF_8)
    except UnicodeEncodeError:
        return text.encode(UTF_8, "surrogateescape").decode("cp1252", "replace")
    return text


def _count_lines(text: str) -> int:
    line_feeds = text.count("\n")
    return line_feeds if "\r" not in text else line_feeds + text.count("\r") - text.count("\r\n")


def _header(line: str, delimiter: str, columns: tuple[str, ...]) -> Layout:
    """Return the layout that a line names, each column once, ignoring case."""
    cells = split(line, delimiter) or []
    while cells and not cells[-1].strip():
        cells.pop()
    names: list[str] = []
    for cell in cells:
        name = _plain(unguarded(cell))
        names.append(name if name in columns and name not in names else "")
    return Layout(delimiter, tuple(names))


def _plain(name: str) -> str:
    return "_".join(name.split()).casefold()


def _count_named(layout: Layout) -> int:
    return sum(map(bool, layout.columns))
