"""Uploads: the images in the body of a request (form, raw bytes, or base64 in JSON), checked and stored."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from flask import Flask, Request, current_app
from werkzeug.datastructures import FileStorage

import offload
import settings
import utils
from auth import access
from images import json_stream, stored
from images.json_stream import Base64Decoder, LongString, MalformedJson
from images.multipart import MAX_IMAGES, MAX_OVERHEAD_BYTES
from observability import metrics
from problems import Problem, UnusableFile
from storage.errors import StorageError, StorageUnavailable
from storage.images.folder import image_folder
from storage.images.opening import open_images
from storage.images.port import Identity, ImageStore
from storage.s3 import server_of
from wire import QueueFull
from wire.decode_cost import decode_ms

FORM, URL_ENCODED = "multipart/form-data", "application/x-www-form-urlencoded"
_FORMS = frozenset({FORM, URL_ENCODED, "text/plain", ""})
# Hashing and writing more than this takes long enough for others to notice.
BLOCKING_BYTES = 1024**2
# Stored images whose cost is remembered, some 200 bytes each.
MAX_COSTS = 4096
# Requests to S3 at a time in each process, and seconds beyond its timeout within which one has to get a thread.
S3_THREADS, S3_GRACE_S = 32, 0.3
# SageMaker calls an image of any kind application/x-image. Under any other type an image is taken, too: curl, axios and
# Java's HttpURLConnection call any bytes a URL-encoded form unless they are given a type, others call them a text.
_RAW_TYPES = frozenset({"", "application/octet-stream", "application/x-image"})
_DATA_URL = "data:image/"
CheckCost = Callable[[int], None]
# Three bytes are four letters of base64, and a line of 64 may end with CRLF, four characters in JSON.
_BASE64_GROWTH = 4 / 3 * 68 / 64
_EXPECTED_JSON = f'Send {{"image": "<base64>"}}, or {{"images": ["<base64>", ...]}} with 1 to {MAX_IMAGES} images.'
_BASE64 = "base64, standard or URL-safe, with or without data:image/...;base64, before it"


class StoredImage(NamedTuple):
    """An image that is stored.

    `sha256` is that of the uploaded bytes, empty where the result cache is off; `decode_ms` is how long decoding takes.
    """

    name: str
    sha256: str = ""
    decode_ms: int = 0


class NoImage(Problem):
    """The request holds a file that is no image, though its name or type claims that it is one."""

    def __init__(self) -> None:
        detail = f"The file is not an image that can be used. Choose a {utils.accepted()}."
        super().__init__(415, "unsupported_type", detail)


def image_store() -> ImageStore:
    """Return the store of images: the folder that was set on the app since it was made, else what the settings say."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    folder = str(app.config["UPLOAD_FOLDER"])
    if folder != app.extensions["sightline.upload_folder"]:
        return image_folder(folder, settings.MIN_FREE_BYTES)
    if settings.IMAGE_STORE:
        return _image_bucket()
    return image_folder(settings.UPLOAD_FOLDER, settings.MIN_FREE_BYTES)


@cache
def _image_bucket() -> ImageStore:
    return open_images(settings.IMAGE_STORE, server_of(settings), run=_s3_threads().run)


@cache
def _s3_threads() -> offload.Pool:
    return offload.Pool(S3_THREADS, settings.S3_TIMEOUT_S + S3_GRACE_S, StorageUnavailable)


def files_of(request: Request) -> tuple[list[FileStorage], bool]:
    """Return the files that a request has for /predict, and whether they are a batch; raise UnusableFile.

    A form with several files is a batch, and so is a list in JSON. Together they may be as large as one may be.
    """
    if request.mimetype == "application/json":
        return _json_files(request)
    if request.mimetype == FORM:
        request.max_content_length = settings.MAX_UPLOAD_BYTES + MAX_OVERHEAD_BYTES
        files = request.files.getlist("file")
        if files:
            return files, len(files) > 1
    return [file_of(request)], False


def file_of(request: Request, fields: Sequence[str] = ("file",), *, raw: bool = True) -> FileStorage:
    """Return the one file of a request: the first of these fields of a form, or the whole body if `raw`.

    Raise UnusableFile if there is none.
    """
    request.max_content_length = settings.MAX_UPLOAD_BYTES + MAX_OVERHEAD_BYTES
    if raw and request.mimetype != FORM:
        return _raw_file(request)
    _check_is_form(request)
    # No other form can hold a file, so none has to be read.
    files = request.files if request.mimetype == FORM else {}
    for field in fields:
        if field in files:
            return files[field]
        if request.mimetype == FORM and request.form.get(field, "").startswith(_DATA_URL):
            return as_file(decode_base64(request.form[field]))
    wanted = " or ".join(map(repr, fields))
    raise UnusableFile(f"No file was sent as form field {wanted}: {_no_file(request)}. Choose an image first.")


