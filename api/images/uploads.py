"""Pictures on their way in: the checks, once for every way to send one."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from flask import Request
from werkzeug.datastructures import FileStorage

import middleware
import offload
import settings
import utils
from auth import owners
from images import sniffing, store
from images.multipart import MAX_OVERHEAD_BYTES
from images.recent_uploads import RecentUploads
from observability import metrics
from problems import Problem
from wire.decode_cost import decode_ms
from wire.errors import QueueFull

# Hashing and writing more than this takes long enough for others to notice.
BLOCKING_BYTES = 1024**2
_recent = RecentUploads()
# The last is what SageMaker calls a picture of any kind.
_RAW_TYPES = frozenset({"", "application/octet-stream", "application/x-image"})


class Picture(NamedTuple):
    """A picture that is stored: its name, its SHA-256 where the result cache is on, and what it costs to decode."""

    name: str
    sha256: str = ""
    decode_ms: int = 0


class UnusableFile(Exception):  # noqa: N818  it is the client's file
    """The request holds no file to work with; `detail` says why."""

    @property
    def detail(self) -> str:
        """What the client is told."""
        return str(self)


class NoImage(Problem):
    """The request holds a file that is no image, though its name or type says that it is one."""

    def __init__(self) -> None:
        detail = f"The file is not an image that can be used. Choose a {sniffing.ACCEPTED}."
        super().__init__(415, "unsupported_type", detail)


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


def files_of(request: Request) -> tuple[list[FileStorage], bool]:
    """Return the files of a form that has more than one, and whether it has.

    Together they may be as large as one may be.
    """
    if request.mimetype != "multipart/form-data":
        return [], False
    request.max_content_length = settings.MAX_UPLOAD_BYTES + MAX_OVERHEAD_BYTES
    files = request.files.getlist("file")
    return (files, True) if len(files) > 1 else ([], False)


def take(file: FileStorage, folder: Path) -> Picture:
    """Check one of several files and store it; raises UnusableFile or Problem."""
    return _kept(file, folder)


def as_file(data: bytes) -> FileStorage:
    """Return a file with a picture's bytes, named by what they are; one that is no picture claims to be a JPEG."""
    kind = sniffing.kind_of(data[: sniffing.HEAD_BYTES]) or sniffing.JPEG
    return FileStorage(BytesIO(data), f"picture{kind.extension}")


def as_files(images: list[bytes]) -> list[FileStorage]:
    """Return a file for each image, and empty the list: an image that is stored is to leave memory."""
    files = [as_file(data) for data in images]
    images.clear()
    return files


def forget_body(request: Request) -> None:
    """Let go of the body, and count it no longer: waiting for the answer takes longer than anything else."""
    # Among the files of a form may be some that nobody asked for.
    request.close()
    request.environ.get("sightline.forget_body", _nothing)()


def _kept(file: FileStorage, folder: Path) -> Picture:
    try:
        data = file.stream.read()
        kind = _checked(file.filename or "", data)
        if not utils.allowed_file(file.filename or ""):
            file.filename = f"picture{kind.extension}"
        picture = _in_thread_if_large(file, data, folder)
        owners.record(folder, picture.name)
        return picture
    except QueueFull as refusal:
        metrics.count_drop(refusal)
        raise
    finally:
        file.close()


def _checked(name: str, data: bytes) -> sniffing.Kind:
    """Return what kind of picture a file is, by its content; raise UnusableFile or Problem.

    The name decides only how a file is refused: without a picture's suffix it never claimed to be one.
    """
    kind = sniffing.kind_of(data[: sniffing.HEAD_BYTES])
    if kind is None and not utils.allowed_file(name):
        raise UnusableFile(_not_a_picture(name, data))
    if not data:
        raise UnusableFile("The file is empty. Choose another image.")
    if len(data) > settings.MAX_UPLOAD_BYTES:
        raise Problem(
            413,
            "too_large",
            f"The picture has {len(data)} bytes, more than the {settings.MAX_UPLOAD_BYTES} that are taken.",
        )
    if kind is None:
        raise NoImage
    return kind


def _not_a_picture(name: str, data: bytes) -> str:
    if data:
        return f"The file is not a picture that can be used. Choose a {sniffing.ACCEPTED}."
    return "The file is empty. Choose another picture." if name else "No file was chosen. Choose a picture first."


def _form_file(request: Request, fields: Sequence[str]) -> FileStorage:
    # No other form can hold a file, and none needs to be read to say so.
    files = request.files if request.mimetype == "multipart/form-data" else {}
    for field in fields:
        if field in files:
            return files[field]
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


def _raw_file(request: Request) -> FileStorage:
    """Make a file of a body that is a picture and nothing else, whether or not it says so."""
    declared = request.mimetype.startswith("image/")
    if not declared and request.mimetype not in _RAW_TYPES:
        raise UnusableFile(f"A body of type {request.mimetype} cannot be used. Send a form with a file, or a picture.")
    data = request.stream.read()
    is_picture = sniffing.kind_of(data[: sniffing.HEAD_BYTES]) is not None
    if not is_picture and not (declared and data):
        raise UnusableFile("The body is not an image." if data else "The body is empty.")
    return as_file(data)


def _in_thread_if_large(file: FileStorage, data: bytes, folder: Path) -> Picture:
    check_cost = middleware.expensive_check()

    def work() -> Picture:
        cost = decode_ms(data)

        def check() -> None:
            check_cost(cost)

        if settings.RESULT_CACHE:
            return Picture(*_recent.store(folder, file, data, check), cost)
        return Picture(store.store(folder, utils.get_file_hash(file), data, check), decode_ms=cost)

    return work() if len(data) <= BLOCKING_BYTES else offload.run(work)


def stored_picture(folder: Path, name: str) -> Picture | None:
    """Return a picture that is stored already, by its name; None where there is none."""
    opened = store.open_stored(folder, name)
    if opened is None:
        return None
    with opened[0] as file:
        return Picture(name, decode_ms=decode_ms(file.read()))


def _nothing() -> None:
    """Stand in for a server that counts no bodies."""
