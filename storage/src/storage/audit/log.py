"""The port of the audit log, and the log as a file: one JSON object on each line, added whole or not at all."""

import fcntl
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from storage.files import Run, opened, run_here, write_to

AUDIT_FILE = "audit.jsonl"
# Of each text; a row names things and does not hold them.
MAX_TEXT = 500
BLOCK_BYTES = 64 * 1024
# More than any row has.
MAX_LINE_BYTES = 256 * 1024
MAX_SHOWN = 1000


class AuditRow(NamedTuple):
    """Who did what: `who` is the name of a key or session, `subject` what it was about, `order` its order if any.

    `outcome` is what came of it. `time` is in ISO 8601 with the zone; an empty one is now.
    """

    who: str
    action: str
    subject: Mapping[str, str]
    outcome: str = ""
    address: str = ""
    order: str = ""
    time: str = ""

    def bounded(self) -> "AuditRow":
        """Return the row as it is kept: with its time, and no text that is longer than MAX_TEXT."""
        subject = {name[:MAX_TEXT]: text[:MAX_TEXT] for name, text in self.subject.items()}
        time = self.time or datetime.now(UTC).isoformat(timespec="milliseconds")
        texts = {name: getattr(self, name)[:MAX_TEXT] for name in ("who", "action", "outcome", "address", "order")}
        return AuditRow(subject=subject, time=time, **texts)


class AuditLog(ABC):
    """Rows in the order in which they were added. Every method raises OSError or StorageError."""

    def add(self, row: AuditRow) -> None:
        """Add a row; it is kept, whole and once, when this returns."""
        self.add_all([row])

    @abstractmethod
    def add_all(self, rows: Sequence[AuditRow]) -> None:
        """Add rows in this order, in one piece."""

    @abstractmethod
    def newest(self, count: int) -> list[AuditRow]:
        """Return at most so many rows, newest first."""


class AuditFile(AuditLog):
    """The audit log of a folder, to which any number of processes add."""

    def __init__(self, folder: Path, run: Run = run_here) -> None:
        self.path = folder / AUDIT_FILE
        self._run = run

    def add_all(self, rows: Sequence[AuditRow]) -> None:
        """Append lines; what a writer that was killed has left of one is ended first, so that it spoils no other."""
        texts = (json.dumps(row.bounded()._asdict(), ensure_ascii=False) for row in rows)
        lines = "".join(f"{text}\n" for text in texts).encode("utf-8", "replace")
        if lines:
            self._run(lambda: self._append(lines))

    def newest(self, count: int) -> list[AuditRow]:
        """Read the file from its end."""
        rows: list[AuditRow] = self._run(lambda: self._newest(min(count, MAX_SHOWN)))
        return rows

    def _append(self, lines: bytes) -> None:
        with opened(self.path) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = os.fstat(file).st_size
            whole = lines if not size or os.pread(file, 1, size - 1) == b"\n" else b"\n" + lines
            try:
                write_to(file, whole)
            except OSError:
                os.ftruncate(file, size)
                raise

    def _newest(self, count: int) -> list[AuditRow]:
        found: list[AuditRow] = []
        for line in _lines_from_the_end(self.path):
            if len(found) == count:
                break
            if (row := read_row(line)) is not None:
                found.append(row)
        return found


def read_row(line: bytes) -> AuditRow | None:
    """Return the row of a line; None where it is none."""
    try:
        cells = json.loads(line)
        texts = {name: str(cells[name]) for name in ("who", "action", "outcome", "address", "order", "time")}
        return AuditRow(subject={str(name): str(text) for name, text in cells["subject"].items()}, **texts)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _lines_from_the_end(path: Path) -> Iterator[bytes]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        at, rest = file.seek(0, os.SEEK_END), b""
        while at:
            begin = max(0, at - BLOCK_BYTES)
            file.seek(begin)
            first, *others = (file.read(at - begin) + rest).split(b"\n")
            yield from reversed(others)
            # What is longer is no row, but what a power cut or another program has left.
            at, rest = begin, first[:MAX_LINE_BYTES]
        yield rest
