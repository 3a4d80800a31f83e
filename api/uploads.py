"""Pictures on their way in: the checks, once for every way to send one, and the store."""

import errno
import hashlib
import os
import secrets
import stat
import uuid
from collections.abc import Sequence
from io import BufferedReader, BytesIO, FileIO
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from flask import Request
from werkzeug.datastructures import FileStorage

import blocking
import settings
import signatures
import utils
from forms import MAX_OVERHEAD_BYTES
from known_pictures import KnownPictures
from problems import Problem

# Hashing and writing more than this takes long enough for others to notice.
BLOCKING_BYTES = 1024**2
STORAGE_RETRY_S = 60
_known = KnownPictures()
# The last is what SageMaker calls a picture of any kind.
_RAW_TYPES = frozenset({"", "application/octet-stream", "application/x-image"})


class Picture(NamedTuple):
    """A picture that is stored: the name that it has, and its SHA-256 where the result cache is on."""

    name: str
    sha256: str


class UnusableFile(Exception):  # noqa: N818  it is the client's file
    """The request holds no file to work with; the message says why."""


class EmptyFile(UnusableFile):
    """The request holds a file with nothing in it."""


def receive(request: Request, folder: Path, *, raw: bool, fields: Sequence[str] = ("file",)) -> Picture:
    """Check the request's picture and store it; raises UnusableFile or Problem.

    `raw` says that a body may also be the picture itself; in a form it is the file of the first of these fields.
    """
    request.max_content_length = settings.MAX_UPLOAD_BYTES + MAX_OVERHEAD_BYTES
    is_form = not raw or request.mimetype == "multipart/form-data"
    file = _form_file(request, fields) if is_form else _raw_file(request)
    picture = _kept(file, folder)
    forget_body(request)
    return picture


def files_of(request: Request) -> list[FileStorage]:
    """Give the files of a form that has more than one; together they may be as large as one may be."""
    if request.mimetype != "multipart/form-data":
        return []
    request.max_content_length = settings.MAX_UPLOAD_BYTES + MAX_OVERHEAD_BYTES
    files = request.files.getlist("file")
    return files if len(files) > 1 else []


def take(file: FileStorage, folder: Path) -> Picture:
    """Check one of several files and store it; raises UnusableFile or Problem."""
    return _kept(_checked(file), folder)


def as_file(data: bytes) -> FileStorage:
    """Make a file of a picture's bytes, named by what they are."""
    kind = signatures.kind_of(data[: signatures.HEAD_BYTES])
    return FileStorage(BytesIO(data), "picture" + (kind.extension if kind else signatures.JPEG.extension))


def forget_body(request: Request) -> None:
    """Say that the body's bytes are in use no longer: waiting for the answer takes longer than anything else."""
    request.environ.get("sightline.forget_body", _nothing)()


def _kept(file: FileStorage, folder: Path) -> Picture:
    try:
        data = file.stream.read()
        _check_content(data)
        return _in_thread_if_large(file, data, folder)
    finally:
        file.close()


def _form_file(request: Request, fields: Sequence[str]) -> FileStorage:
    for field in fields:
        if field in request.files:
            return _checked(request.files[field])
    wanted = " or ".join(map(repr, fields))
    raise UnusableFile(
        f"No file was sent as form field {wanted}: {_form_without_file(request)}. Choose an image first."
    )


def _form_without_file(request: Request) -> str:
    """Return what a form has in place of the file."""
    if fault := getattr(request, "form_fault", ""):
        return f"the form is malformed, {fault}"
    if request.mimetype != "multipart/form-data":
        return f"the body is {request.mimetype or 'of no type'}, not multipart/form-data"
    names = [repr(name[:40]) for name in (*request.files, *request.form)]
    return f"the form has {', '.join(names[:5])}" if names else "the form is empty"


def _checked(file: FileStorage) -> FileStorage:
    if not file.filename:
        raise UnusableFile("No file was chosen. Choose a picture first.")
    if not utils.allowed_file(file.filename):
        raise UnusableFile(f"This type of file cannot be used. Choose a {signatures.ACCEPTED}.")
    return file


def _raw_file(request: Request) -> FileStorage:
    """Make a file of a body that is a picture and nothing else, whether or not it says so."""
    declared = request.mimetype.startswith("image/")
    if not declared and request.mimetype not in _RAW_TYPES:
        raise UnusableFile(f"A body of type {request.mimetype} cannot be used. Send a form with a file, or a picture.")
    data = request.stream.read()
    kind = signatures.kind_of(data[: signatures.HEAD_BYTES])
    if kind is None and not (declared and data):
        raise EmptyFile("The body is empty.") if not data else UnusableFile("The body is not a picture.")
    return FileStorage(BytesIO(data), "picture" + (kind.extension if kind else ""))


