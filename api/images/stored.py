"""Images that are stored already, as the routes use them: by name, and only what its content shows to be an image."""

import hashlib
from contextlib import suppress
from io import BufferedReader

import utils
from storage.errors import StorageError
from storage.images.port import ImageStore


def open_stored(images: ImageStore, name: str) -> tuple[BufferedReader, utils.Kind] | None:
    """Open a stored image and return it with the kind that its content has; None where there is none of that name.

    Raise OSError or StorageError where the place does not serve.
    """
    file = images.open(name)
    if file is None:
        return None
    kind = utils.kind_of(file.peek(utils.HEAD_BYTES))
    if kind is None:
        file.close()
        return None
    return file, kind


def is_stored(images: ImageStore, name: str) -> bool:
    """Return whether there is an image of that name."""
    opened = open_stored(images, name)
    if opened is not None:
        opened[0].close()
    return opened is not None


def sha256_of(images: ImageStore, name: str) -> str:
    """Return the SHA-256 of a stored image; empty where there is none of that name, or it cannot be read."""
    with suppress(OSError, StorageError):
        opened = open_stored(images, name)
        if opened is not None:
            with opened[0] as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
    return ""
