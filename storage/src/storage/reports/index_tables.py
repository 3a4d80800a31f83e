"""The tables of the reports' index, and how the rows of the CSV files get into them.

A CSV file is only appended to, and is read from where the last reader stopped.
"""

import hashlib
import json
import logging
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from storage.reports.port import OPEN
from storage.reports.queries import (
    DECISION_COLUMNS,
    IMAGE,
    IMAGE_INDEX,
    REPORT_COLUMNS,
    Ask,
    Faults,
    Value,
    decision_values,
    report_values,
)
from wire.tables.csv_reader import Fault, Place, Row, TableReader
from wire.tables.csv_table import Layout, Table
from wire.tables.feedback import REPORTS

LOG = logging.getLogger("sightline.reports")
TAIL_BYTES = 4096
# Another number causes every index to be rebuilt.
SCHEMA_VERSION = 4
ROWS_AT_ONCE = 1000
# Lines that cannot be read are kept up to this number, and counted beyond it.
MAX_FAULTS = 100
FAULTS_LOGGED = 10

_SCHEMA = f"""
CREATE TABLE reports (
  seq INTEGER PRIMARY KEY, report_id TEXT NOT NULL UNIQUE, reported_at TEXT NOT NULL, filename TEXT NOT NULL,
  image_sha256 TEXT NOT NULL, prediction TEXT NOT NULL, score REAL, model TEXT NOT NULL, model_version TEXT NOT NULL,
  label TEXT NOT NULL, comment TEXT NOT NULL, status TEXT NOT NULL DEFAULT '{OPEN}',
  final_label TEXT NOT NULL DEFAULT '', decided_at TEXT NOT NULL DEFAULT '', reviewer TEXT NOT NULL DEFAULT '',
  decision INTEGER NOT NULL DEFAULT 0, prediction_key TEXT NOT NULL, label_key TEXT NOT NULL,
  final_key TEXT NOT NULL DEFAULT '',
  image TEXT GENERATED ALWAYS AS ({IMAGE}) STORED
);
CREATE INDEX by_image ON reports ({IMAGE_INDEX});
CREATE INDEX by_model ON reports (model, model_version);
CREATE INDEX by_name ON reports (filename, decision) WHERE final_key != '';
CREATE INDEX by_content ON reports (image_sha256, decision) WHERE final_key != '';
CREATE INDEX by_class ON reports (final_key, decision) WHERE final_key != '';
CREATE TABLE sources (
  name TEXT PRIMARY KEY, offset INTEGER NOT NULL, lines INTEGER NOT NULL, layouts TEXT NOT NULL, tail BLOB NOT NULL,
  changed_ns INTEGER NOT NULL, has_open_end INTEGER NOT NULL, faults INTEGER NOT NULL
);
CREATE TABLE faults (source TEXT NOT NULL, line INTEGER NOT NULL, reason TEXT NOT NULL);
PRAGMA user_version = {SCHEMA_VERSION};
"""
_ADD_REPORT = f"""
INSERT OR IGNORE INTO reports ({", ".join(REPORT_COLUMNS)}) VALUES ({", ".join("?" * len(REPORT_COLUMNS))})
"""  # noqa: S608  our own words
# In the order of the file, so that the last one stays.
_ADD_DECISION = f"UPDATE reports SET {', '.join(f'{name} = ?' for name in DECISION_COLUMNS)} WHERE report_id = ?"  # noqa: S608  our own words


class Mark(NamedTuple):
    """How far a file was read, and what it is known again by: its time, and a digest of what stands before."""

    place: Place = Place()
    tail: bytes = b""
    changed_ns: int = 0
    has_open_end: bool = False

    def columns(self) -> tuple[int, int, str, bytes, int, bool]:
        """Return the mark as the index keeps it; `mark_of` reads it."""
        place = (self.place.offset, self.place.lines, json.dumps(self.place.layouts))
        return (*place, self.tail, self.changed_ns, self.has_open_end)


def mark_of(offset: int, lines: int, layouts: str, *rest: Any) -> Mark:
    """Return a mark that the index has kept."""
    known = tuple(Layout(delimiter, tuple(columns)) for delimiter, columns in json.loads(layouts))
    return Mark(Place(offset, lines, known), *rest)


