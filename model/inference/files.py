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
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise BundleError(f"{path} cannot be read: it is not a regular file")
            # One more than allowed: it may grow meanwhile.
            content = file.read(most + 1) if facts.st_size <= most else b""
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else str(fault)
        raise BundleError(f"{path} cannot be read: {reason}") from None
    if facts.st_size > most or len(content) > most:
        raise BundleError(f"{path} has {max(facts.st_size, len(content))} bytes; at most {most} are read")
    return content
