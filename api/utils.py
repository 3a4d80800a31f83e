"""Image files: the formats that are accepted, recognized by name or by content, and the name of an upload."""

import hashlib
from pathlib import PurePosixPath
from typing import NamedTuple

from werkzeug.datastructures import FileStorage

import settings


class Kind(NamedTuple):
    """An image format: the extension that an upload without one is given, its media type, its name in FORMATS."""

    extension: str
    media_type: str
    name: str


JPEG = Kind(".jpg", "image/jpeg", "jpeg")
PNG = Kind(".png", "image/png", "png")
GIF = Kind(".gif", "image/gif", "gif")
BMP = Kind(".bmp", "image/bmp", "bmp")
WEBP = Kind(".webp", "image/webp", "webp")
HEIC = Kind(".heic", "image/heic", "heic")
AVIF = Kind(".avif", "image/avif", "avif")
TIFF = Kind(".tiff", "image/tiff", "tiff")
KINDS = (JPEG, PNG, WEBP, GIF, BMP, HEIC, AVIF, TIFF)
ALLOWED_EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp"})

# Enough of a file for `kind_of`.
HEAD_BYTES = 64
_STARTS = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"BM", BMP),
    (b"II*\0", TIFF),
    (b"MM\0*", TIFF),
)
# The brands of files of the HEIF family: those of HEVC, those that leave the codec to the brands after them, and AV1's.
_HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"))
_OPEN_BRANDS = frozenset((b"mif1", b"msf1"))
_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_FIRST_BRAND, _OTHER_BRANDS = 8, 16


def accepted() -> str:
    """Return the names of the accepted formats, as text."""
    names = [kind.name.upper().replace("WEBP", "WebP") for kind in KINDS if kind.name in settings.FORMATS.split(",")]
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def kind_of(head: bytes) -> Kind | None:
    """Return the format of an image by its first HEAD_BYTES; None if it is no image. Decoding is the worker's."""
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    return _kind_of_brands(head) if head[4:8] == b"ftyp" else None


def _kind_of_brands(head: bytes) -> Kind | None:
    first = head[_FIRST_BRAND : _FIRST_BRAND + 4]
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {first, *(head[at : at + 4] for at in range(_OTHER_BRANDS, end, 4))}
    if first in _HEIC_BRANDS or (first in _OPEN_BRANDS and not brands & _AVIF_BRANDS):
        return HEIC
    return AVIF if first in _AVIF_BRANDS | _OPEN_BRANDS else None


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