def _check_is_form(request: Request) -> None:
    """Refuse a body that is no form, rather than redirecting a program that expects an answer to the page."""
    is_form = request.mimetype in _FORMS
    if request.mimetype != FORM and (utils.kind_of(request.stream.read(utils.HEAD_BYTES)) or not is_form):
        detail = f"A body of type {request.mimetype or 'none'} is no form. Send an image itself, or JSON, to /predict."
        raise Problem(415, "unsupported_type", detail)


def _no_file(request: Request) -> str:
    """Return what a form has in place of the file."""
    if request.mimetype != FORM:
        return f"the body is {request.mimetype or 'of no type'}, not {FORM}"
    if fault := getattr(request.form, "fault", ""):
        return f"the form is malformed, {fault}"
    names = [repr(name[:40]) for name in (*request.files, *request.form)]
    return f"the form has {', '.join(names[:5])}" if names else "the form is empty"


def _raw_file(request: Request) -> FileStorage:
    """Return a file of a body that is an image or its data URL and nothing else, of any type."""
    mimetype, stream = request.mimetype, request.stream
    declared = mimetype.startswith("image/")
    is_of_image_type = declared or mimetype in _RAW_TYPES
    data = stream.read(-1 if is_of_image_type else utils.HEAD_BYTES)
    is_data_url = data.startswith(_DATA_URL.encode())
    is_image = is_data_url or utils.kind_of(data[: utils.HEAD_BYTES]) is not None
    if not is_image and not is_of_image_type:
        raise UnusableFile(f"A body of type {mimetype} cannot be used. Send a form with a file, or an image.")
    if not is_of_image_type:
        data += stream.read()
    if is_data_url:
        return as_file(decode_base64(data.decode("ascii", "replace")))
    if not is_image and not (declared and data):
        raise UnusableFile("The body is not an image." if data else "The body is empty.")
    return as_file(data)


def as_file(data: bytes) -> FileStorage:
    """Return a file with an image's bytes, named by its format; bytes that are no image claim to be a JPEG."""
    kind = utils.kind_of(data[: utils.HEAD_BYTES]) or utils.JPEG
    return FileStorage(BytesIO(data), f"image{kind.extension}")


def as_files(images: list[bytes]) -> list[FileStorage]:
    """Return a file for each image, and empty the list: an image that is stored is to leave memory."""
    files = [as_file(data) for data in images]
    images.clear()
    return files


def limit_json_body(request: Request) -> None:
    """Allow a JSON body that is as long as the largest image is in base64."""
    request.max_content_length = int(settings.MAX_UPLOAD_BYTES * _BASE64_GROWTH) + json_stream.MAX_REST_BYTES


def read_json(request: Request) -> Any:
    """Return the JSON of a body, whose images are LongString; raise UnusableFile."""
    limit_json_body(request)
    try:
        return json_stream.read(request.stream)
    except MalformedJson as error:
        raise UnusableFile(f"The body is not JSON that can be used: {error}.") from None


def _json_files(request: Request) -> tuple[list[FileStorage], bool]:
    """Return the images of `{"image": "…"}` or `{"images": ["…", …]}`, and whether it is the list."""
    document = read_json(request)
    if not isinstance(document, dict):
        raise UnusableFile(f"The body is no JSON object. {_EXPECTED_JSON}")
    if others := sorted(set(document) - {"image", "images"}):
        named = ", ".join(repr(name[:40]) for name in others[:5])
        hint = "options such as top_k belong in the query"
        raise UnusableFile(f"The JSON object has the unknown members {named}; {hint}. {_EXPECTED_JSON}")
    if len(document) != 1:
        raise UnusableFile(f"The JSON object has {len(document)} of the members 'image' and 'images'. {_EXPECTED_JSON}")
    if "image" in document:
        return [as_file(decode_base64(document["image"]))], False
    images = document["images"]
    if not isinstance(images, list) or not 1 <= len(images) <= MAX_IMAGES:
        count = f"has {len(images)} elements" if isinstance(images, list) else "is no list"
        raise UnusableFile(f"'images' {count}. {_EXPECTED_JSON}")
    return as_files([decode_base64(text) for text in images]), True


def decode_base64(text: Any) -> bytes:
    """Return the bytes of base64 text, with or without the head of a data URL before it; raise UnusableFile."""
    if isinstance(text, LongString):
        return text.content
    if not isinstance(text, str):
        raise UnusableFile(f"An image in JSON is a string of {_BASE64}; one of them is no string.")
    decoder = Base64Decoder()
    try:
        decoder.feed(text.encode("ascii", "replace"))
        return decoder.finish()
    except MalformedJson:
        raise UnusableFile(f"An image in JSON is {_BASE64}; one of them is something else.") from None


