"""Reading a stored picture by the name that a job gives, which may come from anyone who can write to Redis."""

import hashlib
import os
import stat
from pathlib import Path

from inference.errors import IMAGE_MISSING, ImageError
from inference.limits import check_bytes

MAX_NAME_BYTES = 255
# Not through a link, not into a child process, and not waiting for the writer of a pipe.
FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def read(folder: Path, name: str) -> bytes:
    """The bytes of a regular file directly in the folder; ImageError where there is none of that name."""
    if not is_plain(name):
        raise ImageError(IMAGE_MISSING, f"{name!r} is not the name of a file")
    try:
        # Unlike fdopen, this leaves no descriptor open where the name turns out to be a folder's.
        with open(folder / name, "rb", buffering=0, opener=_opened) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageError(IMAGE_MISSING, f"{name!r} is not a regular file")
            check_bytes(status.st_size)
            return file.read()
    except OSError as fault:
        raise ImageError(IMAGE_MISSING, f"{name!r} cannot be read: {fault.strerror}") from fault


def _opened(path: str, _: int) -> int:
    return os.open(path, FLAGS)


def read_same(folder: Path, name: str, sha256: str = "") -> bytes | None:
    """The bytes of a picture that was stored once; None where it is gone, or has another SHA-256 than then."""
    try:
        content = read(folder, name)
    except ImageError:
        return None
    return content if not sha256 or hashlib.sha256(content).hexdigest() == sha256 else None


def is_plain(name: str) -> bool:
    """Whether this is a name and not a path."""
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        return False
    try:
        return len(os.fsencode(name)) <= MAX_NAME_BYTES
    except UnicodeEncodeError:
        return False
