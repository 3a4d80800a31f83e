"""Image files: the formats that are accepted, recognized by name or by content, and the name of an upload."""

import hashlib
from pathlib import PurePosixPath
from typing import NamedTuple

from werkzeug.datastructures import FileStorage


class Kind(NamedTuple):
    """An image format: the extension that an upload without one is given, and its media type."""

    extension: str
    media_type: str


JPEG = Kind(".jpg", "image/jpeg")
PNG = Kind(".png", "image/png")
GIF = Kind(".gif", "image/gif")
BMP = Kind(".bmp", "image/bmp")
WEBP = Kind(".webp", "image/webp")
KINDS = (JPEG, PNG, GIF, BMP, WEBP)
ACCEPTED = "JPEG, PNG, WebP, GIF or BMP"
ALLOWED_EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp"})

# Enough of a file for `kind_of`.
HEAD_BYTES = 16
_STARTS = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"BM", BMP),
)


def kind_of(head: bytes) -> Kind | None:
    """Return the format of an image by its first HEAD_BYTES; None if it is not accepted. Decoding is the worker's."""
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    return None


def allowed_file(filename: str) -> bool:
    """Return whether the last suffix of a name is one of an image, in any case."""
    return PurePosixPath(filename).suffix.lower() in ALLOWED_EXTENSIONS


def get_file_hash(file: FileStorage) -> str:
    """Return the MD5 of the content with the original extension, and rewind the file."""
    file.stream.seek(0)
    # MD5 names the file by contract; nothing relies on it being hard to forge.
    digest = hashlib.md5(file.stream.read(), usedforsecurity=False).hexdigest()
    file.stream.seek(0)
    return digest + PurePosixPath(file.filename or "").suffix
