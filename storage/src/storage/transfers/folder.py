"""Files on their way between the operator's browser and the trainer, below the folder of reports, which both use.

The operator's uploads are stored in `transfers/imports/<id>/`; an archive to download is
`transfers/exports/<order>.zip`.
"""

import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from io import BufferedReader
from pathlib import Path

from storage.images.folder import check_room, open_regular
from storage.transfers.port import Transfers, is_id

KEPT_S = 86_400.0


class FolderTransfers(Transfers):
    """The transfers of a folder of reports."""

    def __init__(self, feedback: Path) -> None:
        self._imports = feedback / "transfers" / "imports"
        self._exports = feedback / "transfers" / "exports"

    def receive(self, files: Mapping[str, bytes], min_free_bytes: int) -> str:
        """Write uploaded files into a folder, which appears whole."""
        transfer_id = secrets.token_hex(16)
        check_room(self._imports, sum(map(len, files.values())), min_free_bytes)
        self.keep_copies(transfer_id, files)
        return transfer_id

    def keep_copies(self, transfer_id: str, files: Mapping[str, bytes]) -> Path:
        """Write files under an id in place of those that it had, and return their folder."""
        folder, draft = self._imports / transfer_id, self._imports / f".{transfer_id}"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o750, parents=True)
        try:
            for name, content in files.items():
                (draft / name).write_bytes(content)
            draft.rename(folder)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        return folder

    def received(self, transfer_id: str) -> Path | None:
        """Return the folder itself."""
        folder = self._imports / transfer_id
        return folder if is_id(transfer_id) and folder.is_dir() else None

    def drop(self, transfer_id: str) -> None:
        """Remove the folder."""
        if (folder := self.received(transfer_id)) is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def archive(self, name: str) -> Path:
        """Return a path below the folder of reports."""
        self._exports.mkdir(mode=0o750, parents=True, exist_ok=True)
        self.drop_archives()
        return self.path_of(name)

    def path_of(self, name: str) -> Path:
        """Return where an archive of this name is."""
        return self._exports / f"{name}.zip"

    def publish(self, name: str) -> None:
        """Do nothing: it is where it belongs."""

    def open_archive(self, name: str) -> BufferedReader | None:
        """Open the file."""
        if not is_id(name):
            return None
        try:
            return BufferedReader(open_regular(self.path_of(name)))
        except FileNotFoundError:
            return None

    def drop_archives(self) -> int:
        """Remove the files."""
        return sum(_removed(path) for path in _in(self._exports))

    def drop_old(self) -> int:
        """Remove what was written more than KEPT_S ago."""
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
