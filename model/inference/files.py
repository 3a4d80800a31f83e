"""Reading the files of a bundle and those beside it: regular ones of a bounded size, and nothing that blocks."""

import os
import stat
from pathlib import Path

from inference.errors import BundleError


def read(path: Path, most: int) -> bytes:
    """Return the content of a regular file of at most so many bytes.

    Raise FileNotFoundError where there is none, and BundleError with the reason for whatever else cannot be read: a
    folder, a pipe (whose opening would wait for a writer), a loop of links, a larger file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return _content(path, descriptor, most)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else str(fault)
        raise BundleError(f"{path} cannot be read: {reason}") from None


def _content(path: Path, descriptor: int, most: int) -> bytes:
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        raise BundleError(f"{path} cannot be read: it is not a regular file")
    if facts.st_size > most:
        raise BundleError(f"{path} has {facts.st_size} bytes; at most {most} are read")
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        content = file.read(most + 1)  # it may have grown meanwhile
    if len(content) > most:
        raise BundleError(f"{path} has more than {most} bytes")
    return content
