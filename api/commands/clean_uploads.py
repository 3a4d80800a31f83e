"""Clean up the stored images: `python -m commands.clean_uploads [--dry-run] [--every SECONDS]`.

It removes images that nobody has sent for KEEP_UPLOADS_DAYS, then those that were sent longest ago, beyond
KEEP_UPLOADS_BYTES. It removes only what the service has stored itself, which shows in a file's name: it is made of the
bytes. Whatever a file of the feedback folder names is kept, however old.
"""

import argparse
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import settings
from auth import access
from images import store as image_store
from reports import store
from wire import __version__

DAY_S = 86_400.0
CHUNK_BYTES = 1024**2
# What a file takes at least, with its entry in the file system: as many images as KEEP_UPLOADS_BYTES has of these are
# kept, or a few bytes each would use up the inodes of a disk. This many in any case.
BLOCK_BYTES = 4096
FEWEST = 1000
_STEM = r"(?:[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})"
_NAME = _STEM + r"\.(?i:png|jpe?g|gif|webp|bmp)"
_NAMED_BY_SERVICE = re.compile(_NAME)
_PARTIAL = re.compile(rf"\.{_NAME}\.[0-9a-f]{{16}}\.part")
_MENTIONED = re.compile(_NAME.encode())
LONGEST_NAME = 41


class Stored(NamedTuple):
    """A stored image, by the time of its last use."""

    used_at: float
    size: int
    name: str


class Outcome(NamedTuple):
    """The result of one clean-up."""

    removed: int
    removed_bytes: int
    kept: int
    kept_bytes: int


def main(arguments: list[str] | None = None) -> int:
    """Clean up once, or again and again; return the exit status."""
    parser = argparse.ArgumentParser(description="Removes old images that no report refers to.")
    parser.add_argument("--version", action="version", version=f"sightline {__version__}")
    parser.add_argument("--dry-run", action="store_true", help="print what would be removed, and keep it")
    parser.add_argument("--every", type=float, default=0.0, metavar="SECONDS", help="repeat at this interval")
    options = parser.parse_args(arguments)
    while True:
        outcome = clean(Path(settings.UPLOAD_FOLDER), store.paths()[0].parent, is_dry_run=options.dry_run)
        verb = "would be removed" if options.dry_run else "removed"
        line = f"clean-up: {outcome.removed} images ({outcome.removed_bytes} bytes) {verb}, {outcome.kept} kept\n"
        sys.stdout.write(line)
        sys.stdout.flush()
        if not options.every:
            return 0
        time.sleep(options.every)


def clean(folder: Path, feedback_folder: Path, *, is_dry_run: bool = False) -> Outcome:
    """Remove what is too old or too much; return how much that was."""
    if not folder.is_dir():
        return Outcome(0, 0, 0, 0)
    stored = sorted(_files(folder, _NAMED_BY_SERVICE))
    candidates = list(_surplus(stored, time.time()))
    mentioned = mentioned_in(feedback_folder) if candidates else set()
    gone = [each for each in candidates if each.name not in mentioned and _remove(folder / each.name, is_dry_run)]
    if not is_dry_run:
        _remove_partial(folder)
        access.remove_unused_owners(folder)
    kept = len(stored) - len(gone)
    removed_bytes = sum(each.size for each in gone)
    return Outcome(len(gone), removed_bytes, kept, sum(each.size for each in stored) - removed_bytes)


def _files(folder: Path, pattern: re.Pattern[str]) -> Iterator[Stored]:
    """Yield the regular files whose names match a pattern."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if pattern.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                yield Stored(status.st_mtime, status.st_size, entry.name)


def _surplus(stored: list[Stored], now: float) -> Iterator[Stored]:
    """Yield what is too old, and the oldest of what is too much or too many; nothing that is young."""
    excess = sum(each.size for each in stored) - settings.KEEP_UPLOADS_BYTES
    too_many = len(stored) - max(settings.KEEP_UPLOADS_BYTES // BLOCK_BYTES, FEWEST)
    for number, each in enumerate(stored):
        is_old = now - each.used_at > settings.KEEP_UPLOADS_DAYS * DAY_S
        if now - each.used_at < image_store.YOUNGEST_S or not (is_old or excess > 0 or number < too_many):
            return
        excess -= each.size
        yield each


def mentioned_in(folder: Path) -> set[str]:
    """Return the names of images that stand in any file of a folder, whatever kind of file it is."""
    names: set[str] = set()
    for path in folder.rglob("*") if folder.is_dir() else ():
        if path.is_file() and not path.is_symlink():
            names.update(_names_in(path))
    return names


def _names_in(path: Path) -> Iterable[str]:
    with path.open("rb") as file:
        rest = b""
        while chunk := file.read(CHUNK_BYTES):
            # In UTF-16, which spreadsheets write, every other byte of a name is zero.
            chunk = chunk.replace(b"\0", b"")
            for found in _MENTIONED.finditer(rest + chunk):
                yield found[0].decode("ascii")
            # A name may lie across two pieces.
            rest = (rest + chunk)[-LONGEST_NAME:]


def _remove(path: Path, is_dry_run: bool) -> bool:
    """Remove an image unless it is not ours, or was used meanwhile; return whether it is gone, or would be."""
    if not is_ours(path):
        return False
    if is_dry_run:
        return True
    # Whoever counts an old image as used holds the same lock.
    with image_store.folder_lock(path.parent), suppress(FileNotFoundError):
        if time.time() - path.lstat().st_mtime >= image_store.YOUNGEST_S:
            path.unlink()
            return True
    return False


def is_ours(path: Path) -> bool:
    """Return whether a file's name is made of its bytes, as the service names images."""
    try:
        with image_store.open_regular(path) as file:
            return image_store.is_named_by_content(file, path.stem)
    except OSError:
        return False


def _remove_partial(folder: Path) -> None:
    """Remove the temporary files of writers that were killed."""
    for each in _files(folder, _PARTIAL):
        if time.time() - each.used_at > DAY_S:
            (folder / each.name).unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
