"""Reports between the files of a feedback folder and a database.

What the files have is added to the database, and what was edited in them is changed there; nothing is removed. The
other way round, the files of a new folder hold everything, and are a record that the service can continue with.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy import Connection

from storage.reports import files
from storage.reports.keys import kept_keys
from storage.reports.port import STATUS_OF
from storage.reports.postgres.database import Database, ask, storable
from storage.reports.postgres.reports import NUMBER_BITS, digest_of, number_of
from storage.reports.queries import REPORT_COLUMNS, Value, report_values
from wire.tables.csv_reader import Fault, Row, TableReader
from wire.tables.csv_table import UTF_8, Table
from wire.tables.feedback import (
    DECISIONS,
    DECISIONS_FILE,
    LINES_FILE,
    RENAMES,
    RENAMES_FILE,
    REPORTS,
    REPORTS_FILE,
    decided_label,
    image_name,
)
from wire.tables.labels import key

Values: TypeAlias = tuple[Value | bytes, ...]

# A command waits for as long as it takes.
TIMEOUT_S = 3600.0
# What an index of PostgreSQL is sure to take of one value.
MAX_INDEXED_BYTES = 1100
ROWS_AT_ONCE = 1000

_DECISION_COLUMNS = ("digest", "number", "time", "report_id", "decision", "label", "label_key", "reviewer")
_RENAME_COLUMNS = ("digest", "time", "label", "name", "reviewer")
_KEEP_REPORTS = f"""
WITH kept AS (
  INSERT INTO reports (record, {", ".join(REPORT_COLUMNS)})
  SELECT record, {", ".join(REPORT_COLUMNS)} FROM (
    SELECT DISTINCT ON (report_id) * FROM staged_reports ORDER BY report_id, place
  ) AS first ORDER BY place
  ON CONFLICT (report_id) DO UPDATE SET record = excluded.record,
    {", ".join(f"{name} = excluded.{name}" for name in REPORT_COLUMNS)}
  WHERE reports.record != excluded.record
  RETURNING xmax = 0 AS is_new
) SELECT count(*) FILTER (WHERE is_new) AS added, count(*) FILTER (WHERE NOT is_new) AS changed FROM kept
"""  # noqa: S608  our own words
# An edited decision has the time of the one before it: it comes after that.
_KEEP_DECISIONS = f"""
WITH kept AS (
  INSERT INTO decisions ({", ".join(_DECISION_COLUMNS)})
  SELECT digest, greatest(number, 1 + coalesce((
      SELECT max(other.number) FROM decisions AS other
      WHERE other.report_id = staged.report_id AND other.number >> {NUMBER_BITS} = staged.number >> {NUMBER_BITS}
    ), 0)), {", ".join(_DECISION_COLUMNS[2:])}
  FROM (SELECT DISTINCT ON (digest) * FROM staged_decisions ORDER BY digest, place) AS staged ORDER BY place
  ON CONFLICT (digest) DO NOTHING RETURNING 1
) SELECT count(*) AS added FROM kept
"""  # noqa: S608  as above
_KEEP_RENAMES = f"""
WITH kept AS (
  INSERT INTO renames ({", ".join(_RENAME_COLUMNS)})
  SELECT {", ".join(_RENAME_COLUMNS)} FROM staged_renames ORDER BY place
  ON CONFLICT (digest) DO NOTHING RETURNING 1
) SELECT count(*) AS added FROM kept
"""  # noqa: S608  as above
_APPLY_DECISIONS = f"""
UPDATE reports SET
  status = CASE last.decision {" ".join(f"WHEN '{kind}' THEN '{status}'" for kind, status in STATUS_OF.items())} END,
  final_label = CASE WHEN last.label_key = '' THEN '' ELSE last.label END,
  final_key = last.label_key, decided_at = last.time, reviewer = last.reviewer, decision = last.number
