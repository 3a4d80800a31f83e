"""Files on their way between the operator's browser and the trainer, below the folder of reports, which both use.

The operator's uploads are stored in `transfers/imports/<id>/`; an archive to download is
`transfers/exports/<order>.zip`. Nothing in there is kept: an archive holds images, so that it goes when one of them is
erased, and after a day.
"""

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from io import BufferedReader
from pathlib import Path

from storage.images.folder import check_room, open_regular

KEPT_S = 86_400.0
_NAME = re.compile(r"[0-9a-z-]{1,64}")


class Transfers:
    """The transfers of a folder of reports. Every method raises OSError or StorageError where it does not serve."""

    def __init__(self, feedback: Path) -> None:
        self._imports = feedback / "transfers" / "imports"
        self._exports = feedback / "transfers" / "exports"

    def receive(self, files: Mapping[str, bytes], min_free_bytes: int) -> str:
        """Store uploaded files under their plain names and return the id of all; raise StorageFull without room."""
        transfer_id = secrets.token_hex(16)
        check_room(self._imports, sum(map(len, files.values())), min_free_bytes)
        draft = self._imports / f".{transfer_id}"
        draft.mkdir(mode=0o750, parents=True)
        try:
            for name, content in files.items():
                (draft / name).write_bytes(content)
            draft.rename(self._imports / transfer_id)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        return transfer_id

    def received(self, transfer_id: str) -> Path | None:
        """Return the folder of uploaded files; None where there is none of that id."""
        folder = self._imports / transfer_id
        return folder if _NAME.fullmatch(transfer_id) and folder.is_dir() else None

    def drop(self, transfer_id: str) -> None:
        """Remove uploaded files, which may be gone already."""
        if (folder := self.received(transfer_id)) is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def archive(self, name: str) -> Path:
        """Return where an archive of this name is written, in a folder that is there now; older archives go."""
        self._exports.mkdir(mode=0o750, parents=True, exist_ok=True)
        self.drop_archives()
        return self._exports / f"{name}.zip"

    def open_archive(self, name: str) -> BufferedReader | None:
        """Open an archive; None where there is none of this name, or no longer."""
        if not _NAME.fullmatch(name):
            return None
        try:
            return BufferedReader(open_regular(self._exports / f"{name}.zip"))
        except FileNotFoundError:
            return None

    def drop_archives(self) -> int:
        """Remove all archives, half ones too; return how many."""
        return sum(_removed(path) for path in _in(self._exports))

    def drop_old(self) -> int:
        """Remove what is older than KEPT_S, such as what a process that was killed has left; return how much."""
        before = time.time() - KEPT_S
        return sum(_removed(path) for path in (*_in(self._exports), *_in(self._imports)) if _modified(path) < before)


def _in(folder: Path) -> Iterator[Path]:
    with suppress(FileNotFoundError):
        yield from folder.iterdir()


def _modified(path: Path) -> float:
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return time.time()


def _removed(path: Path) -> bool:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return True
