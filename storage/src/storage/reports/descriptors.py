"""Opening the files of the reports, and holding the lock of their folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.files import sync_folder


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold the lock of a folder's reports; the descriptor is closed, and with it the lock, even when we are killed."""
    with opened(path, append=False) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


@contextmanager
def opened(path: Path, *, append: bool = True) -> Iterator[int]:
    """Open a file to read and write, made where it is not there; no link is followed."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_APPEND if append else 0)
    try:
        file = os.open(path, flags)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, flags | os.O_CREAT, 0o640)
        sync_folder(path.parent)
    try:
        yield file
    finally:
        os.close(file)
