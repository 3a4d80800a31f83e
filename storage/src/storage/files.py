"""Writing files that other processes read: they appear whole, once they are on the disk."""

import os
import secrets
from pathlib import Path


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
