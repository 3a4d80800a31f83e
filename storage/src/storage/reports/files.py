"""The files of the reports: every report as a line, those that could be parsed as a CSV row too, and decisions.

Many processes write at the same time and any of them may be killed at any moment; the disk may be full; a person may
have saved the CSV with a spreadsheet, and log rotation may take a file away. A report counts once both files are on the
disk: one lock for both, what an interrupted writer left behind is healed, and what cannot be written whole is taken
back. A row is written as the file that it goes to is: its encoding, its delimiter and the order of its columns.
"""

import logging
import os
import struct
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from storage.files import locked, opened, write_to
from storage.reports.keys import KEY, Key, keep_keys, key_of
from storage.reports.port import Cells, Decision, Report
from wire.tables.csv_reader import HEAD_BYTES, form_of
from wire.tables.csv_table import Table
from wire.tables.feedback import DECISIONS, DECISIONS_FILE, REPORTS

LOG = logging.getLogger("sightline.reports")

LOCK_NAME = ".feedback.lock"
ID_NAME = ".folder_id"
_ID_BYTES = 64
# Reports that are written together, and are on the disk at the same time.
MAX_TOGETHER = 64
# In the lock's file, while a process writes: whose lines they are; which file, from which byte on and how long are the
# lines and the rows; then the keys that the reports came under.
_INTENT = struct.Struct("<IQQQQQQ")
# All of it is in one block of a disk, which is there once the first report was written.
_INTENT_BYTES = _INTENT.size + MAX_TOGETHER * KEY.size
_TAIL_BYTES = 64 * 1024
_SHOWN_CHARACTERS = 200


class Once(NamedTuple):
    """What keeps a report from being there twice: its key, and whether the report is there, called under the lock."""

    key: Key
    is_there: Callable[[], bool]


class Addition(NamedTuple):
    """A report to append: its line, the cells of its row where it has one, and what keeps it from being there twice."""

    line: str
    cells: Cells | None
    once: Once | None = None


# Whether a report was appended: False where it was there already; else the error that kept it out.
Appended = bool | Exception


def append(lines: Path, rows: Path, line: str, cells: Cells | None, once: Once | None = None) -> bool:
    """Append one report: see `append_due`. Return False, with nothing written, where it was there already."""
    [appended] = append_due(lines, rows, lambda: [Addition(line, cells, once)])
    if isinstance(appended, Exception):
        raise appended
    return appended


def append_all(lines: Path, rows: Path, reports: Sequence[Report], keys: Sequence[Key] = ()) -> None:
    """Append the lines and rows of new reports, all or none, and keep these keys; on the disk when this returns.

    Where the process is killed between the two, the keys are not kept: of rows with one `report_id` the first counts.
    """
    with locked(lines.with_name(LOCK_NAME)) as lock, ExitStack() as stack:
        additions = [Addition(each.line, each.cells) for each in reports]
        _writer(stack, lock, lines, rows, additions).write(additions)
        if keys:
            keep_keys(lines.parent, keys)


def append_due(lines: Path, rows: Path, due: Callable[[], Sequence[Addition]]) -> list[Appended]:
    """Append the reports that `due` returns, which is called under the lock; at most MAX_TOGETHER, no key twice.

    Of each, the line and the row are appended, or neither; on the disk when this returns. What keeps one of them out
    does not keep out the others. Return what became of each.
    """
    with locked(lines.with_name(LOCK_NAME)) as lock, ExitStack() as stack:
        additions = due()
        if not additions:
            return []
        writer = _writer(stack, lock, lines, rows, additions)
        appended = [_is_new(each) for each in additions]
        new = [each for each, is_new in zip(additions, appended, strict=True) if is_new is True]
        written = iter(writer.write_each(new))
        return [next(written) if is_new is True else is_new for is_new in appended]


def _is_new(addition: Addition) -> Appended:
    try:
        return addition.once is None or not addition.once.is_there()
    except Exception as error:  # noqa: BLE001  that of one report
        return error


def _writer(stack: ExitStack, lock: int, lines: Path, rows: Path, additions: Sequence[Addition]) -> "_Writer":
    """Open and settle the files; the CSV only where it is there or there will be a row."""
    line_file = stack.enter_context(opened(lines))
    has_rows = any(each.cells is not None for each in additions) or rows.exists()
    row_file = stack.enter_context(opened(rows)) if has_rows else None
    _settle(lock, lines, line_file, row_file)
    return _Writer(lock, lines, line_file, row_file)


