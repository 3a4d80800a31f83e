"""Files that several processes use: finding and reading what others wrote, and writing what others read.

What is read is regular, of a bounded size, and never blocks. Writing is that of `storage.files`.
"""

import errno
import fcntl
import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inference.errors import BundleError
from storage.files import beside, replace, sync_folder, write

__all__ = [
    "LOCK_FILE", "alone_in", "below", "beside", "mapped_copy", "read", "read_regular", "replace", "sync_folder",
    "write",
]  # fmt: skip

LOCK_FILE = ".lock"


def below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, without following links to folders; what vanishes meanwhile is left out."""
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names)


def read(path: Path, max_bytes: int) -> bytes:
    """Return the content of a file of a bundle, or of one next to it.

    Raise FileNotFoundError where there is none, and BundleError with the reason for any other unreadable file: a
    folder, a pipe, a loop of links, a larger file.
    """
    try:
        return read_regular(path, max_bytes)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else str(fault)
        raise BundleError(f"{path} cannot be read: {reason}") from None


def read_regular(path: Path, max_bytes: int, flags: int = 0) -> bytes:
    """Return the content of a regular file; raise OSError, whose errno is EFBIG where it has more than `max_bytes`."""
    # Opening a pipe must not wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        if facts.st_size > max_bytes:
            raise OSError(errno.EFBIG, f"it has {facts.st_size} bytes; at most {max_bytes} are read")
        content = os.read(descriptor, facts.st_size + 1)
        while len(content) < facts.st_size and (more := os.read(descriptor, facts.st_size)):  # beyond 2 GB a call
            content += more
        if len(content) > facts.st_size:
            raise OSError(errno.EAGAIN, "it grew while it was read")
        return content
    finally:
        os.close(descriptor)


def mapped_copy(content: bytes, folder: Path) -> mmap.mmap:
    """Return the content mapped from a new file without a name in this folder; raise OSError.

    The system can take this memory back at any time and read it again. No name leads to the file, so no one changes it
    by replacing or restoring what is in the folder, and it ends with the process.
    """
    descriptor = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        rest = memoryview(content)
        while rest:  # a page each time: Linux caches, and maps, what is written together as a whole
            rest = rest[os.write(descriptor, rest[: mmap.PAGESIZE]) :]
        return mmap.mmap(descriptor, len(content))
    finally:
        os.close(descriptor)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, so that of several processes one at a time changes what is in it; make the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_FILE).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
