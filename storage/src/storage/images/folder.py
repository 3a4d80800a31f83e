"""Images in a folder, each a file under a name that is made of its bytes.

Images are published whole and only under a free name (a hard link, which fails where the name exists). Code that
removes or replaces a file holds the folder's lock, and so does code that extends the life of one that clean-up may
remove. Readers and writers of recent images need no lock.
"""

import enum
import errno
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from io import BufferedReader, FileIO
from operator import attrgetter
from pathlib import Path

from storage.errors import ImageMissing, StorageFull
from storage.images.names import SUFFIXES, USUAL_SUFFIXES, collision_name, collision_stem, is_plain
from storage.images.port import Check, Identity, ImageStore, check_size

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
OWNERS_FOLDER = ".owners"
# The part of a file's status that stays the same until the file is written, linked, renamed or touched. The number of
# an inode is not enough: the next file that is made may have that of one just removed.
identity_of = attrgetter("st_dev", "st_ino", "st_size", "st_ctime_ns")


class _Content(enum.Enum):
    """What a name holds, compared with the bytes that are to be stored under it."""

    NOTHING = enum.auto()
    SAME = enum.auto()
    OTHER = enum.auto()
    # Not the bytes that the name is made of: cut off by a power failure, or put there by another program.
    DAMAGED = enum.auto()


@lru_cache(maxsize=64)
def image_folder(folder: str | Path, min_free_bytes: int = 0) -> "ImageFolder":
    """Return the images of a folder; the same object each time."""
    return ImageFolder(Path(folder), min_free_bytes)


