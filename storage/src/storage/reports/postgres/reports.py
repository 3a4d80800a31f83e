"""Reports in PostgreSQL, which is the record; the files of each host hold what that host has accepted."""

import hashlib
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from uuid import UUID

from sqlalchemy import Connection

from storage.errors import KeyReused, ReportsFull, StorageError
from storage.files import Run, run_here
from storage.reports import erasure, files, port
from storage.reports.appender import Appender
from storage.reports.files import Addition, Once
from storage.reports.keys import Key, find_key
from storage.reports.postgres.database import Database, ask
from storage.reports.queries import (
    DECISION_COLUMNS,
    REPORT_COLUMNS,
    Ask,
    QueriedReports,
    Result,
    decision_values,
    find,
    report_values,
    reports_of,
)
from wire.tables.csv_table import UTF_8
from wire.tables.feedback import REPORTS, REPORTS_FILE

LOG = logging.getLogger("sightline.reports")

# Renaming a class takes effect on all hosts within this time.
RENAMES_FRESH_S = 2.0
PENDING_AT_ONCE = 200
# Of a decision's number: the lower bits order the decisions of one millisecond.
NUMBER_BITS = 20
# What a report has for content that came without a key.
NO_CONTENT = bytes(16)

_SIZE = "SELECT pg_total_relation_size('reports') + pg_total_relation_size('lines') AS size"
_ADD_KEY = "INSERT INTO report_keys (report_id, content) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING report_id"
_ADD_LINES = """
INSERT INTO lines (folder, is_filed, report_id, line)
SELECT ?, ?, report_id, line FROM unnest(?::text[], ?::bytea[]) WITH ORDINALITY AS new (report_id, line, place)
ORDER BY place ON CONFLICT DO NOTHING RETURNING report_id
"""
_REPORT_ARRAYS = ", ".join(f"?::{'double precision' if name == 'score' else 'text'}[]" for name in REPORT_COLUMNS)
_ADD_REPORTS = f"""
INSERT INTO reports (record, {", ".join(REPORT_COLUMNS)})
SELECT record, {", ".join(REPORT_COLUMNS)} FROM unnest(?::bytea[], {_REPORT_ARRAYS}) WITH ORDINALITY
  AS new (record, {", ".join(REPORT_COLUMNS)}, place) ORDER BY place
"""  # noqa: S608  our own words
_ADD_DECISIONS = """
INSERT INTO decisions (digest, number, time, report_id, decision, label, label_key, reviewer)
SELECT * FROM unnest(?::bytea[], ?::bigint[], ?::text[], ?::text[], ?::text[], ?::text[], ?::text[], ?::text[])
ON CONFLICT DO NOTHING
"""
_SET_DECISIONS = f"""
UPDATE reports SET {", ".join(f"{name} = new.{name}" for name in DECISION_COLUMNS)}
FROM unnest(?::text[], ?::text[], ?::text[], ?::text[], ?::text[], ?::bigint[], ?::text[])
  AS new ({", ".join(DECISION_COLUMNS)}, report_id)
WHERE reports.report_id = new.report_id
"""  # noqa: S608  as above
_PENDING = f"""
SELECT report_id, line, record FROM lines LEFT JOIN reports USING (report_id)
WHERE folder = ? AND NOT is_filed ORDER BY lines.seq LIMIT {PENDING_AT_ONCE}
"""  # noqa: S608  as above
_MEANT = "SELECT report_id, filename FROM reports WHERE filename = ANY(?) OR image_sha256 = ANY(?)"
_SET_FILED = "UPDATE lines SET is_filed = true WHERE report_id = ANY(?)"


