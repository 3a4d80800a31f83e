"""Files that other processes use: new ones appear whole, once they are on the disk, and others are added to in turn."""

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

# How work that waits for a disk or the network is called; the api keeps it away from its event loop.
Run: TypeAlias = Callable[[Callable[[], Any]], Any]


def run_here(work: Callable[[], Any]) -> Any:
    """Call work that waits, in this thread."""
    return work()


def replace(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file, replacing an existing one; readers, and a machine that loses power, have the old or the new."""
    draft = beside(path)
    try:
        write(draft, content, mode)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a new file, and wait until it is on the disk; raise FileExistsError where there is one."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk, as the content of its files is."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def beside(path: Path) -> Path:
    """Return the name of a draft in the same folder, which no other process uses and no program lists."""
    return path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold a lock; the descriptor of its file is closed, and with it the lock, even when we are killed."""
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


def write_to(file: int, data: bytes) -> None:
    """Write all of it to an open file, and wait until it is on the disk."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
    if data:
        os.fdatasync(file)
