"""The image store: a folder of uploaded images, each under a name that is made of its bytes.

A name never passes from one content to another while a job may read it. Images are published whole and only under a
free name (a hard link, which fails where the name exists). Code that removes or replaces a file holds the folder's
lock, and so does code that extends the life of one that clean-up may remove. Readers and writers of recent images need
no lock.
"""

import enum
import errno
import fcntl
import hashlib
import os
import secrets
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader, FileIO
from pathlib import Path

import settings
import utils
from problems import Problem
from wire import QueueFull

# Clean-up leaves everything younger than this alone: a job may be on its way to it, and a writer may be at work.
YOUNGEST_S = 3600.0
# An image that was used more recently than this needs no new time stamp; well below YOUNGEST_S, so no lock either.
FRESH_S = 600.0
# Each further attempt to store follows a race that was lost to another writer or to clean-up.
PLACE_ATTEMPTS = 4
# Named like an image that is being written, so that clean-up removes one that a killed process left.
PROBE_NAME, PROBE_BYTES = f"{'0' * 32}.png", 4096
COMPARED_BYTES = 64 * 1024
# Attempts to lock the folder, and seconds between them.
LOCK_ATTEMPTS, LOCK_PAUSE_S = 100, 0.01
STORAGE_RETRY_S = 60
# Files that reports, their index, sessions and Redis may still make on the same disk.
MIN_FREE_FILES = 100
# Neither follows a link nor waits for a pipe, which another program may have put there.
_READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITING = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# What link(2) answers on file systems without hard links (FAT, exFAT, some network and FUSE mounts), or with a limit.
_NO_HARD_LINKS = frozenset(
    {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EINVAL}
)
# What opening one name answers where there is something else than a readable file, and others may still be stored.
_NO_REGULAR_FILE = frozenset({errno.ELOOP, errno.EINVAL, errno.ENXIO, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG})
_UNREADABLE_FILE = frozenset({errno.EACCES, errno.EPERM, errno.EIO})


class _Content(enum.Enum):
    """What a name holds, compared with the bytes that are to be stored under it."""

    NOTHING = enum.auto()
    SAME = enum.auto()
    OTHER = enum.auto()
    # Not the bytes that the name is made of: cut off by a power failure, or put there by another program.
    DAMAGED = enum.auto()


def store(folder: Path, name: str, data: bytes, check: Callable[[], None] | None = None) -> str:
    """Store the bytes under their hash name and return the name that they have.

    An image that exists already is kept and counts as used now. Where the name belongs to other bytes of the same MD5,
    the image gets its collision name. Where nothing can be written, an image that exists under another suffix is found
    there. Raise OSError where the disk does not serve, Problem where it is full, and what `check` raises: it is called
    before an image is written that does not exist yet.
    """
    try:
        if _place(folder / name, data, check):
            return name
        other = collision_name(name, data)
        if _place(folder / other, data, check):
            return other
        raise OSError(errno.EEXIST, "both names of the image are taken by other files", str(folder / name))
    except (OSError, Problem, QueueFull):
        found = _found_under_another_suffix(folder, name, data)
        if found is None:
            raise
        return found


def _found_under_another_suffix(folder: Path, name: str, data: bytes) -> str | None:
    stem = Path(name).stem
    # As cameras and programs write them; any other spelling needs a name of its own.
    for suffix in sorted({each for lower in utils.ALLOWED_EXTENSIONS for each in (lower, lower.upper())}):
        with suppress(OSError):
            found, status = _inspect(folder / (stem + suffix), data)
            if found is _Content.SAME and status is not None and refresh(folder / (stem + suffix), status) is not None:
                return stem + suffix
    return None


def collision_name(name: str, data: bytes) -> str:
    """Return the name for bytes whose hash name is taken, with the same suffix."""
    return collision_stem(hashlib.sha256(data).digest()) + Path(name).suffix


def collision_stem(sha256: bytes) -> str:
    """Return a UUID that is made of a SHA-256, so that a collision name still proves its content."""
    return str(uuid.UUID(bytes=sha256[:16], version=4))


def _place(path: Path, data: bytes, check: Callable[[], None] | None) -> bool:
    """Make the path hold these bytes; return False where it holds others, which stay."""
    for _ in range(PLACE_ATTEMPTS):
        found, status = _inspect(path, data)
        if found is _Content.OTHER or (found is _Content.DAMAGED and not _remove_damaged(path, data)):
            return False
        if status is not None:
            if refresh(path, status) is not None:
                return True
            continue
        if check is not None:
            check()
        with _written_beside(path, data) as temporary:
            if _publish(temporary, path):
                return True
    return False


def _inspect(path: Path, data: bytes) -> tuple[_Content, os.stat_result | None]:
    """Compare what a name holds with the bytes; with the file's status where they are the same."""
    try:
        with open_regular(path) as file:
            status = os.fstat(file.fileno())
            if status.st_size == len(data) and _holds(file, data):
                return _Content.SAME, status
            return _Content.OTHER if is_named_by_content(file, path.stem) else _Content.DAMAGED, None
    except FileNotFoundError:
        return _Content.NOTHING, None
    except OSError as error:
        if error.errno in _NO_REGULAR_FILE:
            return _Content.DAMAGED, None
        if error.errno in _UNREADABLE_FILE:
            return _Content.OTHER, None
        raise


def _holds(file: FileIO, data: bytes) -> bool:
    """Return whether a file of the same size holds these bytes, without a second copy of them in memory."""
    # Slices of bytes: a memoryview is compared byte by byte, a hundred times as slowly.
    pieces = (data[start : start + COMPARED_BYTES] for start in range(0, len(data), COMPARED_BYTES))
    return all(file.read(len(piece)) == piece for piece in pieces)


