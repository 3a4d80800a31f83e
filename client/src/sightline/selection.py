"""Which files of the given folders are images, and why the others are not sent."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".heic", ".heif", ".avif", ".tif", ".tiff"})
# Of HEIC and AVIF, by the four characters after "ftyp", with which such a file begins.
BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis"))
# Thumbnails and other leftovers of network storage.
SYSTEM_FOLDERS = frozenset({"@eaDir", "#recycle", "__MACOSX", "$RECYCLE.BIN", "System Volume Information"})
HEAD_BYTES = 32
_BMP_HEADER_SIZES = frozenset({12, 16, 40, 52, 56, 64, 108, 124})


@dataclass
class Selection:
    """The images by the name that they have in the table, and how many other files there are of each kind."""

    images: dict[str, Path] = field(default_factory=dict)
    passed_over: Counter[str] = field(default_factory=Counter)

    def describe_passed_over(self) -> str:
        """Return the kinds of files that are not sent with their numbers, empty where there are none."""
        return ", ".join(f"{count} {kind}" for kind, count in sorted(self.passed_over.items()))


def select(paths: Sequence[Path]) -> Selection:
    """Return the images among files and below folders, by content or by suffix, sorted by name.

    A file that is named by itself is always taken. Names are relative to the folder where there is one path alone.
    """
    selection = Selection()
    for path in paths:
        if not path.is_dir():
            selection.images[path.name if len(paths) == 1 else str(path)] = path
            continue
        for file in _files_below(path, selection):
            kind = _kind_of(file)
            if kind:
                selection.passed_over[kind] += 1
            else:
                selection.images[str(file.relative_to(path) if len(paths) == 1 else file)] = file
    selection.images = dict(sorted(selection.images.items()))
    return selection


def _files_below(folder: Path, selection: Selection) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        for name in [name for name in folders if name in SYSTEM_FOLDERS or name.startswith(".")]:
            folders.remove(name)
            selection.passed_over["hidden or system folders"] += 1
        for name in files:
            if (path := Path(parent, name)).is_file():
                yield path


def _kind_of(file: Path) -> str:
    """Return why a file is not sent, empty for an image; one that cannot be read is left to the reader's error."""
    if file.name.startswith("."):
        return "hidden files"
    try:
        with file.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except OSError:
        return "" if file.suffix.lower() in SUFFIXES else "unreadable files"
    if _is_image(head) or file.suffix.lower() in SUFFIXES:
        return ""
    return "files that are no images"


def _is_image(head: bytes) -> bool:
    return (
        head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*"))
        or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")
        or (head[4:8] == b"ftyp" and head[8:12] in BRANDS)
        or (head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES)
    )
