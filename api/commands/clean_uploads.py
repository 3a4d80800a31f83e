"""Clean up the stored pictures: `python -m commands.clean_uploads [--dry-run] [--every SECONDS]`.

It removes pictures that nobody has sent for KEEP_UPLOADS_DAYS, then those that were sent longest ago, beyond
KEEP_UPLOADS_BYTES. It touches only what the service has made itself, which a file's name proves: it is made of the
bytes. What a file of the feedback folder names is kept, whatever its age.
"""

import argparse
import os
import re
import stat
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
# What a file takes at least, with its entry in the file system: as many pictures as KEEP_UPLOADS_BYTES has of these are
# kept, or a few bytes each would use up a disk's files. This many in any case.
BLOCK_BYTES = 4096
FEWEST = 1000
_STEM = r"(?:[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})"
_NAME = _STEM + r"\.(?i:png|jpe?g|gif|webp|bmp)"
_OWN = re.compile(_NAME)
_HALF = re.compile(rf"\.{_NAME}\.[0-9a-f]{{16}}\.part")
_MENTIONED = re.compile(_NAME.encode())
LONGEST_NAME = 41


class Stored(NamedTuple):
    """A stored picture, by the time of its last use."""

    used_at: float
    size: int
    name: str


class Outcome(NamedTuple):
    """What one clean-up did."""

    removed: int
    removed_bytes: int
    kept: int
    kept_bytes: int


def main(arguments: list[str] | None = None) -> int:
    """Clean up once, or again and again; return the exit status."""
    parser = argparse.ArgumentParser(description="Removes old pictures that no report refers to.")
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--dry-run", action="store_true", help="say what would go, and leave it")
    parser.add_argument("--every", type=float, default=0.0, metavar="SECONDS", help="again and again, so often")
    options = parser.parse_args(arguments)
    while True:
        outcome = clean(Path(settings.UPLOAD_FOLDER), store.paths()[0].parent, is_dry_run=options.dry_run)
        verb = "would be removed" if options.dry_run else "removed"
        _say(f"{outcome.removed} pictures ({outcome.removed_bytes} bytes) {verb}, {outcome.kept} kept")
        if not options.every:
            return 0
        time.sleep(options.every)


def clean(folder: Path, feedback_folder: Path, *, is_dry_run: bool = False) -> Outcome:
    """Remove what is too old or too much, and say how much that was."""
    if not folder.is_dir():
        return Outcome(0, 0, 0, 0)
    _remove_halves(folder, is_dry_run=is_dry_run)
    stored = sorted(_own_files(folder))
    candidates = list(_surplus(stored, time.time()))
    mentioned = mentioned_in(feedback_folder) if candidates else set()
    gone = [
        each for each in candidates if each.name not in mentioned and _goes(folder / each.name, is_dry_run=is_dry_run)
    ]
    if not is_dry_run:
        access.remove_unused_owners(folder)
    kept = len(stored) - len(gone)
    removed_bytes = sum(each.size for each in gone)
    return Outcome(len(gone), removed_bytes, kept, sum(each.size for each in stored) - removed_bytes)


def _own_files(folder: Path) -> Iterator[Stored]:
    """Give the regular files that are named as the service names its own."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if _OWN.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                yield Stored(status.st_mtime, status.st_size, entry.name)


def _surplus(stored: list[Stored], now: float) -> Iterator[Stored]:
    """Give what is too old, and the oldest of what is too much or too many; nothing that is young."""
    excess = sum(each.size for each in stored) - settings.KEEP_UPLOADS_BYTES
    too_many = len(stored) - max(settings.KEEP_UPLOADS_BYTES // BLOCK_BYTES, FEWEST)
    for number, each in enumerate(stored):
        is_old = now - each.used_at > settings.KEEP_UPLOADS_DAYS * DAY_S
        if now - each.used_at < image_store.YOUNGEST_S or not (is_old or excess > 0 or number < too_many):
            return
        excess -= each.size
        yield each


def mentioned_in(folder: Path) -> set[str]:
    """Give every picture's name that stands in any file of a folder, whatever kind of file it is."""
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


def _goes(path: Path, *, is_dry_run: bool) -> bool:
    """Remove a picture unless it is not ours, or was used meanwhile; say whether it is gone, or would be."""
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
    """Say whether a file's name is made of its bytes, as the service makes them."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return image_store.is_named_by_content(file, path.stem)
    finally:
        os.close(descriptor)


def _remove_halves(folder: Path, *, is_dry_run: bool) -> None:
    """Remove what writers that were killed have left of pictures."""
    with os.scandir(folder) as entries:
        for entry in entries:
            is_half = _HALF.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
            if is_half and time.time() - entry.stat(follow_symlinks=False).st_mtime > DAY_S and not is_dry_run:
                Path(entry.path).unlink(missing_ok=True)


def _say(text: str) -> None:
    sys.stdout.write(f"clean-up: {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