class PostgresReports(QueriedReports):
    """The reports of all hosts; `lines` is this host's file of lines."""

    _LABELS = """
        SELECT final_label FROM (
          SELECT DISTINCT ON (final_key) final_label, decision FROM reports WHERE final_key != ''
          ORDER BY final_key, decision
        ) AS named ORDER BY decision
    """

    def __init__(self, database: Database, lines: Path, max_bytes: int, run: Run = run_here) -> None:
        self._database = database
        self._lines = lines
        self._rows = lines.with_name(REPORTS_FILE)
        self._max_bytes = max_bytes
        self._run = run
        self._appender = Appender(lines, self._rows, run)
        self._folder_id = ""
        # Whether there may be reports of this host that its files lack.
        self._is_behind = True
        self._renames: tuple[tuple[str, str], ...] | None = None
        self._renames_read_at = 0.0

    def add(self, report: port.Report, when_kept: Callable[[], None] = lambda: None) -> None:
        """Keep it in the database, then in the files of this host."""
        folder_id = self._identified()
        attempts = iter(range(1, 10))

        def work(connection: Connection) -> bool:
            # Kept by an attempt whose result is unknown.
            self._is_behind = self._is_behind or next(attempts) > 1
            return self._add(connection, report, folder_id)

        try:
            is_new = self._database.run(work)
        except StorageError:
            self._is_behind = True
            raise
        if is_new:
            when_kept()
            if folder_id:
                self._file([report])

    def add_all(self, reports: Sequence[port.Report], when_kept: Callable[[], None] = lambda: None) -> None:
        """Keep them in the database, in one transaction, then in the files of this host."""
        if not reports:
            return
        folder_id = self._identified()
        try:
            self._database.run(lambda connection: self._insert(connection, reports, folder_id))
        except StorageError:
            self._is_behind = True
            raise
        when_kept()
        if folder_id:
            self._file(reports)

    def decide(self, decision: port.Decision, seen: int | None = None) -> int:
        """Keep it while no one else decides about the report."""
        cells = decision.cells()
        digest = digest_of(cells)

        def work(connection: Connection) -> int:
            asking = partial(ask, connection)
            rows = asking("SELECT * FROM reports WHERE report_id = ? FOR UPDATE", [decision.report_id])
            is_kept = asking("SELECT FROM decisions WHERE digest = ?", [digest])
            if not rows or is_kept or (seen is not None and not port.is_due(decision, seen, rows[0])):
                return int(rows[0]["decision"]) if rows else 0
            [number] = _decide(asking, [cells], {decision.report_id: rows[0]["decision"]})
            return number

        return self._database.run(work)

    def decide_images(self, decisions: Sequence[port.ImageDecision]) -> list[port.Outcome]:
        """Keep them while no one else decides about the images."""
        images = [decision.image for decision in decisions]

        def work(connection: Connection) -> list[port.Outcome]:
            asking = partial(ask, connection)
            rows = reports_of(asking, images, "FOR UPDATE")
            found = {each.image: port.due(each, rows[each.image]) for each in decisions}
            numbers = {row["report_id"]: row["decision"] for some in rows.values() for row in some}
            _decide(asking, [each.cells() for some in found.values() for each in some or ()], numbers)
            rows = reports_of(asking, images)
            return [port.outcome(each, rows[each.image], is_kept=found[each.image] is not None) for each in decisions]

        return self._database.run(work)

    def renames(self) -> Sequence[tuple[str, str]]:
        """Read them, where they were not read lately; where that fails, return those that were read before."""
        if self._renames is None or time.monotonic() - self._renames_read_at > RENAMES_FRESH_S:
            try:
                self._renames = self._database.run(_renames)
            except StorageError:
                if self._renames is None:
                    raise
            self._renames_read_at = time.monotonic()
        return self._renames

    def erase(self, names: Collection[str], sha256s: Collection[str]) -> port.Erased:
        """Delete the rows, and rewrite the files of this host without them."""
        contents = [sha256 for sha256 in sha256s if sha256]

        def work(connection: Connection) -> tuple[list[str], set[str]]:
            asking = partial(ask, connection)
            rows = asking(_MEANT, [list(names), contents])
            meant, found = [row["report_id"] for row in rows], {row["filename"] for row in rows} | set(names)
            for table in ("decisions", "reports", "lines", "report_keys"):
                asking(f"DELETE FROM {table} WHERE report_id = ANY(?)", [meant])  # noqa: S608  our own words
            for name in found:
                asking("DELETE FROM lines WHERE position(?::bytea IN line) > 0", [name.encode()])
            return meant, found

        meant, found = self._database.run(work)
        erased = self._run(lambda: erasure.erase(self._lines, self._rows, found, contents))
        return port.Erased(max(len(meant), erased.reports), frozenset(found) | erased.names)

    def check(self) -> None:
        """Look at the revision of the tables."""
        self._database.check_schema()

    def heal(self) -> None:
        """Heal the files, and append to them what this host has accepted and they lack."""
        self._run(lambda: files.heal(self._lines, self._rows))
        if self._identified():
            self._file_pending()

    def _query(self, work: Callable[[Ask], Result]) -> Result:
        return self._database.run(lambda connection: work(partial(ask, connection)))

    def _add(self, connection: Connection, report: port.Report, folder_id: str) -> bool:
        """Return False where the report is there already."""
        if report.content and not self._is_new(connection, report):
            return False
        return bool(self._insert(connection, [report], folder_id))

    def _insert(self, connection: Connection, reports: Sequence[port.Report], folder_id: str) -> set[str]:
        """Insert those reports that are not there yet; return their ids."""
        asking = partial(ask, connection)
        if asking(_SIZE)[0]["size"] >= self._max_bytes:
            raise ReportsFull(port.too_many(self._max_bytes))
        lines = [each.line.encode(UTF_8, "replace") for each in reports]
        ids = [each.report_id for each in reports]
        added = {row["report_id"] for row in asking(_ADD_LINES, (folder_id, not folder_id, ids, lines))}
        rows = []
        for each in reports:
            if each.report_id in added and each.cells is not None:
                cells = dict.fromkeys(REPORTS.columns, "") | dict(each.cells)
                rows.append((REPORTS.line(cells).encode(UTF_8, "replace"), *report_values(cells)))
        if rows:
            asking(_ADD_REPORTS, [list(column) for column in zip(*rows, strict=True)])
        return added

    def _is_new(self, connection: Connection, report: port.Report) -> bool:
        """Take the key of a report; raise KeyReused where it belongs to another one."""
        asking = partial(ask, connection)
        if not asking(_ADD_KEY, (report.report_id, report.content)):
            [known] = asking("SELECT content FROM report_keys WHERE report_id = ?", [report.report_id])
            if bytes(known["content"]) == report.content:
                return False
        found = find(asking, report.report_id)
        if found is None and not asking("SELECT FROM lines WHERE report_id = ?", [report.report_id]):
            return True
        if report.cells is None or found is None or port.statement(found) != report.statement():
            raise KeyReused
        return False

    def _file(self, reports: Sequence[port.Report]) -> None:
        """Append new reports to the files of this host; they are kept, so it does no harm where that fails for now."""
        try:
            self._append_new(reports)
            self._set_filed([each.report_id for each in reports])
            if self._is_behind:
                self._file_pending()
        except (OSError, StorageError) as error:
            self._is_behind = True
            LOG.warning("reports are kept in the database, and not yet in %s: %s", self._rows, error)

    def _file_pending(self) -> None:
        """Append to the files what they lack, in the order in which it came."""
        folder_id = self._identified()
        self._is_behind = False
        try:
            self._file_each(folder_id)
        except BaseException:
            self._is_behind = True
            raise

    def _file_each(self, folder_id: str) -> None:
        while rows := self._database.run(lambda connection: ask(connection, _PENDING, [folder_id])):
            for row in rows:
                record = row["record"]
                cells = None if record is None else REPORTS.read(bytes(record).decode(UTF_8))
                report = port.Report(row["report_id"], bytes(row["line"]).decode(UTF_8), cells)
                self._append(report)
            self._set_filed([row["report_id"] for row in rows])

    def _append_new(self, reports: Sequence[port.Report]) -> None:
        if len(reports) == 1:
            self._append(reports[0])
        else:
            self._run(lambda: files.append_all(self._lines, self._rows, reports, list(map(_key_of, reports))))

    def _append(self, report: port.Report) -> None:
        key = _key_of(report)
        once = Once(key, lambda: find_key(self._lines.parent, key.report_id) is not None)
        self._appender.add(Addition(report.line, report.cells, once))

    def _set_filed(self, report_ids: list[str]) -> None:
        def work(connection: Connection) -> None:
            # Lost, it is done again: the files know what they hold.
            ask(connection, "SET LOCAL synchronous_commit = off")
            ask(connection, _SET_FILED, [report_ids])

        self._database.run(work)

    def _identified(self) -> str:
        """Return the id of this host's folder; empty where the folder cannot be written to."""
        if not self._folder_id:
            try:
                self._folder_id = self._run(lambda: files.folder_id(self._lines.parent))
            except (OSError, StorageError) as error:
                LOG.warning("reports are kept in the database alone, %s cannot be used: %s", self._lines.parent, error)
        return self._folder_id


