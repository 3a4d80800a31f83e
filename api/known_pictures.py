"""The names of pictures that were stored lately, by SHA-256: one that comes again needs no MD5 and no comparison."""

import os
from pathlib import Path

# A few hundred bytes each.
MOST = 4096


class KnownPictures:
    """What this process has stored itself, and so knows to be the bytes that they are; the oldest are forgotten."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._names: dict[tuple[Path, str, str], str] = {}

    def find(self, folder: Path, sha256: str, extension: str, size: int) -> str | None:
        """Give the name of a picture that is still there, which counts as new from now on; else None."""
        name = self._names.get((folder, sha256, extension))
        if name is None:
            return None
        path = os.path.join(folder, name)  # noqa: PTH118  a third of the time, on the way of every request
        try:
            if os.stat(path).st_size != size:  # noqa: PTH116  as above
                return None
            os.utime(path)
        except FileNotFoundError:
            return None
        return name

    def add(self, folder: Path, sha256: str, extension: str, name: str) -> None:
        """Remember a picture that was stored, or found to be there byte for byte."""
        while len(self._names) >= self._most:
            self._names.pop(next(iter(self._names)), None)
        self._names[folder, sha256, extension] = name
