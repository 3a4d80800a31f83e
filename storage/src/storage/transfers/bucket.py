"""Files on their way between the operator's browser and the trainer, in a bucket that the hosts of both use.

Uploads are `transfers/imports/<id>/<name>`, archives `transfers/exports/<order>.zip`. The trainer works on copies in a
folder of its own.
"""

import io
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import cast

from storage.s3 import Bucket
from storage.transfers.folder import KEPT_S, FolderTransfers
from storage.transfers.port import Transfers, is_id

IMPORTS, EXPORTS = "transfers/imports", "transfers/exports"
# Of an archive, held in memory while it is sent.
PIECE_BYTES = 4 * 1024**2


class BucketTransfers(Transfers):
    """The transfers of a bucket; `feedback` is this host's folder of reports, for copies.

    `quick` is the same bucket with a timeout for requests without content, so that a server that is away shows early.
    """

    def __init__(self, bucket: Bucket, feedback: Path, quick: Bucket | None = None) -> None:
        self._bucket, self._quick = bucket, quick or bucket
        self._copies = FolderTransfers(feedback)

    def receive(self, files: Mapping[str, bytes], min_free_bytes: int) -> str:
        """Store uploaded files as objects; the server knows how much room there is."""
        transfer_id = secrets.token_hex(16)
        self._quick.facts(f"{IMPORTS}/{transfer_id}")
        for name, content in files.items():
            self._bucket.put(f"{IMPORTS}/{transfer_id}/{name}", content)
        return transfer_id

    def received(self, transfer_id: str) -> Path | None:
        """Copy the uploaded files into a folder of this host."""
        if not is_id(transfer_id):
            return None
        prefix = f"{IMPORTS}/{transfer_id}"
        names = [name for name in self._bucket.keys(prefix) if "/" not in name and not name.startswith(".")]
        found = {name: self._bucket.get(f"{prefix}/{name}") for name in names}
        files = {name: each[0] for name, each in found.items() if each is not None}
        return self._copies.keep_copies(transfer_id, files) if files else None

    def drop(self, transfer_id: str) -> None:
        """Remove the objects and the copies."""
        self._copies.drop(transfer_id)
        if is_id(transfer_id):
            self._remove(f"{IMPORTS}/{transfer_id}")

    def archive(self, name: str) -> Path:
        """Return a path in a folder of this host."""
        self.drop_archives()
        return self._copies.archive(name)

    def publish(self, name: str) -> None:
        """Move the archive to the bucket."""
        path = self._copies.path_of(name)
        self._bucket.put_file(f"{EXPORTS}/{name}.zip", path)
        path.unlink()

    def open_archive(self, name: str) -> BufferedReader | None:
        """Open the object, which is read in pieces."""
        key = f"{EXPORTS}/{name}.zip"
        facts = self._quick.facts(key) if is_id(name) else None
        if facts is None:
            return None
        return BufferedReader(cast(io.RawIOBase, _Object(self._bucket, key, facts.size)), PIECE_BYTES)

    def drop_archives(self) -> int:
        """Remove the objects, and what this host has of them."""
        return self._copies.drop_archives() + self._remove(EXPORTS)

    def drop_old(self) -> int:
        """Remove old objects, and what this host has."""
        return self._copies.drop_old() + self._remove(IMPORTS, KEPT_S) + self._remove(EXPORTS, KEPT_S)

    def _remove(self, prefix: str, older_s: float = 0.0) -> int:
        count = 0
        for name in list(self._quick.keys(prefix)):
            facts = self._quick.facts(f"{prefix}/{name}") if older_s else None
            if facts is None or (datetime.now(UTC) - facts.modified).total_seconds() > older_s:
                count += self._quick.delete(f"{prefix}/{name}")
        return count


class _Object(io.RawIOBase):
    """An object, of which pieces are fetched as they are read."""

    def __init__(self, bucket: Bucket, key: str, size: int) -> None:
        self._bucket, self._key, self._size = bucket, key, size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # a buffer that can be written to
        length = min(len(buffer), self._size - self._at)
        if length <= 0:
            return 0
        piece = self._bucket.piece(self._key, self._at, length)
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)
