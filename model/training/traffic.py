"""Stored pictures that no report is about: what the service sees day by day, and nobody found wrong."""

import heapq
from collections.abc import Collection, Iterator
from hashlib import sha256
from pathlib import Path

PICTURE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp"))


def unreported(uploads: Path, reported: Collection[str], most: int) -> list[str]:
    """The names of at most so many of them, drawn by lot, which falls the same way each time."""
    return heapq.nsmallest(most, _names(uploads, reported), key=lambda name: sha256(name.encode()).digest())


def _names(uploads: Path, reported: Collection[str]) -> Iterator[str]:
    for path in uploads.iterdir() if uploads.is_dir() else ():
        is_picture = path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")
        if is_picture and path.name not in reported and path.is_file() and not path.is_symlink():
            yield path.name
