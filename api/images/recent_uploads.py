"""The images that this process stored lately, by SHA-256: one that is sent again needs no MD5 and no comparison."""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from werkzeug.datastructures import FileStorage

import utils
from images import store as images_store

# A few hundred bytes each.
MAX_ENTRIES = 4096


class _Entry(NamedTuple):
    """A file whose content is known, as long as its identity is the same."""

    name: str
    identity: tuple[int, int, int, int]


class RecentUploads:
    """Names of stored images that need no verification again; the oldest are forgotten."""

    def __init__(self, max_entries: int = MAX_ENTRIES) -> None:
        self._max_entries = max_entries
        self._entries: dict[tuple[Path, str, str], _Entry] = {}

    def store(
        self, folder: Path, file: FileStorage, data: bytes, check: Callable[[], None] | None = None
    ) -> tuple[str, str]:
        """Store the content of a file, unless it is known to be there; return its name and its SHA-256.

        `check` is called before an image is written that does not exist yet.
        """
        sha256, suffix = hashlib.sha256(data).hexdigest(), PurePosixPath(file.filename or "").suffix
        key = (folder, sha256, suffix)
        name = self._find(key)
        if name is None:
            name = images_store.store(folder, utils.get_file_hash(file), data, check)
            with suppress(OSError):
                self._add(key, name, os.lstat(folder / name))
        return name, sha256

    def _find(self, key: tuple[Path, str, str]) -> str | None:
        """Return the name of an image that is still there, which counts as used now; else None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        path = os.path.join(key[0], entry.name)  # noqa: PTH118  a third of the time, on the way of every request
        try:
            status = os.lstat(path)
            if images_store.identity_of(status) != entry.identity:
                return None
            refreshed = images_store.refresh(path, status)
        except FileNotFoundError:
            return None
        except OSError:
            # A disk that cannot be asked. The answer may be cached; a worker reports what it really reads.
            return entry.name
        if refreshed is None:
            return None
        if refreshed is not status:
            self._add(key, entry.name, refreshed)
        return entry.name

    def _add(self, key: tuple[Path, str, str], name: str, status: os.stat_result) -> None:
        while len(self._entries) >= self._max_entries and key not in self._entries:
            self._entries.pop(next(iter(self._entries)), None)
        self._entries[key] = _Entry(name, images_store.identity_of(status))
