"""The files of the reports: every report as a line, and those of the page's shape as a CSV row too.

Many processes write at once and any of them may be killed at any moment; the disk may be full. A report counts once
both files are on the disk: one lock for both, what an interrupted writer left behind is healed, and what cannot be
written whole is taken back.
"""

import fcntl
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import reports
from csv_rows import Table

LOCK_NAME = ".feedback.lock"
# In the lock's file, while somebody writes: whose line it is; from which byte on and how long are the line and the row.
_INTENT = struct.Struct("<IQQQQ")
_TAIL_BYTES = 64 * 1024


def append(lines: Path, rows: Path, line: str, row: str | None, *, is_there: Callable[[], bool] | None = None) -> None:
    """Append `line`, and `row` where there is one: both or neither, on the disk when this returns.

    Nothing is written where `is_there`, asked while nobody else can write, says that it is there already.
    """
    with ExitStack() as stack:
        lock = stack.enter_context(_locked(lines.with_name(LOCK_NAME)))
        line_file = stack.enter_context(_opened(lines))
        row_file = stack.enter_context(_opened(rows)) if row is not None or rows.exists() else None
        interrupted = _read_intent(lock, lines.name)
        entries = [_Entry(line_file, _heal_lines(line_file, interrupted.line), _encoded(line))]
        if row_file is not None:
            entries.append(_row_entry(row_file, interrupted.row, reports.TABLE, row))
        if is_there is None or not is_there():
            _write_all_or_none(lock, lines.name, entries)


def append_row(path: Path, table: Table, row: str) -> None:
    """Append a row to a file that stands by itself; on the disk when this returns."""
    with _locked(path.with_name(f".{path.stem}.lock")) as lock, _opened(path) as file:
        interrupted = _read_intent(lock, path.name)
        _write_all_or_none(lock, path.name, [_row_entry(file, interrupted.line, table, row)])


def _row_entry(file: int, interrupted: "_Span", table: Table, row: str | None) -> "_Entry":
    start = _heal_rows(file, interrupted, table)
    header = b"" if start else _encoded(table.header_line)
    return _Entry(file, start, b"" if row is None else header + _encoded(row))


class _Entry(NamedTuple):
    """What is to stand in a file, from which byte on."""

    file: int
    start: int
    data: bytes


class _Span(NamedTuple):
    """Where something was being written."""

    start: int = 0
    length: int = 0

    def is_cut(self, size: int) -> bool:
        """Say whether a file of this size holds some of it and not all."""
        return self.start < size < self.start + self.length


class _Intent(NamedTuple):
    """What the last writer was about, if it did not come to its end."""

    line: _Span = _Span()
    row: _Span = _Span()


def _write_all_or_none(lock: int, name: str, entries: list[_Entry]) -> None:
    spans = [number for entry in entries for number in (entry.start, len(entry.data))]
    os.pwrite(lock, _INTENT.pack(zlib.crc32(os.fsencode(name)), *spans, *[0] * (4 - len(spans))), 0)
    try:
        for entry in entries:
            _write(entry.file, entry.data)
    except BaseException:
        for entry in entries:
            os.ftruncate(entry.file, entry.start)
        raise
    finally:
        os.pwrite(lock, bytes(_INTENT.size), 0)


def _read_intent(lock: int, name: str) -> _Intent:
    data = os.pread(lock, _INTENT.size, 0)
    if len(data) < _INTENT.size:
        return _Intent()
    key, line_start, line_length, row_start, row_length = _INTENT.unpack(data)
    if key != zlib.crc32(os.fsencode(name)):
        return _Intent()
    return _Intent(_Span(line_start, line_length), _Span(row_start, row_length))


def _heal_lines(file: int, interrupted: _Span) -> int:
    """Take back a line that its writer did not finish, end one that anybody else left open; give the size then."""
    size = os.fstat(file).st_size
    if _ends_with_a_line_end(file, size):
        return size
    if interrupted.is_cut(size):
        return _truncated(file, interrupted.start)
    _write(file, b"\n")
    return size + 1


def _heal_rows(file: int, interrupted: _Span, table: Table) -> int:
    """Take back a row that its writer did not finish, end a whole one that lacks its line end; give the size then."""
    size = os.fstat(file).st_size
    if _ends_with_a_line_end(file, size):
        return size
    if interrupted.is_cut(size):
        return _truncated(file, interrupted.start)
    start = _last_line_start(file, size)
    if not table.is_whole(os.pread(file, size - start, start).decode("utf-8", "replace")):
        return _truncated(file, start)
    _write(file, b"\n")
    return size + 1


def _ends_with_a_line_end(file: int, size: int) -> bool:
    return size == 0 or os.pread(file, 1, size - 1) == b"\n"


def _truncated(file: int, size: int) -> int:
    os.ftruncate(file, size)
    return size


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Hold the lock of a folder's reports; the descriptor is closed, and with it the lock, even when we are killed."""
    with _opened(path, append=False) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


@contextmanager
def _opened(path: Path, *, append: bool = True) -> Iterator[int]:
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_APPEND if append else 0)
    try:
        file = os.open(path, flags)
    except FileNotFoundError:
        file = _created(path, flags)
    try:
        yield file
    finally:
        os.close(file)


def _created(path: Path, flags: int) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, flags | os.O_CREAT, 0o640)
    # A new file's name must survive a power cut like its content.
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return file


def _write(file: int, data: bytes) -> None:
    if not data:
        return
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
    os.fdatasync(file)


def _last_line_start(file: int, size: int) -> int:
    position = size
    while position > 0:
        begin = max(0, position - _TAIL_BYTES)
        found = os.pread(file, position - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        position = begin
    return 0


def _encoded(line: str) -> bytes:
    return line.encode("utf-8", "replace") + b"\n"
