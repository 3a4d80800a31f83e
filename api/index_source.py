"""A CSV file that is only appended to, read from where the last reader stopped."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from csv_rows import Table

TAIL_BYTES = 4096


class Mark(NamedTuple):
    """How far a file was read, and a digest of what stands before, by which it is known again."""

    offset: int = 0
    tail: bytes = b""


class Row(NamedTuple):
    """A row, and the byte after it."""

    end: int
    cells: dict[str, str]


class Source:
    """One such file."""

    def __init__(self, path: Path, table: Table) -> None:
        self.path = path
        self.table = table

    def size(self) -> int:
        """Give how many bytes there are; 0 where there is no file."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def is_known(self, mark: Mark) -> bool:
        """Say whether the file is still the one that was read up to the mark."""
        return mark.offset <= self.size() and self.mark_at(mark.offset).tail == mark.tail

    def mark_at(self, offset: int) -> Mark:
        """Mark a place."""
        if not offset:
            return Mark()
        with self.path.open("rb") as file:
            file.seek(max(0, offset - TAIL_BYTES))
            return Mark(offset, hashlib.sha256(file.read(min(offset, TAIL_BYTES))).digest())

    def rows(self, begin: int, end: int) -> Iterator[Row]:
        """Give the rows between two places; a last line without an end, and what is no row, are left out."""
        if end <= begin:
            return
        with self.path.open("rb") as file:
            file.seek(begin)
            at = begin
            for line in file:
                at += len(line)
                if at > end or not line.endswith(b"\n"):
                    return
                cells = self.table.read(line.decode("utf-8", "replace").rstrip("\r\n"))
                if cells is not None:
                    yield Row(at, cells)
