"""The reports in a database, for what a CSV file is too slow for; it is made of the CSV files, which are the record.

It follows them by itself: each use first reads what was appended since the last. Where it is missing or damaged, or a
file is not the one that it knew, it is made anew. `python report_index.py` makes it anew in any case.
"""

import errno
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path, PurePath

import decisions
import reports
import settings
from blocking import StorageStuck
from index_source import Mark, Row, Source

FILE_NAME = "reports.sqlite3"
# Another number makes every index that there is anew.
SCHEMA_VERSION = 1
# Short of what a request waits for a disk: see blocking.py.
BUSY_S = 8.0
ROWS_AT_ONCE = 1000
# More of a text than the inbox shows; all of it is in the CSV.
MAX_TEXT = 4000
Values = tuple[str | float | int | None, ...]
STATUS_OF = {"accept": "accepted", "correct": "corrected", "reject": "rejected"}
OPEN = "open"
STATUSES = (OPEN, *STATUS_OF.values())

_SCHEMA = f"""
CREATE TABLE reports (
  seq INTEGER PRIMARY KEY, report_id TEXT NOT NULL UNIQUE, reported_at TEXT NOT NULL, filename TEXT NOT NULL,
  image_sha256 TEXT NOT NULL, prediction TEXT NOT NULL, score REAL, model TEXT NOT NULL, model_version TEXT NOT NULL,
  label TEXT NOT NULL, comment TEXT NOT NULL, status TEXT NOT NULL DEFAULT '{OPEN}',
  final_label TEXT NOT NULL DEFAULT '', decided_at TEXT NOT NULL DEFAULT '', reviewer TEXT NOT NULL DEFAULT ''
);
CREATE INDEX by_status ON reports (status, seq);
CREATE INDEX by_model ON reports (model, model_version);
CREATE INDEX by_picture ON reports (filename, seq);
CREATE TABLE sources (name TEXT PRIMARY KEY, offset INTEGER NOT NULL, tail BLOB NOT NULL);
PRAGMA user_version = {SCHEMA_VERSION};
"""
_ADD_REPORT = """
INSERT OR IGNORE INTO reports
  (report_id, reported_at, filename, image_sha256, prediction, score, model, model_version, label, comment)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
# In the order of the file, so that the last one stays.
_ADD_DECISION = "UPDATE reports SET status = ?, final_label = ?, decided_at = ?, reviewer = ? WHERE report_id = ?"


class ReportIndex:
    """The index of one feedback folder; every method opens it anew, so threads and processes may share it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._reports = Source(folder / reports.FILE_NAME, reports.TABLE)
        self._decisions = Source(folder / decisions.FILE_NAME, decisions.TABLE)

    @contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        """Give the database, up to date; raises OSError or StorageStuck where the disk does not serve."""
        with _as_trouble_of_the_disk():
            try:
                connection = self._followed()
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:  # no database, or a damaged one
                self.remove()
                connection = self._followed()
            with closing(connection):
                yield connection

    def remove(self) -> None:
        """Remove the files of the index; the next use makes them anew."""
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def find(self, report_id: str) -> sqlite3.Row | None:
        """Give a report by its id."""
        with self.opened() as database:
            found: sqlite3.Row | None = database.execute(
                "SELECT * FROM reports WHERE report_id = ?", (report_id,)
            ).fetchone()
            return found

    def _followed(self) -> sqlite3.Connection:
        """Open the database and read what was appended; one process at a time does."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            if not self._is_up_to_date(connection):
                self._follow(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _is_up_to_date(self, connection: sqlite3.Connection) -> bool:
        return _is_ours(connection) and all(
            mark.offset == source.size() and source.is_known(mark) for source, mark in self._marks(connection)
        )

    def _follow(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        if not _is_ours(connection) or not all(source.is_known(mark) for source, mark in self._marks(connection)):
            _begin_anew(connection)
        # Measured before the reports are read: whatever a decision up to here is about is among them.
        decisions_end = self._decisions.size()
        for source, mark in self._marks(connection):
            if source is self._reports:
                end = _read(connection, _ADD_REPORT, _report_of, source.rows(mark.offset, source.size()))
            else:
                end = _read(connection, _ADD_DECISION, _decision_of, source.rows(mark.offset, decisions_end))
            known = source.mark_at(end or mark.offset)
            connection.execute("REPLACE INTO sources VALUES (?, ?, ?)", (source.path.name, *known))
        connection.execute("COMMIT")

    def _marks(self, connection: sqlite3.Connection) -> list[tuple[Source, Mark]]:
        kept = {row["name"]: Mark(row["offset"], row["tail"]) for row in connection.execute("SELECT * FROM sources")}
        return [(source, kept.get(source.path.name, Mark())) for source in (self._reports, self._decisions)]


def _is_ours(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION)


def _begin_anew(connection: sqlite3.Connection) -> None:
    # One statement at a time: a script would end the transaction.
    for statement in f"DROP TABLE IF EXISTS reports; DROP TABLE IF EXISTS sources; {_SCHEMA}".split(";"):
        connection.execute(statement)


def _read(
    connection: sqlite3.Connection, statement: str, values_of: Callable[[Row], Values | None], rows: Iterator[Row]
) -> int:
    """Put rows into the database, and give the place after the last; 0 where there is none."""
    end = 0
    while some := list(islice(rows, ROWS_AT_ONCE)):
        connection.executemany(statement, [values for row in some if (values := values_of(row)) is not None])
        end = some[-1].end
    return end


def _report_of(row: Row) -> Values | None:
    cells = row.cells
    if not cells["report_id"]:
        return None
    texts = [cells[name][:MAX_TEXT] for name in ("model", "model_version", "label", "comment")]
    filename = PurePath(cells["image_path"]).name
    picture = (cells["report_id"], cells["reported_at"], filename, cells["image_sha256"])
    return (*picture, cells["prediction"][:MAX_TEXT], _number(cells["score"]), *texts)


def _decision_of(row: Row) -> Values | None:
    cells = row.cells
    status = STATUS_OF.get(cells["decision"])
    if status is None:
        return None
    return (status, cells["label"][:MAX_TEXT], cells["time"], cells["reviewer"], cells["report_id"])


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


@contextmanager
def _as_trouble_of_the_disk() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if "full" in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise StorageStuck(f"The index of the reports cannot be used now: {error}.") from error


def main() -> int:
    """Make the index anew, and say of how many reports."""
    index = ReportIndex(Path(settings.FEEDBACK_FILEPATH).parent)
    index.remove()
    with index.opened() as database:
        counts = dict(database.execute("SELECT status, count(*) FROM reports GROUP BY status").fetchall())
    told = ", ".join(f"{counts.get(status, 0)} {status}" for status in STATUSES)
    sys.stdout.write(f"{index.path}: {sum(counts.values())} reports ({told})\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
