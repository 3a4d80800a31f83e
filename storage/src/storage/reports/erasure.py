"""Takes reports out of the files of a folder, as if they had never come; every other byte stays as it was.

Each file is written to a temporary file next to it, which then replaces it, under the lock of those who append. The
decisions go first and the reports last, by which they are found, so that what was interrupted can be done again.
"""

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from storage.files import sync_folder
from storage.reports import files
from storage.reports.port import Erased
from wire.tables.csv_reader import Row, TableReader
from wire.tables.csv_table import Table
from wire.tables.feedback import DECISIONS, DECISIONS_FILE, REPORTS, image_name

CHUNK_BYTES = 1024**2


class _Span(NamedTuple):
    """A part of a file."""

    begin: int
    end: int


def erase(lines: Path, rows: Path, names: Collection[str], sha256s: Collection[str]) -> Erased:
    """Remove the reports about images of these names or contents from all files of a folder."""
    contents = {sha256 for sha256 in sha256s if sha256}
    meant, found, decisions = set(), set(names), rows.with_name(DECISIONS_FILE)
    for _, cells in _rows(rows, REPORTS):
        name = image_name(cells["image_path"])
        if name in names or cells["image_sha256"] in contents:
            meant.add(cells["report_id"])
            found.add(name)
    with files.locked_decisions(rows.parent):
        _cut(decisions, [span for span, cells in _rows(decisions, DECISIONS) if cells["report_id"] in meant])
    with files.locked_reports(rows.parent):
        _cut(lines, list(_lines_with(lines, {name.encode() for name in found})))
        # Read again: some may have come meanwhile.
        late = [
            span
            for span, cells in _rows(rows, REPORTS)
            if image_name(cells["image_path"]) in found or cells["image_sha256"] in contents
        ]
        _cut(rows, late)
    return Erased(max(len(meant), len(late)), frozenset(found))


def _rows(path: Path, table: Table) -> Iterator[tuple[_Span, dict[str, str]]]:
    """Yield the place and the cells of each row."""
    if not path.exists():
        return
    with path.open("rb") as file:
        reader = TableReader(table, file, takes_open_end=True)
        begin = reader.place.offset
        for found in reader:
            if isinstance(found, Row):
                yield _Span(begin, reader.place.offset), found.cells
            begin = reader.place.offset


def _lines_with(path: Path, texts: Collection[bytes]) -> Iterator[_Span]:
    if not path.exists():
        return
    with path.open("rb") as file:
        begin = 0
        for line in file:
            if any(text in line for text in texts):
                yield _Span(begin, begin + len(line))
            begin += len(line)


def _cut(path: Path, spans: list[_Span]) -> None:
    """Rewrite a file without some parts of it."""
    if not spans:
        return
    draft = path.with_name(f".{path.name}.erased")
    draft.unlink(missing_ok=True)
    with path.open("rb") as source, draft.open("xb") as target:
        os.fchmod(target.fileno(), path.stat().st_mode & 0o777)
        at = 0
        for span in spans:
            _copy(source, target, at, span.begin)
            at = span.end
        _copy(source, target, at, path.stat().st_size)
        target.flush()
        os.fsync(target.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def _copy(source: BinaryIO, target: BinaryIO, begin: int, end: int) -> None:
    source.seek(begin)
    while begin < end and (piece := source.read(min(CHUNK_BYTES, end - begin))):
        target.write(piece)
        begin += len(piece)