def _check_content(data: bytes) -> None:
    if not data:
        raise EmptyFile("The file is empty. Choose another picture.")
    if len(data) > settings.MAX_UPLOAD_BYTES:
        raise Problem(
            413,
            "too_large",
            f"The picture has {len(data)} bytes, more than the {settings.MAX_UPLOAD_BYTES} that are taken.",
        )
    if signatures.kind_of(data[: signatures.HEAD_BYTES]) is None:
        raise Problem(
            415, "unsupported_type", f"The file is not a picture that can be used. Send a {signatures.ACCEPTED}."
        )


def _in_thread_if_large(file: FileStorage, data: bytes, folder: Path) -> Picture:
    def work() -> Picture:
        if settings.RESULT_CACHE:
            return _store_or_recognise(file, data, folder)
        return Picture(store(folder, utils.get_file_hash(file), data), "")

    return work() if len(data) <= BLOCKING_BYTES else blocking.run(work)


def _store_or_recognise(file: FileStorage, data: bytes, folder: Path) -> Picture:
    sha256, extension = hashlib.sha256(data).hexdigest(), PurePosixPath(file.filename or "").suffix
    name = _known.find(folder, sha256, extension, len(data))
    if name is None:
        name = store(folder, utils.get_file_hash(file), data)
        _known.add(folder, sha256, extension, name)
    return Picture(name, sha256)


def store(folder: Path, name: str, data: bytes) -> str:
    """Keep the bytes under their hash name, and give the name that they really have.

    A picture that is there already is kept and counts as new. Other bytes of the same MD5 get a name of their own.
    """
    path = folder / name
    try:
        with _opened(path) as file:
            is_same = os.fstat(file.fileno()).st_size == len(data) and file.read() == data
            is_damaged = not is_same and _md5_of(file) != path.stem
        if is_same:
            os.utime(path)
            return name
    except OSError:
        # None there, or a link, or removed by clean-up this very moment.
        return _write(folder, name, data)
    if is_damaged:
        return _write(folder, name, data)
    return store(folder, collision_stem(hashlib.sha256(data).digest()) + path.suffix, data)


def collision_stem(sha256: bytes) -> str:
    """Name bytes whose MD5 is taken: a UUID that is made of their SHA-256, so that the name still tells the content."""
    return str(uuid.UUID(bytes=sha256[:16], version=4))


def _opened(path: Path) -> FileIO:
    """Open a regular file and nothing else; raises OSError."""
    # Neither a link nor a pipe to wait for, whoever may have put it there.
    file = FileIO(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def _md5_of(file: FileIO) -> str:
    """Give the MD5 of a file, which says whether it is what its name says, as after a power cut it may not be."""
    file.seek(0)
    return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _write(folder: Path, name: str, data: bytes) -> str:
    """Write to a temporary file beside, then rename: no reader ever sees half a picture."""
    _check_free_space(folder, len(data))
    temporary = folder / f".{name}.{secrets.token_hex(8)}.part"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    try:
        with open(descriptor, "wb", buffering=0) as file:  # noqa: PTH123  a descriptor, not a path
            _write_all(file, data)
        temporary.replace(folder / name)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return name


def _write_all(file: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _check_free_space(folder: Path, size: int) -> None:
    try:
        disk = os.statvfs(folder)
    except FileNotFoundError:
        folder.mkdir(parents=True, exist_ok=True)
        disk = os.statvfs(folder)
    if disk.f_bavail * disk.f_frsize - size < settings.MIN_FREE_BYTES:
        raise Problem(507, "storage_full", "The service's disk is full.", retry_after_s=STORAGE_RETRY_S)


def open_stored(folder: Path, name: str) -> tuple[BufferedReader, signatures.Kind] | None:
    """Open a stored picture for reading and tell its kind by its content; None where there is none of that name."""
    if not utils.allowed_file(name) or "/" in name or "\0" in name:
        return None
    try:
        file: BufferedReader = BufferedReader(_opened(folder / name))
    except OSError:
        return None
    kind = signatures.kind_of(file.peek(signatures.HEAD_BYTES))
    if kind is None:
        file.close()
        return None
    return file, kind


def is_stored(folder: Path, name: str) -> bool:
    """Say whether there is a picture of that name."""
    opened = open_stored(folder, name)
    if opened is not None:
        opened[0].close()
    return opened is not None


def sha256_of(folder: Path, name: str) -> str:
    """Give the SHA-256 of a stored picture; empty where there is none of that name."""
    opened = open_stored(folder, name)
    if opened is None:
        return ""
    with opened[0] as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _nothing() -> None:
    """Stand in for a server that counts no bodies."""
