"""Images that are stored already, as the routes use them: by name, and only what its content shows to be an image."""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from io import BufferedReader

import offload
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


def kept(images: ImageStore, digests: Mapping[str, str]) -> set[str]:
    """Keep images permanently; return those that are stored with the SHA-256 that `digests` gives their names.

    Raise OSError or StorageError where the place does not serve.
    """

    def is_kept(name: str) -> bool:
        if sha256_of(images, name) != digests[name]:
            return False
        images.keep(name)
        return True

    names = list(digests)
    if images.is_remote:
        results = offload.together(is_kept, names)
    else:
        results = offload.run(lambda: [is_kept(name) for name in names])
    return {name for name, result in zip(names, results, strict=True) if result}


def sha256_of(images: ImageStore, name: str) -> str:
    """Return the SHA-256 of a stored image; empty where there is none of that name, or it cannot be read."""
    with suppress(OSError, StorageError):
        opened = open_stored(images, name)
        if opened is not None:
            with opened[0] as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
    return ""