def open_regular(path: Path) -> FileIO:
    """Open a regular file and nothing else; raise OSError."""
    descriptor = os.open(path, _READING)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
    except OSError:
        os.close(descriptor)
        raise
    return FileIO(descriptor)


def refresh(path: str | Path, status: os.stat_result) -> os.stat_result | None:
    """Count an image as used now, unless it was lately; return its status, None where the path holds another file.

    `status` is what the caller knows of the file. A file system that refuses a new time stamp (read-only, failing) does
    not lose the image.
    """
    if time.time() - status.st_mtime < FRESH_S:
        return status
    with folder_lock(os.path.dirname(path) or "."):  # noqa: PTH120  paths of the hot path are strings
        try:
            if identity_of(os.lstat(path)) != identity_of(status):
                return None
            with suppress(OSError):
                os.utime(path, follow_symlinks=False)
            return os.lstat(path)
        except FileNotFoundError:
            return None


def identity_of(status: os.stat_result) -> tuple[int, int, int, int]:
    """Return what stays the same as long as nobody writes, links, renames or touches a file.

    The number of an inode is not enough: the next file that is made may have that of one just removed.
    """
    return status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns


def is_named_by_content(file: FileIO | BufferedReader, stem: str) -> bool:
    """Return whether a file has the content of its name: a power cut or another program may have changed it."""
    file.seek(0)
    if hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == stem:
        return True
    file.seek(0)
    return collision_stem(hashlib.file_digest(file, "sha256").digest()) == stem


def _remove_damaged(path: Path, data: bytes) -> bool:
    """Free a name of what is not its content; return False where that cannot be done."""
    with folder_lock(path.parent) as is_held:
        if not is_held:
            return False
        if _inspect(path, data)[0] is _Content.DAMAGED:
            try:
                path.unlink()
            except (IsADirectoryError, PermissionError):
                return False
        return True


def _publish(temporary: Path, path: Path) -> bool:
    """Rename the written file in one step; return False where the name is taken."""
    try:
        os.link(temporary, path, follow_symlinks=False)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        return _rename_locked(temporary, path)
    return True


def _rename_locked(temporary: Path, path: Path) -> bool:
    """Do what a link does where there are none: here every writer comes this way, so the lock excludes them all.

    Without the lock only a collision name is given, under which there can be no other content.
    """
    with folder_lock(path.parent) as is_held:
        is_collision_name = "-" in path.stem
        if os.path.lexists(path) or not (is_held or is_collision_name):
            return False
        temporary.rename(path)
        return True


@contextmanager
def _written_beside(path: Path, data: bytes) -> Iterator[Path]:
    """Write a temporary file in the same folder: no reader ever sees half an image."""
    check_room(path.parent, len(data))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    descriptor = os.open(temporary, _WRITING, 0o640)
    try:
        with open(descriptor, "wb", buffering=0) as file:  # noqa: PTH123  a descriptor, not a path
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
        yield temporary
    finally:
        # What stays behind is removed by clean-up; the image itself is published, or its own error is raised.
        with suppress(OSError):
            temporary.unlink()


def check_room(folder: Path, size: int) -> None:
    """Raise Problem where so many bytes would leave less than MIN_FREE_BYTES, or hardly another file.

    The folder is made where it is missing.
    """
    try:
        disk = os.statvfs(folder)
    except FileNotFoundError:
        folder.mkdir(parents=True, exist_ok=True)
        disk = os.statvfs(folder)
    # A file system without a limit of files reports 0.
    is_out_of_files = disk.f_files and disk.f_favail < MIN_FREE_FILES
    if is_out_of_files or disk.f_bavail * disk.f_frsize - size < settings.MIN_FREE_BYTES:
        raise Problem(507, "storage_full", "The service's disk is full.", retry_after_s=STORAGE_RETRY_S)


def check_writable(folder: Path) -> None:
    """Raise what storing an image would raise now; write and remove a small file to find out."""
    with _written_beside(folder / PROBE_NAME, b"\0" * PROBE_BYTES):
        pass


def open_stored(folder: Path, name: str) -> tuple[BufferedReader, utils.Kind] | None:
    """Open a stored image and return it with the kind that its content has; None where there is none of that name.

    Raise OSError where the disk does not serve.
    """
    if not utils.allowed_file(name) or "/" in name or "\0" in name:
        return None
    try:
        file: BufferedReader = BufferedReader(open_regular(folder / name))
    except OSError as error:
        if isinstance(error, FileNotFoundError) or error.errno in _NO_REGULAR_FILE:
            return None
        raise
    kind = utils.kind_of(file.peek(utils.HEAD_BYTES))
    if kind is None:
        file.close()
        return None
    return file, kind


def is_stored(folder: Path, name: str) -> bool:
    """Return whether there is an image of that name."""
    opened = open_stored(folder, name)
    if opened is not None:
        opened[0].close()
    return opened is not None


def sha256_of(folder: Path, name: str) -> str:
    """Return the SHA-256 of a stored image; empty where there is none of that name, or it cannot be read."""
    with suppress(OSError):
        opened = open_stored(folder, name)
        if opened is not None:
            with opened[0] as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
    return ""


@contextmanager
def folder_lock(folder: str | Path) -> Iterator[bool]:
    """Hold the folder's lock between processes, for a moment.

    Yield False where it cannot be had: the file system has no locks, or another process keeps it.
    """
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