def store_file(file: FileStorage, images: ImageStore, check_cost: CheckCost | None = None) -> StoredImage:
    """Check a file, store it and close it; raise UnusableFile or Problem.

    `check_cost` is called before an expensive image is written that does not exist yet, with the milliseconds that
    decoding is estimated to take; it raises QueueFull where such an image has no room in the queue.
    """
    try:
        data = file.stream.read()
        kind = _checked(file.filename or "", data)
        if not utils.allowed_file(file.filename or ""):
            file.filename = f"image{kind.extension}"
        if images.is_remote:
            image = _s3_threads().run(partial(_recent.store, images, file, data, check_cost))
        elif len(data) <= BLOCKING_BYTES:
            image = _recent.store(images, file, data, check_cost)
        else:
            image = offload.run(partial(_recent.store, images, file, data, check_cost))
        if settings.API_KEYS_FILE:
            access.record_owner(images, image.name)
        return image
    except QueueFull as refusal:
        metrics.count_drop(refusal)
        raise
    finally:
        file.close()


def _checked(name: str, data: bytes) -> utils.Kind:
    """Return the format of a file by its content; raise UnusableFile or Problem.

    The name decides only how a file is refused: without an image's suffix it never claimed to be one.
    """
    if not data:
        raise UnusableFile(
            "The file is empty. Choose another image." if name else "No file was chosen. Choose an image."
        )
    kind = utils.kind_of(data[: utils.HEAD_BYTES])
    if kind is None and not utils.allowed_file(name):
        raise UnusableFile(f"The file is not an image that can be used. Choose a {utils.accepted()}.")
    if len(data) > settings.MAX_UPLOAD_BYTES:
        detail = f"The image has {len(data)} bytes, more than the {settings.MAX_UPLOAD_BYTES} that are accepted."
        raise Problem(413, "too_large", detail)
    if kind is None or kind.name not in settings.FORMATS.split(","):
        raise NoImage
    return kind


def forget_body(request: Request) -> None:
    """Free the body, and count it no longer: waiting for the answer takes longer than anything else."""
    # A form may have files that are not used.
    request.close()
    forget = request.environ.get("sightline.forget_body")
    if forget is not None:
        forget()


def stored_image(images: ImageStore, name: str) -> StoredImage | None:
    """Return an image that is stored already, by its name; None where there is none.

    A request for one has a few bytes, the image up to 20 MB: its cost is estimated once, not each time.
    """
    opened = stored.open_stored(images, name)
    if opened is None:
        return None
    with opened[0] as file:
        cost = _costs.get((images, name))
        if cost is None:
            cost = _costs[images, name] = offload.run(lambda: decode_ms(file.read()))
            if len(_costs) > MAX_COSTS:
                del _costs[next(iter(_costs))]
    return StoredImage(name, decode_ms=cost)


class _Entry(NamedTuple):
    """An image whose content is known, as long as its identity is the same."""

    name: str
    identity: Identity


# Where it is stored, its SHA-256, and the suffix that it was sent under.
_Key = tuple[ImageStore, str, str]


class RecentUploads:
    """The images that this process stored lately, by SHA-256: one that is sent again needs no MD5 and no comparison.

    An entry takes a few hundred bytes; beyond `max_entries` the oldest are forgotten.
    """

    def __init__(self, max_entries: int = 4096) -> None:
        self._max_entries = max_entries
        # Threads share it: each of its methods is atomic, iterating over it is not.
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()

    def store(
        self, images: ImageStore, file: FileStorage, data: bytes, check_cost: CheckCost | None = None
    ) -> StoredImage:
        """Store the content of a file, unless it is known to be there; with its SHA-256 if the result cache is on."""
        cost = decode_ms(data)
        check = partial(check_cost, cost) if check_cost is not None and cost else None
        if not settings.RESULT_CACHE:
            return StoredImage(images.put(utils.get_file_hash(file), data, check), "", cost)
        sha256, suffix = hashlib.sha256(data).hexdigest(), PurePosixPath(file.filename or "").suffix
        key = (images, sha256, suffix)
        entry = self._entries.get(key)
        if entry is not None and self._is_there(key, entry):
            return StoredImage(entry.name, sha256, cost)
        name = images.put(utils.get_file_hash(file), data, check)
        with suppress(OSError, StorageError):
            self._add(key, name, images.identify(name, sha256))
        return StoredImage(name, sha256, cost)

    def _is_there(self, key: _Key, entry: _Entry) -> bool:
        """Return whether an image is still there; it counts as used now."""
        try:
            identity = key[0].renew(entry.name, entry.identity)
        except (OSError, StorageError):
            # A place that cannot be asked. The answer may be cached; a worker reports what it really reads.
            return True
        if identity is not None and identity != entry.identity:
            self._add(key, entry.name, identity)
        return identity is not None

    def _add(self, key: _Key, name: str, identity: Identity) -> None:
        while len(self._entries) >= self._max_entries and key not in self._entries:
            with suppress(KeyError):  # another thread has just emptied it
                self._entries.popitem(last=False)
        self._entries[key] = _Entry(name, identity)


_recent = RecentUploads()
# Milliseconds that decoding takes, by the store and name of an image; a name keeps its content.
_costs: dict[tuple[ImageStore, str], int] = {}
