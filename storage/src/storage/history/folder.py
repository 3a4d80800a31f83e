"""The history of one host, in an SQLite file that all its processes write to."""

import logging
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from storage.errors import StorageFull, StorageStuck
from storage.history import port
from storage.history.port import History, Sample, Sum

LOG = logging.getLogger("sightline.history")
Result = TypeVar("Result")

FILE_NAME = "history.sqlite3"
BUSY_S = 4.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS history (
  period INTEGER NOT NULL, at INTEGER NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL, detail TEXT NOT NULL,
  amount REAL NOT NULL, PRIMARY KEY (period, at, name, key, detail)
) WITHOUT ROWID
"""
_OTHERS_FAULTS = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR})


class FolderHistory(History):
    """The history in a folder; every method opens the file again, so threads and processes may share it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME

    def add(self, now: float, samples: Sequence[Sample]) -> None:
        """Add them in one transaction."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")
            port.add(_asking(connection), now, samples)
            connection.execute("COMMIT")

        self._use(work)

    def read(self, period: int, since: float, until: float, names: Collection[str]) -> list[Sum]:
        """Read the file; one that does not exist holds nothing."""
        if not self.path.exists():
            return []
        return self._use(lambda connection: port.read(_asking(connection), period, since, until, names))

    def _use(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Work on the file; one that is damaged is set aside, and a new one is started."""
        try:
            return self._attempt(work)
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code == sqlite3.SQLITE_FULL:
                raise StorageFull("the disk of the history is full") from error
            if code in _OTHERS_FAULTS or code == sqlite3.SQLITE_CANTOPEN:
                raise StorageStuck(f"{self.path} cannot be used now: {error}") from error
            LOG.warning("%s is damaged and is started again: %s", self.path, error)
        self._set_aside()
        try:
            return self._attempt(work)
        except sqlite3.Error as error:
            raise StorageStuck(f"{self.path} cannot be used: {error}") from error

    def _attempt(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(str(self.path), timeout=BUSY_S, isolation_level=None)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(_SCHEMA)
            return work(connection)

    def _set_aside(self) -> None:
        for suffix in ("-wal", "-shm", "-journal"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        if self.path.exists():
            self.path.rename(self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}"))


def _asking(connection: sqlite3.Connection) -> port.Ask:
    def ask(query: str, values: Sequence[Any]) -> Sequence[Any]:
        return connection.execute(query, values).fetchall()

    return ask
