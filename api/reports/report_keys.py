"""Under which keys reports came lately: a file of fixed size, so that a key counts once whatever becomes of the CSV.

A spreadsheet may save the CSV without a row, log rotation may move its rows away: a retry that comes afterwards must
still find its report. The callers hold the lock of the feedback folder.
"""

import os
import stat
import struct
from pathlib import Path
from typing import NamedTuple

FILE_NAME = ".report_keys"
# 2 MiB. A key that so many others have followed is looked up in the CSV alone.
RECORDS = 65_536
_RECORD = struct.Struct("<16s16s")
_COUNT = struct.Struct("<Q24x")


class Key(NamedTuple):
    """The id of a report, which is made of its key, and a digest of what the report says."""

    report_id: bytes
    content: bytes

    def packed(self) -> bytes:
        """Return the bytes of the record."""
        return _RECORD.pack(*self)


def unpacked(record: bytes) -> Key | None:
    """Return the key of a record; None for an empty one."""
    return Key(*_RECORD.unpack(record)) if any(record) else None


def find(folder: Path, report_id: bytes) -> Key | None:
    """Return the key with this id; None where there is none, or the file cannot be read."""
    try:
        file = _opened(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        records = os.pread(file, RECORDS * _RECORD.size, _COUNT.size)
    except OSError:
        return None
    finally:
        os.close(file)
    at = records.find(report_id)
    while at >= 0 and at % _RECORD.size:
        at = records.find(report_id, at + 1)
    return None if at < 0 else unpacked(records[at : at + _RECORD.size].ljust(_RECORD.size, b"\0"))


def add(folder: Path, key: Key) -> None:
    """Keep a key in place of the oldest one; raises OSError."""
    file = _opened(folder, os.O_RDWR | os.O_CREAT)
    try:
        head = os.pread(file, _COUNT.size, 0)
        [count] = _COUNT.unpack(head) if len(head) == _COUNT.size else (0,)
        os.pwrite(file, key.packed(), _COUNT.size + count % RECORDS * _RECORD.size)
        os.pwrite(file, _COUNT.pack((count + 1) % 2**64), 0)
    finally:
        os.close(file)


def _opened(folder: Path, flags: int) -> int:
    file = os.open(folder / FILE_NAME, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o640)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(f"{folder / FILE_NAME} is not a regular file")
    return file