def _key_of(report: port.Report) -> Key:
    return Key(UUID(report.report_id).bytes, report.content or NO_CONTENT)


def _decide(asking: Ask, decisions: Sequence[port.Cells], numbers: Mapping[str, int]) -> list[int]:
    """Add decisions about reports that are locked, whose last ones have these numbers; return the new numbers."""
    if not decisions:
        return []
    places = asking("SELECT nextval('decisions_seq_seq') AS value FROM generate_series(1, ?)", [len(decisions)])
    now_ms, kept, values = time.time() * 1000, [], []
    for cells, place in zip(decisions, places, strict=True):
        number = max(number_of(now_ms, place["value"]), numbers[cells["report_id"]] + 1)
        values.append((*decision_values(cells, number), cells["report_id"]))
        label_key = values[-1][DECISION_COLUMNS.index("final_key")]
        row = (cells["time"], cells["report_id"], cells["decision"], cells["label"], label_key, cells["reviewer"])
        kept.append((digest_of(cells), number, *row))
    asking(_ADD_DECISIONS, [list(column) for column in zip(*kept, strict=True)])
    asking(_SET_DECISIONS, [list(column) for column in zip(*values, strict=True)])
    return [int(row[1]) for row in kept]


def digest_of(cells: port.Cells) -> bytes:
    """Return what a row of decisions or of names is known by."""
    return hashlib.sha256("\0".join(cells.values()).encode(UTF_8, "replace")).digest()


def number_of(time_ms: float, place: int) -> int:
    """Return the number that orders a decision among all."""
    return (int(time_ms) << NUMBER_BITS) + place % (1 << NUMBER_BITS)


def _renames(connection: Connection) -> tuple[tuple[str, str], ...]:
    return tuple((row["label"], row["name"]) for row in ask(connection, "SELECT label, name FROM renames ORDER BY seq"))