FROM (SELECT DISTINCT ON (report_id) * FROM decisions ORDER BY report_id, number DESC, seq DESC) AS last
WHERE last.report_id = reports.report_id AND last.number > reports.decision
"""  # noqa: S608  as above
_LINES_OF_FOLDER = "SELECT line, count(*) AS count FROM lines WHERE folder = ? GROUP BY line"
_KEEP_LINES = "INSERT INTO lines (folder, line, is_filed) SELECT folder, line, true FROM staged_lines ORDER BY place"
_KEEP_KEYS = "INSERT INTO report_keys SELECT report_id, content FROM staged_report_keys ON CONFLICT DO NOTHING"


class Imported(NamedTuple):
    """What an import has added and changed, and which lines could not be read."""

    lines: int
    reports: int
    changed: int
    decisions: int
    renames: int
    faults: Sequence[str]


def open_database(url: str) -> Database:
    """Return a database for a command."""
    return Database(url, connections=1, timeout_s=TIMEOUT_S)


def import_folder(database: Database, folder: Path) -> Imported:
    """Add what the files of a folder hold to a database, all or nothing; again, where it is done again."""
    return database.run(lambda connection: _Import(connection, folder).run())


def export_folder(database: Database, folder: Path) -> None:
    """Write the files of a new or empty folder: everything, as it was at one moment."""
    folder.mkdir(parents=True, exist_ok=True)
    database.run(lambda connection: _export(connection, folder), is_snapshot=True)


def add_rename(database: Database, cells: dict[str, str]) -> None:
    """Give a class another name: a row of labels.csv."""
    values: Values = (digest_of(cells), *cells.values())
    query = f"INSERT INTO renames (digest, {', '.join(cells)}) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"  # noqa: S608  our own words
    database.run(lambda connection: ask(connection, query, values))


class _Import:
    """One import, in one transaction."""

    def __init__(self, connection: Connection, folder: Path) -> None:
        self._connection = connection
        self._folder = folder
        self._faults: list[str] = []

    def run(self) -> Imported:
        self._stage("report_keys", ("report_id", "content"), self._keys())
        self._ask(_KEEP_KEYS)
        self._stage("reports", ("record", *REPORT_COLUMNS), self._reports())
        self._stage("decisions", _DECISION_COLUMNS, self._decisions())
        self._stage("renames", _RENAME_COLUMNS, self._renames())
        [reports] = self._ask(_KEEP_REPORTS)
        [decisions] = self._ask(_KEEP_DECISIONS)
        [renames] = self._ask(_KEEP_RENAMES)
        self._ask(_APPLY_DECISIONS)
        # Else the inbox is slow until the server analyzes the tables by itself, in a minute.
        self._ask("ANALYZE reports, decisions, lines")
        counts = (reports["added"], reports["changed"], decisions["added"], renames["added"])
        return Imported(self._keep_lines(), *counts, self._faults)

    def _ask(self, query: str, values: Values = ()) -> Sequence[Any]:
        return ask(self._connection, query, values)

    def _stage(self, table: str, columns: Sequence[str], rows: Iterable[Values]) -> int:
        """Copy rows into a table that lasts as long as the transaction; return how many."""
        names = ", ".join(columns)
        like = f"SELECT 0::bigint AS place, {names} FROM {table} WHERE false"  # noqa: S608  as above
        self._ask(f"CREATE TEMPORARY TABLE staged_{table} ON COMMIT DROP AS {like}")
        count = 0
        driver: Any = self._connection.connection.driver_connection
        with driver.cursor() as cursor, cursor.copy(f"COPY staged_{table} (place, {names}) FROM STDIN") as copy:
            for count, values in enumerate(rows, 1):
                copy.write_row((count, *map(storable, values)))
        return count

    def _keep_lines(self) -> int:
        """Add each line as often as the file has it more often than the database, for this folder."""
        path = self._folder / LINES_FILE
        if not path.exists():
            return 0
        folder_id = files.folder_id(self._folder)
        known = Counter({bytes(row["line"]): row["count"] for row in self._ask(_LINES_OF_FOLDER, (folder_id,))})
        with path.open("rb") as file:
            count = self._stage("lines", ("folder", "line"), ((folder_id, line) for line in _surplus(file, known)))
        self._ask(_KEEP_LINES)
        return count

    def _keys(self) -> Iterator[Values]:
        for each in kept_keys(self._folder):
            if any(each.content):
                yield str(UUID(bytes=each.report_id)), each.content

    def _reports(self) -> Iterator[Values]:
        for row in self._rows(REPORTS_FILE, REPORTS):
            cells = row.cells
            indexed = {"image_path": image_name(cells["image_path"])} | {
                name: cells[name] for name in ("report_id", "image_sha256", "model", "model_version")
            }
            if self._fits(REPORTS_FILE, row, indexed):
                yield REPORTS.line(cells).encode(UTF_8, "replace"), *report_values(cells)

    def _decisions(self) -> Iterator[Values]:
        previous_ms, last_ms = 0, dict[str, int]()
        for row in self._rows(DECISIONS_FILE, DECISIONS):
            cells = row.cells
            if not self._fits(DECISIONS_FILE, row, {name: cells[name] for name in ("report_id", "label")}):
                continue
            # The last row of a report counts, regardless of its time.
            report_id = cells["report_id"]
            previous_ms = max(_milliseconds(cells["time"], previous_ms), last_ms.get(report_id, 0))
            last_ms[report_id] = previous_ms
            final_key = key(decided_label(cells["decision"], cells["label"]))
            kept = (cells["time"], report_id, cells["decision"], cells["label"], final_key, cells["reviewer"])
            yield digest_of(cells), number_of(previous_ms, row.line), *kept

    def _renames(self) -> Iterator[Values]:
        for row in self._rows(RENAMES_FILE, RENAMES):
            yield digest_of(row.cells), *row.cells.values()

    def _rows(self, name: str, table: Table) -> Iterator[Row]:
        path = self._folder / name
        if not path.exists():
            return
        with path.open("rb") as file:
            for found in TableReader(table, file, takes_open_end=True):
                if isinstance(found, Fault):
                    self._faults.append(f"{path}, line {found.line} {found.reason}; the line is not used")
                else:
                    yield found

    def _fits(self, name: str, row: Row, cells: dict[str, str]) -> bool:
        """Return whether each of these cells can be indexed; note the fault otherwise."""
        for column, cell in cells.items():
            if len(cell) * 4 > MAX_INDEXED_BYTES and len(cell.encode(UTF_8, "replace")) > MAX_INDEXED_BYTES:
                reason = f"has a {column} of more than {MAX_INDEXED_BYTES} bytes"
                self._faults.append(f"{self._folder / name}, line {row.line} {reason}; the line is not used")
                return False
        return True


def _surplus(file: BinaryIO, known: Counter[bytes]) -> Iterator[bytes]:
    for ended in file:
        line = ended.rstrip(b"\n")
        if known[line] > 0:
            known[line] -= 1
        else:
            yield line


def _milliseconds(text: str, otherwise: int) -> int:
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        return otherwise
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)


def _export(connection: Connection, folder: Path) -> None:
    streamed = partial(_streamed, connection)
    with _new_file(folder / LINES_FILE) as file:
        file.writelines(line + b"\n" for [line] in streamed("SELECT line FROM lines ORDER BY seq"))
    with _new_file(folder / REPORTS_FILE, REPORTS) as file:
        file.writelines(record + b"\n" for [record] in streamed("SELECT record FROM reports ORDER BY seq"))
    for name, table, source in (
        (DECISIONS_FILE, DECISIONS, "decisions ORDER BY number, seq"),
        (RENAMES_FILE, RENAMES, "renames ORDER BY seq"),
    ):
        query = f"SELECT {', '.join(table.columns)} FROM {source}"  # noqa: S608  our own words
        with _new_file(folder / name, table) as file:
            for values in streamed(query):
                file.write(table.form.encoded(table.line(dict(zip(table.columns, values, strict=True)))))


def _streamed(connection: Connection, query: str) -> Iterator[Sequence[Any]]:
    """Yield the rows; memory holds a few."""
    yield from connection.execution_options(stream_results=True, yield_per=ROWS_AT_ONCE).exec_driver_sql(query)


def _new_file(path: Path, table: Table | None = None) -> BinaryIO:
    """Create a file, with the header of its table."""
    file = path.open("xb")
    if table is not None:
        file.write(table.form.encoded(table.header_line))
    return file