class Source(NamedTuple):
    """A CSV file of the index."""

    path: Path
    table: Table

    def state(self) -> tuple[int, int]:
        """Return how many bytes there are, and when they were written last; zeros where there is no file."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return 0, 0
        return status.st_size, status.st_mtime_ns

    def is_read_up(self, mark: Mark) -> bool:
        """Return whether the file is as it was when it was read up to the mark, which was its end."""
        return self.state() == (mark.place.offset, mark.changed_ns) and self._is_known(mark)

    def is_known(self, mark: Mark) -> bool:
        """Return whether the file is still the one that was read up to the mark; more may stand behind it."""
        size, changed_ns = self.state()
        is_longer = size > mark.place.offset
        # Of the same length but written since: someone has edited it.
        is_same = size == mark.place.offset and (changed_ns == mark.changed_ns or not size)
        # A row without its end may have been only half of it.
        return (is_same or (is_longer and not mark.has_open_end)) and self._is_known(mark)

    def mark_at(self, place: Place, changed_ns: int) -> Mark:
        """Return the mark of a place."""
        if not place.offset:
            return Mark(place, b"", changed_ns)
        with self.path.open("rb") as file:
            file.seek(max(0, place.offset - TAIL_BYTES))
            tail = file.read(min(place.offset, TAIL_BYTES))
        # UTF-16 ends a line with two bytes.
        return Mark(place, hashlib.sha256(tail).digest(), changed_ns, has_open_end=b"\n" not in tail[-2:])

    def _is_known(self, mark: Mark) -> bool:
        return self.mark_at(mark.place, mark.changed_ns).tail == mark.tail


def is_ours(connection: sqlite3.Connection) -> bool:
    """Return whether the database has the tables of this version."""
    if connection.execute("PRAGMA user_version").fetchone()[0] != SCHEMA_VERSION:
        return False
    made = {row[0] for row in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    return made == {each.strip() for each in _SCHEMA.split(";") if "CREATE" in each}


def marks(connection: sqlite3.Connection, sources: Sequence[Source]) -> list[tuple[Source, Mark]]:
    """Return how far each source was read."""
    rows = connection.execute("SELECT name, offset, lines, layouts, tail, changed_ns, has_open_end FROM sources")
    try:
        kept = {name: mark_of(*columns) for name, *columns in rows}
    except (ValueError, TypeError) as error:
        raise sqlite3.DatabaseError(f"a mark is damaged: {error}") from error
    return [(source, kept.get(source.path.name, Mark())) for source in sources]


def begin_anew(connection: sqlite3.Connection) -> int:
    """Empty the database, and return how many reports there were."""
    before = 0
    with suppress(sqlite3.OperationalError):  # no such table
        before = count_reports(connection)
    drop = "DROP TABLE IF EXISTS reports; DROP TABLE IF EXISTS sources; DROP TABLE IF EXISTS faults; "
    # One statement at a time: a script would end the transaction.
    for statement in f"{drop}{_SCHEMA}".split(";"):
        connection.execute(statement)
    return before


def count_reports(connection: sqlite3.Connection) -> int:
    """Return how many reports there are."""
    return int(connection.execute("SELECT count(*) FROM reports").fetchone()[0])


def add(
    connection: sqlite3.Connection, source: Source, mark: Mark, end: tuple[int, int], is_over: Callable[[], bool]
) -> int:
    """Add the rows between a mark and an end, and the faults with them, until `is_over`; return how far it came."""
    size, changed_ns = end
    place, faults = mark.place, 0
    if size > place.offset:
        with source.path.open("rb") as file:
            reader = TableReader(source.table, file, place, size, takes_open_end=True)
            faults = _add_rows(connection, source, reader, is_over)
            place = reader.place
    connection.execute(
        "REPLACE INTO sources VALUES (?, ?, ?, ?, ?, ?, ?, "
        "? + coalesce((SELECT faults FROM sources WHERE name = ?), 0))",
        (source.path.name, *source.mark_at(place, changed_ns).columns(), faults, source.path.name),
    )
    return place.offset


def _add_rows(connection: sqlite3.Connection, source: Source, reader: TableReader, is_over: Callable[[], bool]) -> int:
    """Return how many faults there were."""
    statement, values_of = (_ADD_REPORT, _report_of) if source.table is REPORTS else (_ADD_DECISION, _decision_of)
    count = 0
    found = iter(reader)
    while not is_over() and (some := list(islice(found, ROWS_AT_ONCE))):
        connection.executemany(statement, [values_of(each) for each in some if isinstance(each, Row)])
        for fault in some:
            if isinstance(fault, Fault):
                count += 1
                _add_fault(connection, source, fault, count)
    found.close()  # while its file is open
    if count > FAULTS_LOGGED:
        LOG.warning("%s: %d lines cannot be read and are not used", source.path, count)
    return count


def _add_fault(connection: sqlite3.Connection, source: Source, fault: Fault, count: int) -> None:
    if count <= FAULTS_LOGGED:
        LOG.warning("%s, line %d %s; the line is not used", source.path, fault.line, fault.reason)
    if count <= MAX_FAULTS:
        values = (source.path.name, fault.line, fault.reason)
        connection.execute("INSERT INTO faults VALUES (?, ?, ?)", values)


def _report_of(row: Row) -> tuple[Value, ...]:
    return report_values(row.cells)


def _decision_of(row: Row) -> tuple[Value, ...]:
    """Return a decision and its place among all: of those about one image the last one counts."""
    return (*decision_values(row.cells, row.line), row.cells["report_id"])


def faults_in(ask: Ask, limit: int) -> Faults:
    """Return how many lines of the CSV files cannot be read, and a description of the fault of the first."""
    [total] = ask("SELECT coalesce(sum(faults), 0) AS total FROM sources", ())
    rows = ask("SELECT source, line, reason FROM faults ORDER BY source DESC, line LIMIT ?", (limit,))
    return Faults(total["total"], [f"{row['source']}, line {row['line']} {row['reason']}" for row in rows])
