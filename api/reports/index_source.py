"""A CSV file that is only appended to, read from where the last reader stopped."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from wire.tables.csv_reader import Place, TableReader
from wire.tables.csv_table import Layout, Table

TAIL_BYTES = 4096


class Mark(NamedTuple):
    """How far a file was read, and what it is known again by: its time, and a digest of what stands before."""

    place: Place = Place()
    tail: bytes = b""
    changed_ns: int = 0
    has_open_end: bool = False

    def columns(self) -> tuple[int, int, str, bytes, int, bool]:
        """Return the mark as the index keeps it; `mark_of` reads it."""
        place = (self.place.offset, self.place.lines, json.dumps(self.place.layouts))
        return (*place, self.tail, self.changed_ns, self.has_open_end)


def mark_of(offset: int, lines: int, layouts: str, *rest: Any) -> Mark:
    """Return a mark that the index has kept."""
    known = tuple(Layout(delimiter, tuple(columns)) for delimiter, columns in json.loads(layouts))
    return Mark(Place(offset, lines, known), *rest)


class Source:
    """One such file."""

    def __init__(self, path: Path, table: Table) -> None:
        self.path = path
        self.table = table

    def state(self) -> tuple[int, int]:
        """Return how many bytes there are, and when they were written last; zeros where there is no file."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return 0, 0
        return status.st_size, status.st_mtime_ns

    def is_read_up(self, mark: Mark) -> bool:
        """Return whether the file is as it was when it was read up to the mark, which was its end."""
        return self.state() == (mark.place.offset, mark.changed_ns) and self._is_known(mark)

    def is_known(self, mark: Mark) -> bool:
        """Return whether the file is still the one that was read up to the mark; more may stand behind it."""
        size, changed_ns = self.state()
        is_longer = size > mark.place.offset
        # As long as before and written since: somebody has edited it.
        is_same = size == mark.place.offset and (changed_ns == mark.changed_ns or not size)
        # A row without its end may have been only half of it.
        return (is_same or (is_longer and not mark.has_open_end)) and self._is_known(mark)

    def mark_at(self, place: Place, changed_ns: int) -> Mark:
        """Return the mark of a place."""
        if not place.offset:
            return Mark(place, b"", changed_ns)
        with self.path.open("rb") as file:
            file.seek(max(0, place.offset - TAIL_BYTES))
            tail = file.read(min(place.offset, TAIL_BYTES))
        # UTF-16 ends a line with two bytes.
        return Mark(place, hashlib.sha256(tail).digest(), changed_ns, has_open_end=b"\n" not in tail[-2:])

    @contextmanager
    def reading(self, place: Place, end: int) -> Iterator[TableReader | None]:
        """Open the rows between two places; None where there are none."""
        if end <= place.offset:
            yield None
            return
        with self.path.open("rb") as file:
            yield TableReader(self.table, file, place, end, takes_open_end=True)

    def _is_known(self, mark: Mark) -> bool:
        return self.mark_at(mark.place, mark.changed_ns).tail == mark.tail