class ImageFolder(ImageStore):
    """The images of a folder, which leave `min_free_bytes` of its disk free."""

    def __init__(self, folder: Path, min_free_bytes: int = 0) -> None:
        self.folder = folder
        self._min_free_bytes = min_free_bytes

    def __str__(self) -> str:
        return str(self.folder)

    def put(self, name: str, data: bytes, check: Check | None = None) -> str:
        """Store the bytes; a temporary file in the folder, then a link to the name."""
        try:
            if self._place(self.folder / name, data, check):
                return name
            other = collision_name(name, data)
            if self._place(self.folder / other, data, check):
                return other
            raise OSError(errno.EEXIST, "both names of the image are taken by other files", str(self.folder / name))
        except Exception:  # any error that prevents writing, that of `check` included
            found = self._found_under_another_suffix(name, data)
            if found is None:
                raise
            return found

    def identify(self, name: str, sha256: str = "") -> Identity:
        """Return what the file has of its own."""
        identity: Identity = identity_of(os.lstat(self.folder / name))
        return identity

    def renew(self, name: str, identity: Identity) -> Identity | None:
        """Compare the file's status, and give it a new time stamp where it was not used lately."""
        path = os.path.join(self.folder, name)  # noqa: PTH118  a third of the time, on the way of every request
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return None
        if identity_of(status) != identity:
            return None
        refreshed = refresh(path, status)
        if refreshed is None or refreshed is status:
            return refreshed and identity
        return self.identify(name)

    def open(self, name: str) -> BufferedReader | None:
        """Open a regular file."""
        if not is_plain(name):
            return None
        try:
            return BufferedReader(open_regular(self.folder / name))
        except OSError as error:
            if isinstance(error, FileNotFoundError) or error.errno in _NO_REGULAR_FILE:
                return None
            raise

    def read(self, name: str) -> bytes:
        """Return the bytes of a regular file directly in the folder."""
        try:
            if "/" in name:
                raise ValueError("it is not the name of a file")
            with open_regular(self.folder / name) as file:
                size = os.fstat(file.fileno()).st_size
                check_size(name, size)
                return _whole(file, size)
        except ValueError as fault:  # also a NUL byte, or characters that no file name has
            raise ImageMissing(f"{name!r} cannot be read: {fault}") from fault
        except OSError as fault:
            raise ImageMissing(f"{name!r} cannot be read: {fault.strerror}") from fault

    def names(self) -> Iterator[str]:
        """Yield the names of the regular files that have an image's suffix."""
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            is_image = path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
            if is_image and path.is_file() and not path.is_symlink():
                yield path.name

    def location(self, name: str) -> str:
        """Return the path of the file."""
        return str(self.folder / name)

    def keep(self, name: str) -> None:
        """Do nothing: clean-up leaves what a report names."""

    def erase(self, name: str) -> bool:
        """Remove the file, and the records of its senders."""
        if not is_plain(name):
            return False
        for record in (self.folder / OWNERS_FOLDER).glob(f"*/{name}"):
            record.unlink(missing_ok=True)
        with folder_lock(self.folder):
            try:
                (self.folder / name).unlink()
            except FileNotFoundError:
                return False
        return True

    def add_owner(self, name: str, owner: str) -> None:
        """Make an empty file next to the images."""
        path = self._owner_record(name, owner)
        if os.path.exists(path):  # noqa: PTH110  a third of the time, for every upload
            return
        # An image that is stored already is answered even where nothing can be written; its sender cannot see it then.
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o640)

    def has_owner(self, name: str, owner: str) -> bool:
        """Return whether there is that file."""
        return "/" not in name and os.path.isfile(self._owner_record(name, owner))  # noqa: PTH113  raises nothing

    def remove_unused_owners(self) -> None:
        """Remove the records of images that are gone."""
        for record in (self.folder / OWNERS_FOLDER).glob("*/*"):
            if not (self.folder / record.name).exists():
                record.unlink(missing_ok=True)

    def check_writable(self) -> None:
        """Write and remove a small file to find out."""
        with self._written_beside(self.folder / PROBE_NAME, b"\0" * PROBE_BYTES):
            pass

    def _owner_record(self, name: str, owner: str) -> Path:
        # A digest: file systems that ignore case would mix up the names of keys.
        return self.folder / OWNERS_FOLDER / hashlib.sha256(owner.encode()).hexdigest()[:32] / name

    def _found_under_another_suffix(self, name: str, data: bytes) -> str | None:
        stem = Path(name).stem
        for suffix in USUAL_SUFFIXES:
            path = self.folder / (stem + suffix)
            with suppress(OSError):
                found, status = _inspect(path, data)
                if found is _Content.SAME and status is not None and refresh(path, status) is not None:
                    return path.name
        return None

    def _place(self, path: Path, data: bytes, check: Check | None) -> bool:
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
            with self._written_beside(path, data) as temporary:
                if _publish(temporary, path):
                    return True
        return False

    @contextmanager
    def _written_beside(self, path: Path, data: bytes) -> Iterator[str]:
        """Write a temporary file in the same folder: no reader ever gets half an image."""
        check_room(self.folder, len(data), self._min_free_bytes)
        # A string: a path of pathlib takes ten calls to make, for every upload.
        temporary = f"{self.folder}/.{path.name}.{os.urandom(8).hex()}.part"
        descriptor = os.open(temporary, _WRITING, 0o640)
        try:
            try:
                written = os.write(descriptor, data)
                while written < len(data):
                    written += os.write(descriptor, memoryview(data)[written:])
            finally:
                os.close(descriptor)
            yield temporary
        finally:
            # What stays behind is removed by clean-up; the image itself is published, or its own error is raised.
            with suppress(OSError):
                os.unlink(temporary)  # noqa: PTH108  a string, as above


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


def _publish(temporary: str, path: Path) -> bool:
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


def _rename_locked(temporary: str, path: Path) -> bool:
    """Do what a link does where there are none: here every writer comes this way, so the lock excludes them all.

    Without the lock only a collision name is given, under which there can be no other content.
    """
    with folder_lock(path.parent) as is_held:
        is_collision_name = "-" in path.stem
        if os.path.lexists(path) or not (is_held or is_collision_name):
            return False
        Path(temporary).rename(path)
        return True


def check_room(folder: Path, size: int, min_free_bytes: int) -> None:
    """Raise StorageFull where so many bytes would leave less than this free, or hardly another file.

    The folder is made where it is missing.
    """
    try:
        disk = os.statvfs(folder)
    except FileNotFoundError:
        folder.mkdir(parents=True, exist_ok=True)
        disk = os.statvfs(folder)
    # A file system without a limit of files reports 0.
    is_out_of_files = disk.f_files and disk.f_favail < MIN_FREE_FILES
    if is_out_of_files or disk.f_bavail * disk.f_frsize - size < min_free_bytes:
        raise StorageFull(f"the disk of {folder} is full")


def _whole(file: FileIO, size: int) -> bytes:
    content = file.read(size + 1)
    while len(content) < size and (more := file.read(size)):  # beyond 2 GB a call
        content += more
    if len(content) > size:
        raise OSError(errno.EAGAIN, "it grew while it was read")
    return content


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
