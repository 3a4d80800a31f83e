"""A ZIP archive with a folder of images for each class, read one image at a time and trusted in nothing.

Nothing is unpacked to a disk, so that no name leads anywhere. The archive's own figures are bounded before it is
read: the list of its entries, the size of each, and all of them together.
"""

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, NamedTuple

import settings
from problems import Problem
from storage.images.names import SUFFIXES
from wire.tables import feedback

MAX_ARCHIVE_BYTES = 64 * 1024**2
MAX_IMAGES = 300
# Of all images together; photographs do not become smaller in an archive, drawings do.
MAX_UNPACKED_BYTES = 512 * 1024**2
MAX_RATIO = 50
# Entries that are no images, such as folders and notes, are left out; an entry takes 46 bytes and its name.
MAX_ENTRIES = 2000
MAX_LIST_BYTES = 512 * 1024
# <label>/<image>, below one more folder at most.
MAX_DEPTH = 3
_END = struct.Struct("<4s4H2LH")
_END_MARK, _MAX_COMMENT = b"PK\x05\x06", 65_535
# Of ZIP64, just before the end: it leads to a list with bounds of its own.
_LOCATOR = struct.Struct("<4sLQL")
_LOCATOR_MARK = b"PK\x06\x07"
_ENCRYPTED = 1
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})


class Found(NamedTuple):
    """An image of an archive: its class, its file name, and its bytes; `fault` is why there are none."""

    label: str
    name: str
    data: bytes = b""
    fault: str = ""


def images_in(file: IO[bytes]) -> Iterator[Found]:
    """Yield the images of an archive in its order; raise Problem, before the first one, where it cannot be used."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _MAX_COMMENT - _END.size - _LOCATOR.size))
    _check_list(file.read())
    try:
        with zipfile.ZipFile(file) as archive:
            entries = [entry for entry in archive.infolist() if _is_image(entry.filename)]
            _check_entries(entries, size)
            for entry in entries:
                yield _read(archive, entry)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, RuntimeError) as fault:
        raise _refused(f"it cannot be read: {fault}") from None


def _check_list(tail: bytes) -> None:
    """Refuse a list of entries that is too long to be read, by the end of a file; raise Problem.

    The list's description is searched where the library will: just before the end, else the last one before that.
    """
    at = len(tail) - _END.size
    if at < 0 or tail[at : at + 4] != _END_MARK or tail[-2:] != b"\0\0":
        at = tail.rfind(_END_MARK)
    if at < 0 or at + _END.size > len(tail):
        raise _refused("it is no ZIP archive")
    _, _, _, _, entries, list_bytes, _, _ = _END.unpack_from(tail, at)
    if tail[max(0, at - _LOCATOR.size) : at].startswith(_LOCATOR_MARK):
        raise _refused("it is in the form of archives above 4 GB (ZIP64)")
    if entries > MAX_ENTRIES or list_bytes > MAX_LIST_BYTES:
        raise _refused(f"it has more than {MAX_ENTRIES} entries, or very long names")


def _check_entries(entries: list[zipfile.ZipInfo], size: int) -> None:
    if not entries:
        raise _refused("it holds no images: a folder for each class is expected in it")
    if len(entries) > MAX_IMAGES:
        raise _refused(f"it holds {len(entries)} images; at most {MAX_IMAGES} are taken at a time")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > min(MAX_UNPACKED_BYTES, MAX_RATIO * size):
        raise _refused(f"its images have {unpacked} bytes, more than {MAX_RATIO} times its own, or too many")
    for entry in entries:
        if _place(entry.filename) is None:
            name = entry.filename[:100]
            raise _refused(f"{name!r} is in no folder that names a class: <class>/<image> is expected")


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Found:
    """Return an entry; a fault in it does not affect the others."""
    label, name = _place(entry.filename) or ("", entry.filename)
    if entry.flag_bits & _ENCRYPTED:
        return Found(label, name, fault="it is encrypted")
    if entry.compress_type not in _METHODS:
        return Found(label, name, fault="it is compressed in an unusual way")
    if entry.file_size > settings.MAX_UPLOAD_BYTES:
        return Found(label, name, fault=f"it has more than {settings.MAX_UPLOAD_BYTES} bytes")
    try:
        with archive.open(entry) as file:
            return Found(label, name, file.read(entry.file_size))
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, RuntimeError) as fault:
        return Found(label, name, fault=f"it is damaged: {fault}")


def _is_image(name: str) -> bool:
    """Return whether an entry is meant: no folder, nothing hidden, and none of what macOS adds."""
    path = PurePosixPath(name)
    is_hidden = path.name.startswith(".") or "__MACOSX" in path.parts
    return not name.endswith("/") and not is_hidden and path.suffix.lower() in SUFFIXES


def _place(name: str) -> tuple[str, str] | None:
    """Return the class and the file name of an entry; None where it has not the form of one."""
    parts = name.split("/")
    if not 2 <= len(parts) <= MAX_DEPTH or "\\" in name or not name.isprintable():
        return None
    if any(part in {"", ".", ".."} or (":" in part and at == 0) for at, part in enumerate(parts)):
        return None
    # Exports write labels as folders' names; a name that was cut holds no label.
    label = feedback.label_of(parts[-2])
    return None if label is None else (label, parts[-1])


def _refused(reason: str) -> Problem:
    return Problem(422, "archive_refused", f"The archive cannot be used: {reason}.")
