"""The two pure functions of the upload's name."""

import hashlib
from pathlib import PurePosixPath

from werkzeug.datastructures import FileStorage

ALLOWED_EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp"})


def allowed_file(filename: str) -> bool:
    """Say whether the name's last suffix is one of a picture, in any case."""
    return _extension(filename).lower() in ALLOWED_EXTENSIONS


def get_file_hash(file: FileStorage) -> str:
    """Give the MD5 of the content with the original extension, and rewind the file."""
    file.stream.seek(0)
    # MD5 names the file by contract; nothing relies on it being hard to forge.
    digest = hashlib.md5(file.stream.read(), usedforsecurity=False).hexdigest()
    file.stream.seek(0)
    return digest + _extension(file.filename or "")


def _extension(filename: str) -> str:
    return PurePosixPath(filename).suffix
