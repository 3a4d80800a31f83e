"""Reports in the files of a folder, which are the record, and an index of them for what files are too slow for."""

import logging
import math
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from storage.errors import IndexUnfinished, KeyReused, ReportsFull
from storage.files import Run, run_here
from storage.reports import erasure, files, port
from storage.reports.appender import Appender
from storage.reports.files import Addition, Once
from storage.reports.index import ReportIndex
from storage.reports.index_tables import faults_in
from storage.reports.keys import Key, find_key
from storage.reports.queries import Ask, Faults, QueriedReports, Result, reports_of
from wire.tables.csv_reader import Row as TableRow
from wire.tables.csv_reader import TableReader
from wire.tables.feedback import RENAMES, RENAMES_FILE, REPORTS_FILE

LOG = logging.getLogger("sightline.reports")
# Some 10,000 reports: reading them takes noticeably long.
LONG_BYTES = 4 * 1024**2


class Limits(NamedTuple):
    """How much there may be: `max_bytes` of reports, and what `check_room` raises of the disk of a folder."""

    max_bytes: int
    check_room: Callable[[Path], None]


class FolderReports(QueriedReports):
    """The reports next to a file of lines."""

    # In SQLite, a column next to min() is that of the row which has it.
    _LABELS = "SELECT final_label, min(decision) FROM reports WHERE final_key != '' GROUP BY final_key ORDER BY 2"

    def __init__(self, lines: Path, limits: Limits, run: Run = run_here, max_step_s: float = math.inf) -> None:
        """A use waits for `max_step_s` at most for the index to be made: see ReportIndex."""
        self._lines = lines
        self._rows = lines.with_name(REPORTS_FILE)
        self._folder = lines.parent
        self._index = ReportIndex(self._folder, max_step_s)
        self._limits = limits
        self._run = run
        self._appender = Appender(lines, self._rows, run, self._check_room)

    def add(self, report: port.Report, when_kept: Callable[[], None] = lambda: None) -> None:
        """Append it to the files."""
        # The id is made of the key, so the CSV shows which keys there were; the file of keys outlives its rows.
        key = Key(UUID(report.report_id).bytes, report.content)
        once = None
        if report.content:
            # The index may take long: not under the lock, for which all reports wait.
            found: port.Row | None = self._run(lambda: self._known_row(report, key))
            once = Once(key, lambda: self._is_there(report, key, found))
        self._appender.add(Addition(report.line, report.cells, once), when_kept)

    def add_all(self, reports: Sequence[port.Report], when_kept: Callable[[], None] = lambda: None) -> None:
        """Append them to the files, in one piece."""

        def work() -> None:
            self._check_room()
            files.append_all(self._lines, self._rows, reports)
            when_kept()

        if reports:
            self._run(work)

    def decide(self, decision: port.Decision, seen: int | None = None) -> int:
        """Append it to the file of decisions."""

        def due() -> list[port.Decision]:
            if seen is None:
                return [decision]
            row = self._index.find(decision.report_id)
            return [decision] if row is None or port.is_due(decision, seen, row) else []

        def work() -> int:
            files.append_decisions(self._folder, due)
            row = self._index.find(decision.report_id)
            return 0 if row is None else int(row["decision"])

        number: int = self._run(work)
        return number

    def decide_images(self, decisions: Sequence[port.ImageDecision]) -> list[port.Outcome]:
        """Append them to the file of decisions, in one piece."""
        images = [decision.image for decision in decisions]
        kept: set[str] = set()

        def due() -> list[port.Decision]:
            rows = self._index.query(lambda ask: reports_of(ask, images))
            found = {each.image: port.due(each, rows[each.image]) for each in decisions}
            kept.update(image for image, some in found.items() if some is not None)
            return [each for some in found.values() for each in some or ()]

        def work() -> list[port.Outcome]:
            files.append_decisions(self._folder, due)
            rows = self._index.query(lambda ask: reports_of(ask, images))
            return [port.outcome(each, rows[each.image], is_kept=each.image in kept) for each in decisions]

        outcomes: list[port.Outcome] = self._run(work)
        return outcomes

    def renames(self) -> Sequence[tuple[str, str]]:
        """Read the file of names, where it is not the one that was read last."""
        path = self._folder / RENAMES_FILE
        try:
            status = path.stat()
        except OSError:
            return ()
        # Two changes may have the same time: it moves on in steps of milliseconds.
        return _renames(path, status.st_size, status.st_mtime_ns)

    def erase(self, names: Collection[str], sha256s: Collection[str]) -> port.Erased:
        """Rewrite the files without them; the index is rebuilt, so that it has no trace of them either."""

        def work() -> port.Erased:
            files.heal(self._lines, self._rows)
            erased = erasure.erase(self._lines, self._rows, names, sha256s)
            self._index.remove()
            return erased

        erased: port.Erased = self._run(work)
        return erased

    def check(self) -> None:
        """Do nothing: the index of another version is rebuilt, and files are read whichever version wrote them."""

    def heal(self) -> None:
        """Remove incomplete rows from both files, and index a long one before a request has to wait for that."""
        self._run(lambda: files.heal(self._lines, self._rows))
        while _size_of(self._rows) > LONG_BYTES and not self._is_indexed():
            pass

    def _query(self, work: Callable[[Ask], Result]) -> Result:
        found: Result = self._run(lambda: self._index.query(work))
        return found

    def _faults(self, ask: Ask) -> Faults:
        return faults_in(ask, port.MAX_FAULTS_SHOWN)

    def _is_indexed(self) -> bool:
        try:
            self.labels()
        except IndexUnfinished as unfinished:
            LOG.info("%s", unfinished)
            return False
        return True

    def _check_room(self) -> None:
        """Raise StorageFull where reports, which anyone may send, have reached their limit."""
        self._limits.check_room(self._folder)
        if _size_of(self._lines) + _size_of(self._rows) >= self._limits.max_bytes:
            raise ReportsFull(port.too_many(self._limits.max_bytes))

    def _known_row(self, report: port.Report, key: Key) -> port.Row | None:
        """Return the row that came under the same key; None where the file of keys has the very report.

        Raise StorageFull where there is no room for another report.
        """
        self._check_room()
        if report.cells is None or find_key(self._folder, key.report_id) == key:
            return None
        return self._index.find(report.report_id)

    def _is_there(self, report: port.Report, key: Key, found: port.Row | None) -> bool:
        """Return whether a report is kept; raise KeyReused where another one came under its key.

        `found` is the row that was there a moment ago; one that came since has its key in the file of keys.
        """
        known = find_key(self._folder, key.report_id)
        if known == key:
            return True
        if known is None and found is None:
            return False
        if report.cells is None or found is None or port.statement(found) != report.statement():
            raise KeyReused
        return True


def _size_of(path: Path) -> int:
    """Return the size of a file, 0 where there is none: log rotation may rename it at any moment."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@lru_cache(maxsize=2)
def _renames(path: Path, size: int, changed_ns: int) -> tuple[tuple[str, str], ...]:
    with path.open("rb") as file:
        rows = (found.cells for found in TableReader(RENAMES, file, takes_open_end=True) if isinstance(found, TableRow))
        return tuple((row["label"], row["name"]) for row in rows)
