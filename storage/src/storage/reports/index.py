"""The reports in a database, for what a CSV file is too slow for; it is made of the CSV files, which are the record.

It follows them by itself: each use first reads what was appended since the last. Where it is missing or damaged, or a
file is not the one that it knew, it is rebuilt. `python -m commands.index_reports` rebuilds it in any case.
"""

import errno
import fcntl
import logging
import math
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from storage.errors import IndexUnfinished, StorageStuck
from storage.reports.index_tables import Mark, Source, add, begin_anew, count_reports, is_ours, marks
from storage.reports.port import Row
from storage.reports.queries import Ask, find
from wire.tables.feedback import DECISIONS, DECISIONS_FILE, REPORTS, REPORTS_FILE

LOG = logging.getLogger("sightline.reports")
Result = TypeVar("Result")

FILE_NAME = "reports.sqlite3"
# Who uses the database holds this lock, so that a process that replaces it is alone.
LOCK_NAME = ".reports.lock"
# Twice this is short of what a request waits for a disk: see offload.py.
BUSY_S = 4.0
RETRY_S = 0.05


class ReportIndex:
    """The index of one feedback folder; every method opens it again, so threads and processes may share it.

    A use that would have to read for longer than `max_step_s` raises IndexUnfinished, with the progress;
    the next one continues there.
    """

    def __init__(self, folder: Path, max_step_s: float = math.inf) -> None:
        self.path = folder / FILE_NAME
        self._max_step_s = max_step_s
        # How many reports there were when a rebuild started, until it is done.
        self._count_before = 0
        self._reports = Source(folder / REPORTS_FILE, REPORTS)
        self._decisions = Source(folder / DECISIONS_FILE, DECISIONS)

    def read(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Return what `work` reads from the database, which is up to date.

        Where SQLite reports an error, its files are rebuilt once, and `work` is called again; where they cannot be
        made, it reads a database in memory. Raises OSError or StorageStuck where the disk fails.
        """
        with _disk_errors_as_storage_errors():
            try:
                with self._locked(fcntl.LOCK_SH):
                    return self._read(str(self.path), work)
            except (sqlite3.Error, OSError) as error:
                _raise_if_full(error)
                LOG.warning("%s cannot be used: %s", self.path, error)
                is_busy = _code_of(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
            try:
                with self._locked(fcntl.LOCK_EX):
                    return self._read_anew(work, is_busy=is_busy)
            except (sqlite3.Error, OSError) as error:
                _raise_if_full(error)
                LOG.warning("%s cannot be created; the reports are read again for each use: %s", self.path, error)
            return self._read("", work)

    def remove(self) -> None:
        """Remove the files of the index; the next use rebuilds them."""
        with self._locked(fcntl.LOCK_EX):
            self._remove_files()

    def query(self, work: Callable[[Ask], Result]) -> Result:
        """Return what `work` finds by its queries: see `read`."""
        return self.read(lambda database: work(lambda query, values: database.execute(query, values).fetchall()))

    def find(self, report_id: str) -> Row | None:
        """Return a report by its id."""
        return self.query(lambda ask: find(ask, report_id))

    def _read_anew(self, work: Callable[[sqlite3.Connection], Result], *, is_busy: bool) -> Result:
        """Remove the files unless another process has rebuilt them meanwhile, and read."""
        # No process of ours uses them now; another program that does continues to.
        with suppress(sqlite3.Error):
            return self._read(str(self.path), work, 0.0 if is_busy else BUSY_S)
        self._remove_files()
        LOG.warning("%s is rebuilt", self.path)
        return self._read(str(self.path), work)

    def _read(self, path: str, work: Callable[[sqlite3.Connection], Result], busy_s: float = BUSY_S) -> Result:
        with closing(sqlite3.connect(path, timeout=busy_s, isolation_level=None)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            if not is_ours(connection) or not all(source.is_read_up(mark) for source, mark in self._marks(connection)):
                # What is in memory alone is gone afterwards, however far it came.
                self._follow(connection, time.monotonic() + (self._max_step_s if path else math.inf))
            return work(connection)

    def _marks(self, connection: sqlite3.Connection) -> list[tuple[Source, Mark]]:
        return marks(connection, (self._reports, self._decisions))

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        """Hold the lock of the database's files; raise StorageStuck where others do not release it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.path.with_name(LOCK_NAME), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        try:
            give_up_at = time.monotonic() + BUSY_S
            while True:
                try:
                    fcntl.flock(lock, kind | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > give_up_at:
                        detail = "The index of the reports is being made, which takes longer than usual."
                        raise StorageStuck(detail) from None
                    time.sleep(RETRY_S)
            yield
        finally:
            os.close(lock)

    def _remove_files(self) -> None:
        # The log first: SQLite would apply one that is left to the database that comes next.
        for suffix in ("-wal", "-shm", "-journal", ""):
            path = self.path.with_name(self.path.name + suffix)
            try:
                path.unlink(missing_ok=True)
            except (IsADirectoryError, PermissionError):
                path.rename(path.with_name(f"{path.name}.damaged-{time.time_ns()}"))

    def _follow(self, connection: sqlite3.Connection, until: float) -> None:
        """Read what is new; raise IndexUnfinished where that is not done by then."""
        connection.execute("BEGIN IMMEDIATE")
        if not is_ours(connection) or not all(source.is_known(mark) for source, mark in self._marks(connection)):
            self._count_before = max(self._count_before, begin_anew(connection))
        # Measured before the reports are read: the subject of each decision up to here is among them.
        decisions_end = self._decisions.state()
        ends = (self._reports.state(), decisions_end)
        read, total = 0, sum(size for size, _ in ends)
        for (source, mark), end in zip(self._marks(connection), ends, strict=True):
            read += add(connection, source, mark, end, lambda: time.monotonic() > until)
            if time.monotonic() > until and read < total:
                # Decisions wait until all reports are there.
                connection.execute("COMMIT")
                raise IndexUnfinished(f"The index of the reports is being made: {100 * read // total} % is read.")
        connection.execute("COMMIT")
        before, self._count_before = self._count_before, 0
        count = count_reports(connection) if before else 0
        if count < before:
            fewer = "%s holds %d reports, %d fewer than before: it was edited, replaced or emptied"
            LOG.warning(fewer, self._reports.path, count, before - count)


def _code_of(error: Exception) -> int:
    """Return SQLite's primary error code; 0 for other errors."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _raise_if_full(error: Exception) -> None:
    if _code_of(error) == sqlite3.SQLITE_FULL:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error


@contextmanager
def _disk_errors_as_storage_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        _raise_if_full(error)
        raise StorageStuck(f"The index of the reports cannot be used now: {error}.") from error
    except (PermissionError, IsADirectoryError) as error:
        raise StorageStuck(f"The reports cannot be read: {error}.") from error