def heal(lines: Path, rows: Path) -> None:
    """Take back what a writer that was killed has written of a report, unless it is whole in both files."""
    if not lines.with_name(LOCK_NAME).exists():
        return
    with ExitStack() as stack:
        lock = stack.enter_context(locked(lines.with_name(LOCK_NAME)))
        line_file = stack.enter_context(opened(lines))
        _settle(lock, lines, line_file, stack.enter_context(opened(rows)) if rows.exists() else None)


def append_decision(folder: Path, decision: Decision) -> None:
    """Append a decision to the CSV of decisions; on the disk when this returns. Of one report the last one counts."""
    append_decisions(folder, lambda: [decision])


def append_decisions(folder: Path, due: Callable[[], Sequence[Decision]]) -> None:
    """Append the decisions that `due` returns, which is called under the lock: all of them or none."""
    path = folder / DECISIONS_FILE
    with locked(path.with_name(f".{path.stem}.lock")) as lock, opened(path) as file:
        _settle(lock, path, file)
        decisions = due()
        if decisions:
            cells = [decision.cells() for decision in decisions]
            _write_all_or_none(lock, path.name, [_row_entry(file, DECISIONS, cells)])


@contextmanager
def locked_reports(folder: Path) -> Iterator[None]:
    """Keep all processes from appending to the reports of a folder."""
    with locked(folder / LOCK_NAME):
        yield


@contextmanager
def locked_decisions(folder: Path) -> Iterator[None]:
    """Keep all processes from appending to the decisions of a folder."""
    with locked(folder / f".{Path(DECISIONS_FILE).stem}.lock"):
        yield


def folder_id(folder: Path) -> str:
    """Return what the folder is known by in a database of all hosts; made at the first use."""
    with locked(folder / LOCK_NAME), opened(folder / ID_NAME, append=False) as file:
        known = os.pread(file, _ID_BYTES, 0).decode("ascii", "replace").strip()
        if not known:
            known = str(uuid.uuid4())
            os.pwrite(file, f"{known}\n".encode(), 0)
            os.fdatasync(file)
    return known


def _row_entry(file: int, table: Table, rows: Sequence[Cells]) -> "_Entry":
    form = form_of(table, os.pread(file, HEAD_BYTES, 0))
    line_end = "\n".encode(form.encoding)
    # What is no UTF-16 in such a file may have an odd number of bytes.
    line_end = bytes(os.fstat(file).st_size % len(line_end)) + line_end
    start = _end_last_line(file, line_end, table if form == table.form else None)
    if not rows:
        return _Entry(file, start, b"")
    lines = form.encoded(table.lines(rows, form.layout)[:-1])
    return _Entry(file, start, lines, form.encoded(table.header_line))


class _Entry(NamedTuple):
    """What is to stand in a file, from which byte on; `header` goes before it where the file is empty."""

    file: int
    start: int
    row: bytes
    header: bytes = b""

    @property
    def data(self) -> bytes:
        return self.row if self.start else self.header + self.row


class _Span(NamedTuple):
    """Where something was being written: in which file, from which byte on."""

    inode: int = 0
    start: int = 0
    length: int = 0

    def is_whole(self, file: int) -> bool:
        """Return whether the file holds all of it."""
        status = os.fstat(file)
        return status.st_ino == self.inode and status.st_size >= self.start + self.length

    def is_last(self, file: int) -> bool:
        """Return whether the file ends with all of it, some of it, or just before it."""
        status = os.fstat(file)
        return status.st_ino == self.inode and self.start <= status.st_size <= self.start + self.length


class _Intent(NamedTuple):
    """What the last writer was about, if it did not come to its end."""

    line: _Span = _Span()
    row: _Span = _Span()
    keys: Sequence[Key] = ()


class _Writer(NamedTuple):
    """Appends to the files of reports, whose lock the caller holds."""

    lock: int
    lines: Path
    line_file: int
    row_file: int | None

    def write_each(self, additions: Sequence[Addition]) -> list[Appended]:
        """Append reports together; where that fails, each by itself. Return what became of each."""
        if not additions:
            return []
        try:
            self.write(additions)
        except Exception as error:  # noqa: BLE001  the answer to who has sent it
            if len(additions) == 1:
                return [error]
            return [result for each in additions for result in self.write_each([each])]
        return [True] * len(additions)

    def write(self, additions: Sequence[Addition]) -> None:
        """Append reports, all or none, and keep their keys."""
        text = "".join(f"{each.line}\n" for each in additions).encode("utf-8", "replace")
        entries = [_Entry(self.line_file, _end_last_line(self.line_file), text)]
        if self.row_file is not None:
            cells = [each.cells for each in additions if each.cells is not None]
            entries.append(_row_entry(self.row_file, REPORTS, cells))
        keys = [each.once.key for each in additions if each.once is not None]
        _write_all_or_none(self.lock, self.lines.name, entries, keys)
        if keys:
            keep_keys(self.lines.parent, keys)


