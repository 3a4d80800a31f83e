"""Which kind of picture some bytes begin: the cheap check of an upload; to decode is the worker's affair."""

from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of picture: the extension we give it and its media type."""

    extension: str
    media_type: str


JPEG = Kind(".jpg", "image/jpeg")
PNG = Kind(".png", "image/png")
GIF = Kind(".gif", "image/gif")
BMP = Kind(".bmp", "image/bmp")
WEBP = Kind(".webp", "image/webp")
KINDS = (JPEG, PNG, GIF, BMP, WEBP)

HEAD_BYTES = 16
ACCEPTED = "JPEG, PNG, WebP, GIF or BMP"

_STARTS = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"BM", BMP),
)


def kind_of(head: bytes) -> Kind | None:
    """Tell the kind by the first HEAD_BYTES; None where it is none that we take."""
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    return None
