"""The files of the reports: every report as a line, and those of the page's shape as a CSV row too.

Many processes write at once and any of them may be killed at any moment; the disk may be full. A report counts once
both files are on the disk: one lock for both, what an interrupted writer left behind is healed, and what cannot be
written whole is taken back.
"""

import fcntl
import os
import struct
import uuid
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import blocking
import reports
import settings
import uploads

CSV_NAME = "feedback.csv"
LOCK_NAME = f".{CSV_NAME}.lock"
# Whose line is being written, from which byte on, and how long it is.
_INTENT = struct.Struct("<IQQ")
_TAIL_BYTES = 64 * 1024


def save(text: str, upload_folder: Path, details: Mapping[str, str]) -> None:
    """Append a report to the file of lines, and to the CSV where it has the page's shape; back once both are safe.

    `details` may hold the CSV's columns that the report itself does not say: model, model_version, label, comment.
    """
    lines, rows = paths()
    report = reports.parse(text)

    def work() -> None:
        row = None if report is None else reports.row_line(_cells(report, upload_folder, details))
        append(lines, rows, reports.one_line(text), row)

    blocking.run(work)


def paths() -> tuple[Path, Path]:
    """Give the file of lines and the CSV beside it; refuses one path for both."""
    lines = Path(settings.FEEDBACK_FILEPATH)
    rows = lines.with_name(CSV_NAME)
    if lines.resolve() == rows.resolve():
        raise settings.SettingError(
            f"FEEDBACK_FILEPATH={settings.FEEDBACK_FILEPATH!r} is the place of the CSV: choose another file name"
        )
    return lines, rows


def _cells(report: reports.Report, upload_folder: Path, details: Mapping[str, str]) -> dict[str, str]:
    return {
        **details,
        "report_id": str(uuid.uuid4()),
        "reported_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "image_path": str(upload_folder / report.filename),
        "image_sha256": uploads.sha256_of(upload_folder, report.filename),
        "prediction": report.prediction,
        "score": repr(report.score),
    }


def append(lines: Path, rows: Path, line: str, row: str | None) -> None:
    """Append `line`, and `row` where there is one: both or neither, on the disk when this returns."""
    with _locked(lines.with_name(LOCK_NAME)) as lock, _opened(lines) as line_file:
        _heal_lines(line_file, lock, lines.name)
        entry = _encoded(line)
        start = os.fstat(line_file).st_size
        os.pwrite(lock, _INTENT.pack(_key(lines.name), start, len(entry)), 0)
        with _taken_back_on_error(line_file, start):
            _write(line_file, entry)
            if row is not None:
                _append_row(rows, row)


def _append_row(rows: Path, row: str) -> None:
    with _opened(rows) as file:
        _heal_rows(file)
        start = os.fstat(file).st_size
        with _taken_back_on_error(file, start):
            _write(file, _encoded(row) if start else _encoded(reports.HEADER_LINE) + _encoded(row))


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


@contextmanager
def _taken_back_on_error(file: int, start: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        os.ftruncate(file, start)
        raise


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
    os.fdatasync(file)


def _heal_lines(file: int, lock: int, name: str) -> None:
    """Take back a line that its writer did not finish; end a last line that anybody else left open."""
    size = os.fstat(file).st_size
    if size == 0 or os.pread(file, 1, size - 1) == b"\n":
        return
    intent = os.pread(lock, _INTENT.size, 0)
    if len(intent) == _INTENT.size:
        key, start, length = _INTENT.unpack(intent)
        if key == _key(name) and start < size < start + length:
            os.ftruncate(file, start)
            return
    _write(file, b"\n")


def _heal_rows(file: int) -> None:
    """Take back a row that its writer did not finish; a whole one only lacks its line end."""
    size = os.fstat(file).st_size
    if size == 0 or os.pread(file, 1, size - 1) == b"\n":
        return
    start = _last_line_start(file, size)
    if reports.is_whole_row(os.pread(file, size - start, start).decode("utf-8", "replace")):
        _write(file, b"\n")
    else:
        os.ftruncate(file, start)


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


def _key(name: str) -> int:
    return zlib.crc32(name.encode("utf-8", "surrogateescape"))
