"""The names of stored images: made of their bytes, so that two contents never share one."""

import hashlib
import uuid
from pathlib import PurePosixPath

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".heic", ".heif", ".avif", ".tif", ".tiff"})
# As cameras and programs write them; any other spelling needs a name of its own.
USUAL_SUFFIXES = tuple(sorted({each for suffix in SUFFIXES for each in (suffix, suffix.upper())}))


def is_plain(name: str) -> bool:
    """Return whether a name leads nowhere but to an image directly in the store."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES and "/" not in name and "\0" not in name


def collision_name(name: str, data: bytes) -> str:
    """Return the name for bytes whose hash name is taken, with the same suffix."""
    return collision_stem(hashlib.sha256(data).digest()) + PurePosixPath(name).suffix


def collision_stem(sha256: bytes) -> str:
    """Return a UUID that is made of a SHA-256, so that a collision name still proves its content."""
    return str(uuid.UUID(bytes=sha256[:16], version=4))
