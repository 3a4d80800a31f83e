"""Clean up the stored images: `python -m commands.clean_uploads [--dry-run] [--every SECONDS]`.

It removes images that no one has sent for KEEP_UPLOADS_DAYS, then those that were sent longest ago, beyond
KEEP_UPLOADS_BYTES. It removes only what the service has stored itself, which shows in a file's name: it is made of the
bytes. Every image that a file of the feedback folder names is kept, however old; old archives for the operator's
browser go.

Both folders change while it reads them. With --every, an error ends one clean-up, which is logged and tried again.
"""

import argparse
import os
import re
import signal
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import settings
from reports import record
from reports.transfers import transfers
from storage.errors import StorageError
from storage.images import folder as image_folder
from storage.images.folder import ImageFolder
from wire import __version__

DAY_S = 86_400.0
CHUNK_BYTES = 1024**2
# What a file takes at least, with its entry in the file system: as many images as KEEP_UPLOADS_BYTES has of these are
# kept, or a few bytes each would use up the inodes of a disk. This many in any case.
BLOCK_BYTES = 4096
FEWEST = 1000
# How often the feedback folder is read again because a file in it was removed or renamed meanwhile.
MAX_WALKS = 20
_STEM = r"(?:[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})"
_NAME = _STEM + r"\.(?i:png|jpe?g|gif|webp|bmp|heic|avif|tiff)"
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


def main(arguments: list[str] | None = None) -> int:
    """Clean up once, or again and again; return the exit status."""
    parser = argparse.ArgumentParser(description="Removes old images that no report refers to.")
    parser.add_argument("--version", action="version", version=f"sightline {__version__}")
    parser.add_argument("--dry-run", action="store_true", help="print what would be removed, and keep it")
    parser.add_argument("--every", type=float, default=0.0, metavar="SECONDS", help="repeat at this interval")
    options = parser.parse_args(arguments)
    # As process 1 of a container it has no default action for this signal.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        is_clean = _clean_once(is_dry_run=options.dry_run)
        if not options.every:
            return 0 if is_clean else 1
        time.sleep(options.every)


def _clean_once(*, is_dry_run: bool) -> bool:
    """Clean up and print the result; return whether it came to its end."""
    try:
        if not is_dry_run:
            transfers().drop_old()
        result = _images_cleaned(is_dry_run)
    except (OSError, StorageError) as error:
        sys.stderr.write(f"clean-up: stopped: {error}\n")
        return False
    sys.stdout.write(f"clean-up: {result}\n")
    sys.stdout.flush()
    return True


def _images_cleaned(is_dry_run: bool) -> str:
    """Clean up the folder of images, if there is one; return the result as a text."""
    if settings.IMAGE_STORE:
        return f"images are in {settings.IMAGE_STORE}, where a rule of the bucket removes them"
    outcome = clean(Path(settings.UPLOAD_FOLDER), record.folder(), is_dry_run=is_dry_run)
    verb = "would be removed" if is_dry_run else "removed"
    return f"{outcome.removed} images ({outcome.removed_bytes} bytes) {verb}, {outcome.kept} kept"


def clean(folder: Path, feedback_folder: Path, *, is_dry_run: bool = False) -> Outcome:
    """Remove what is too old or too much; return how much that was."""
    if not folder.is_dir():
        return Outcome(0, 0, 0)
    stored = sorted(_files(folder, _NAMED_BY_SERVICE))
    candidates = list(_surplus(stored, time.time()))
    mentioned = mentioned_in(feedback_folder) if candidates else set()
    if candidates and settings.DATABASE_URL:
        # Other hosts' reports stand in no file of this one.
        mentioned.update(record.report_store().image_names())
    gone = [each for each in candidates if each.name not in mentioned and _remove(folder / each.name, is_dry_run)]
    if not is_dry_run:
        _remove_partial(folder)
        ImageFolder(folder).remove_unused_owners()
    return Outcome(len(gone), sum(each.size for each in gone), len(stored) - len(gone))


def _files(folder: Path, pattern: re.Pattern[str]) -> Iterator[Stored]:
    """Yield the regular files whose names match a pattern."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if not pattern.fullmatch(entry.name) or not entry.is_file(follow_symlinks=False):
                continue
            with suppress(FileNotFoundError):  # its writer, or another clean-up, has just removed it
                status = entry.stat(follow_symlinks=False)
                yield Stored(status.st_mtime, status.st_size, entry.name)


def _surplus(stored: list[Stored], now: float) -> Iterator[Stored]:
    """Yield what is too old, and the oldest of what is too much or too many; nothing that is young."""
    excess = sum(each.size for each in stored) - settings.KEEP_UPLOADS_BYTES
    too_many = len(stored) - max(settings.KEEP_UPLOADS_BYTES // BLOCK_BYTES, FEWEST)
    for number, each in enumerate(stored):
        is_old = now - each.used_at > settings.KEEP_UPLOADS_DAYS * DAY_S
        if now - each.used_at < image_folder.YOUNGEST_S or not (is_old or excess > 0 or number < too_many):
            return
        excess -= each.size
        yield each


def mentioned_in(folder: Path) -> set[str]:
    """Return the names of images that are in any file of a folder, of any kind.

    Raise OSError where one cannot be read, or files are removed as fast as they are read.
    """
    names: set[str] = set()
    for _ in range(MAX_WALKS):
        try:
            for path in _regular_files(folder) if folder.is_dir() else ():
                names.update(_names_in(path))
        except FileNotFoundError as error:  # under its new name it may have been missed
            gone = error
        else:
            return names
    raise gone


def _regular_files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, without following links; raise OSError where a folder cannot be read."""

    def fail(error: OSError) -> None:
        raise error

    for parent, _, names in os.walk(folder, onerror=fail):
        for path in (Path(parent, name) for name in names):
            if stat.S_ISREG(path.lstat().st_mode):
                yield path


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
    # Code that counts an old image as used holds the same lock.
    with image_folder.folder_lock(path.parent), suppress(FileNotFoundError):
        if time.time() - path.lstat().st_mtime >= image_folder.YOUNGEST_S:
            path.unlink()
            return True
    return False


def is_ours(path: Path) -> bool:
    """Return whether a file's name is made of its bytes, as the service names images."""
    try:
        with image_folder.open_regular(path) as file:
            return image_folder.is_named_by_content(file, path.stem)
    except OSError:
        return False


def _remove_partial(folder: Path) -> None:
    """Remove the temporary files of writers that were killed."""
    for each in _files(folder, _PARTIAL):
        if time.time() - each.used_at > DAY_S:
            (folder / each.name).unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
