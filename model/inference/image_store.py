"""Reading a stored image by the name that a job gives, which may come from anyone who can write to Redis."""

import errno
import hashlib
import os
from pathlib import Path

from inference.errors import IMAGE_MISSING, IMAGE_TOO_LARGE, ImageError
from inference.files import read_regular
from inference.limits import MAX_BYTES


def read(folder: Path, name: str) -> bytes:
    """Return the bytes of a regular file directly in the folder; raise ImageError where there is none of that name."""
    try:
        if "/" in name:
            raise ValueError("it is not the name of a file")
        return read_regular(folder / name, MAX_BYTES, os.O_NOFOLLOW)
    except ValueError as fault:  # also a NUL byte, or characters that no file name has
        raise ImageError(IMAGE_MISSING, f"{name!r} cannot be read: {fault}") from fault
    except OSError as fault:
        code = IMAGE_TOO_LARGE if fault.errno == errno.EFBIG else IMAGE_MISSING
        raise ImageError(code, f"{name!r} cannot be read: {fault.strerror}") from fault


def read_same(folder: Path, name: str, sha256: str = "") -> bytes | None:
    """Return the bytes of a stored image; None where it is gone, or where its SHA-256 is another than this one."""
    try:
        content = read(folder, name)
    except ImageError:
        return None
    return content if not sha256 or hashlib.sha256(content).hexdigest() == sha256 else None