def _write_all_or_none(lock: int, name: str, entries: list[_Entry], keys: Sequence[Key] = ()) -> None:
    spans = [number for each in entries for number in (os.fstat(each.file).st_ino, each.start, len(each.data))]
    intent = _INTENT.pack(_id_of(name), *spans, *[0] * (6 - len(spans))) + b"".join(KEY.pack(*key) for key in keys)
    os.pwrite(lock, intent.ljust(_INTENT_BYTES, b"\0"), 0)
    try:
        for entry in entries:
            write_to(entry.file, entry.data)
            _write_header_again(entry)
    except BaseException:
        for entry in entries:
            # Rotation may have emptied the file meanwhile: then there is nothing to take back.
            if os.fstat(entry.file).st_size > entry.start:
                os.ftruncate(entry.file, entry.start)
        raise
    finally:
        os.pwrite(lock, bytes(_INTENT_BYTES), 0)


def _write_header_again(entry: _Entry) -> None:
    """Put the header before a row that stands first because log rotation emptied the file just before the row came."""
    if entry.start and entry.header and os.fstat(entry.file).st_size == len(entry.row):
        os.ftruncate(entry.file, 0)
        write_to(entry.file, entry.header + entry.row)


def _id_of(name: str) -> int:
    return zlib.crc32(os.fsencode(name) + b"\0")


def _read_intent(lock: int, name: str) -> _Intent:
    data = os.pread(lock, _INTENT_BYTES, 0)
    if len(data) < _INTENT.size:
        return _Intent()
    found, *spans = _INTENT.unpack_from(data)
    if found != _id_of(name):
        return _Intent()
    records = (data[at : at + KEY.size] for at in range(_INTENT.size, len(data) - KEY.size + 1, KEY.size))
    keys = [key for record in records if (key := key_of(record)) is not None]
    return _Intent(_Span(*spans[:3]), _Span(*spans[3:]), keys)


def _settle(lock: int, path: Path, line_file: int, row_file: int | None = None) -> None:
    """Bring to an end what a killed writer was about: where line and row are whole, keep the key of the report.

    Otherwise take back what there is of both, unless log rotation or a person has changed the files meanwhile.
    """
    interrupted = _read_intent(lock, path.name)
    if not interrupted.line.length:
        return
    parts = [(interrupted.line, line_file)]
    if row_file is not None and interrupted.row.length:
        parts.append((interrupted.row, row_file))
    if all(span.is_whole(file) for span, file in parts):
        if interrupted.keys:
            keep_keys(path.parent, interrupted.keys)
    elif any(span.is_last(file) and not span.is_whole(file) for span, file in parts):
        for span, file in parts:
            if span.is_last(file):
                os.ftruncate(file, span.start)
    os.pwrite(lock, bytes(_INTENT_BYTES), 0)


def _end_last_line(file: int, line_end: bytes = b"\n", table: Table | None = None) -> int:
    """End a last line that was left open, or remove one that is only the beginning of a row; return the size then.

    `table` is given where a row that an unknown writer did not finish can be distinguished from a complete one.
    """
    size = os.fstat(file).st_size
    if not size or os.pread(file, len(line_end), max(0, size - len(line_end))) == line_end:
        return size
    if table is not None:
        start = _last_line_start(file, size)
        text = os.pread(file, size - start, start).decode("utf-8", "replace")
        if table.is_torn(text):
            LOG.warning("removed a row that was not written to its end: %.*s", _SHOWN_CHARACTERS, text)
            return _truncated(file, start)
    write_to(file, line_end)
    return size + len(line_end)


def _truncated(file: int, size: int) -> int:
    os.ftruncate(file, size)
    return size


def _last_line_start(file: int, size: int) -> int:
    position = size
    while position > 0:
        begin = max(0, position - _TAIL_BYTES)
        piece = os.pread(file, position - begin, begin)
        found = max(piece.rfind(b"\n"), piece.rfind(b"\r"))
        if found >= 0:
            return begin + found + 1
        position = begin
    return 0
