"""The reports in a database, for what a CSV file is too slow for; it is made of the CSV files, which are the record.

It follows them by itself: each use first reads what was appended since the last. Where it is missing or damaged, or a
file is not the one that it knew, it is made anew. `python -m commands.index_reports` makes it anew in any case.
"""

import errno
import fcntl
import logging
import os
import runpy
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from offload import StorageStuck
from reports.index_tables import OPEN, STATUSES, Mark, Source, add, begin_anew, count_reports, faults_in, is_ours, marks
from wire.tables.feedback import DECISIONS, DECISIONS_FILE, REPORTS, REPORTS_FILE

LOG = logging.getLogger("sightline.reports")
Result = TypeVar("Result")

FILE_NAME = "reports.sqlite3"
# Who uses the database holds this lock, so that whoever replaces it is alone.
LOCK_NAME = ".reports.lock"
# Twice this is short of what a request waits for a disk: see offload.py.
BUSY_S = 4.0
RETRY_S = 0.05
# Of the inbox.
PAGE_SIZE = 20
MAX_LABELS = 500
# A report's form may name any model.
MAX_MODELS = 100
MAX_FAULTS_SHOWN = 20


class Filters(NamedTuple):
    """Which reports to show; an empty text leaves the choice open. A label may be predicted, proposed or decided."""

    status: str = OPEN
    label: str = ""
    model: str = ""

    def conditions(self) -> dict[str, tuple[str, ...]]:
        """Return the conditions in SQL, each with its values."""
        model, _, version = self.model.partition("/")
        chosen = {
            "status = ?": (self.status,),
            "? IN (prediction, label, final_label)": (self.label,),
            "model = ? AND model_version = ?": (model, version),
        }
        return {condition: values for condition, values in chosen.items() if any(values)}


class Page(NamedTuple):
    """A page of the inbox, newest first; `before` leads to the next one, where there is one."""

    cases: list[dict[str, Any]]
    counts: Mapping[str, int]
    models: list[str]
    labels: list[str]
    before: int | None
    fault_count: int
    faults: list[str]


class ReportIndex:
    """The index of one feedback folder; every method opens it anew, so threads and processes may share it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._reports = Source(folder / REPORTS_FILE, REPORTS)
        self._decisions = Source(folder / DECISIONS_FILE, DECISIONS)

    def read(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Return what `work` reads from the database, which is up to date.

        Where SQLite reports an error, its files are made anew once, and `work` is called again; where they cannot be
        made, it reads a database in memory. Raises OSError or StorageStuck where the disk fails.
        """
        with _disk_errors_as_storage_stuck():
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
                LOG.warning("%s cannot be made, the reports are read anew for each use: %s", self.path, error)
            return self._read("", work)

    def remove(self) -> None:
        """Remove the files of the index; the next use makes them anew."""
        with self._locked(fcntl.LOCK_EX):
            self._remove_files()

    def find(self, report_id: str) -> Mapping[str, Any] | None:
        """Return a report by its id."""
        query = "SELECT * FROM reports WHERE report_id = ?"
        found = self.read(lambda database: database.execute(query, (report_id,)).fetchone())
        return None if found is None else dict(found)

    def page(self, filters: Filters, before: int | None = None) -> Page:
        """Return the newest reports, or those before one of them."""
        return self.read(lambda database: _page(database, filters, before))

    def _read_anew(self, work: Callable[[sqlite3.Connection], Result], *, is_busy: bool) -> Result:
        """Remove the files unless somebody else has made them anew meanwhile, and read."""
        if not is_busy:
            with suppress(sqlite3.Error):
                return self._read(str(self.path), work)
        self._remove_files()
        LOG.warning("%s is made anew", self.path)
        return self._read(str(self.path), work)

    def _read(self, path: str, work: Callable[[sqlite3.Connection], Result]) -> Result:
        with closing(sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            if not is_ours(connection) or not all(source.is_read_up(mark) for source, mark in self._marks(connection)):
                self._follow(connection)
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

    def _follow(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        before = 0
        if not is_ours(connection) or not all(source.is_known(mark) for source, mark in self._marks(connection)):
            before = begin_anew(connection)
        # Measured before the reports are read: whatever a decision up to here is about is among them.
        decisions_end = self._decisions.state()
        ends = (self._reports.state(), decisions_end)
        for (source, mark), end in zip(self._marks(connection), ends, strict=True):
            add(connection, source, mark, end)
        connection.execute("COMMIT")
        count = count_reports(connection) if before else 0
        if count < before:
            fewer = "%s holds %d reports, %d fewer than before: it was edited, replaced or emptied"
            LOG.warning(fewer, self._reports.path, count, before - count)


def _code_of(error: Exception) -> int:
    """Return SQLite's code of what went wrong, without the part that says where; 0 for other errors."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _raise_if_full(error: Exception) -> None:
    if _code_of(error) == sqlite3.SQLITE_FULL:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error


@contextmanager
def _disk_errors_as_storage_stuck() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        _raise_if_full(error)
        raise StorageStuck(f"The index of the reports cannot be used now: {error}.") from error
    except (PermissionError, IsADirectoryError) as error:
        raise StorageStuck(f"The reports cannot be read: {error}.") from error


def _page(database: sqlite3.Connection, filters: Filters, before: int | None) -> Page:
    place: dict[str, tuple[Any, ...]] = {} if before is None else {"seq < ?": (before,)}
    cases = _select(database, "*", filters.conditions() | place, f"ORDER BY seq DESC LIMIT {PAGE_SIZE + 1}")
    shown = [dict(row) for row in cases[:PAGE_SIZE]]
    others = filters._replace(status="").conditions()
    counts = dict(_select(database, "status, count(*)", others, "GROUP BY status"))
    return Page(
        shown,
        dict.fromkeys(STATUSES, 0) | counts,
        _models(database),
        _labels(database),
        shown[-1]["seq"] if len(cases) > PAGE_SIZE else None,
        *faults_in(database, MAX_FAULTS_SHOWN),
    )


def _select(
    database: sqlite3.Connection, columns: str, conditions: Mapping[str, tuple[Any, ...]], order: str
) -> list[Any]:
    query = f"SELECT {columns} FROM reports WHERE {' AND '.join(['1', *conditions])} {order}"  # noqa: S608  our own words
    return database.execute(query, [value for values in conditions.values() for value in values]).fetchall()


def _models(database: sqlite3.Connection) -> list[str]:
    """Return the models that were reported, each found from the one before by the index."""
    found: list[str] = []
    last = ("", "")
    while len(found) < MAX_MODELS and (
        row := database.execute(
            "SELECT model, model_version FROM reports WHERE (model, model_version) > (?, ?) ORDER BY 1, 2 LIMIT 1", last
        ).fetchone()
    ):
        last = (row[0], row[1])
        found.append("/".join(last))
    return found


def _labels(database: sqlite3.Connection) -> list[str]:
    """Return the labels that reviewers have used, so that the next one spells a new label alike."""
    rows = database.execute(
        "SELECT DISTINCT final_label FROM reports WHERE status IN ('accepted', 'corrected') LIMIT ?", (MAX_LABELS,)
    )
    return sorted(row[0] for row in rows)


if __name__ == "__main__":
    # The earlier name of the command.
    runpy.run_module("commands.index_reports", run_name="__main__")
