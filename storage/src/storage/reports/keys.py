"""The keys under which reports came lately, in a file of fixed size.

So a retry finds its report even after a spreadsheet has saved the CSV without its row, or log rotation has moved the
row away.
"""

import logging
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from storage.files import opened

LOG = logging.getLogger("sightline.reports")

KEYS_NAME = ".report_keys"
# 2 MiB. A key that so many others have followed is searched in the CSV alone.
MAX_KEYS = 65_536
KEY = struct.Struct("<16s16s")
_KEY_COUNT = struct.Struct("<Q24x")


class Key(NamedTuple):
    """The id of a report, which is made of its key, and a digest of the report's content."""

    report_id: bytes
    content: bytes


def kept_keys(folder: Path) -> Iterator[Key]:
    """Yield the keys under which reports came lately, in any order."""
    with suppress(FileNotFoundError), (folder / KEYS_NAME).open("rb") as file:
        file.seek(_KEY_COUNT.size)
        while len(record := file.read(KEY.size)) == KEY.size:
            if key := key_of(record):
                yield key


def find_key(folder: Path, report_id: bytes) -> Key | None:
    """Return the key with this id; None where there is none, or the file cannot be read. The caller holds the lock."""
    try:
        with opened(folder / KEYS_NAME, append=False) as file:
            records = os.pread(file, MAX_KEYS * KEY.size, _KEY_COUNT.size)
    except OSError:
        return None
    at = records.find(report_id)
    while at >= 0 and at % KEY.size:
        at = records.find(report_id, at + 1)
    return None if at < 0 else key_of(records[at : at + KEY.size].ljust(KEY.size, b"\0"))


def keep_keys(folder: Path, keys: Sequence[Key]) -> None:
    """Keep keys in place of the oldest ones. A report is safe, and so is its key in the CSV, where this fails."""
    try:
        with opened(folder / KEYS_NAME, append=False) as file:
            head = os.pread(file, _KEY_COUNT.size, 0)
            [count] = _KEY_COUNT.unpack(head) if len(head) == _KEY_COUNT.size else (0,)
            for number, key in enumerate(keys, count):
                os.pwrite(file, KEY.pack(*key), _KEY_COUNT.size + number % MAX_KEYS * KEY.size)
            os.pwrite(file, _KEY_COUNT.pack((count + len(keys)) % 2**64), 0)
    except OSError as error:
        LOG.warning("the key of a report cannot be kept in %s: %s", folder / KEYS_NAME, error)


def key_of(record: bytes) -> Key | None:
    """Return the key of a record; None where there is none in it."""
    return Key(*KEY.unpack(record)) if any(record) else None
