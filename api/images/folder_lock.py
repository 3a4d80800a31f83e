"""The lock of the image store's folder, between processes: for a moment, and never waited for without end."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_ATTEMPTS = 100
LOCK_PAUSE_S = 0.01


@contextmanager
def folder_lock(folder: str | Path) -> Iterator[bool]:
    """Hold the folder's lock for a moment; yield False where it cannot be had (no locks there, or kept by another)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        yield _is_locked(descriptor)
    finally:
        os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    for _ in range(LOCK_ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_PAUSE_S)
        except OSError:
            return False
        else:
            return True
    return False
