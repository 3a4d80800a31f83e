"""Files that are read whole, of which none may take all memory or never end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

# Above every limit of a service; such a file is not even read.
MAX_FILE_BYTES = 256 * 1024**2
# As much as is reserved for a small file.
PIECE_BYTES = 1024**2


def read_regular(path: Path) -> bytes:
    """Return the content of one of many files; raise OSError where it is too large, or a device or pipe."""
    with open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        return read_all(file, str(path))


def read_all(file: BinaryIO, name: str) -> bytes:
    """Return what a file has from here to its end; raise OSError where that is more than MAX_FILE_BYTES."""
    pieces, left = [], MAX_FILE_BYTES + 1
    while piece := file.read(min(left, PIECE_BYTES)):
        pieces.append(piece)
        left -= len(piece)
    if not left:
        raise OSError(errno.EFBIG, f"it has more than {MAX_FILE_BYTES} bytes", name)
    return b"".join(pieces)


def _without_waiting(path: str, flags: int) -> int:
    # Opening a pipe would wait for who writes to it.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
