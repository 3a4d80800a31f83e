"""The entry points of installed packages, read once for libraries that look for theirs again and again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata


@contextmanager
def read_once() -> Iterator[None]:
    """Look for all entry points inside the block in what one reading of the installed packages found.

    While gevent patches the standard library, it would read the metadata of each package 25 times.
    """
    find = metadata.entry_points
    metadata.entry_points = find().select
    try:
        yield
    finally:
        metadata.entry_points = find
