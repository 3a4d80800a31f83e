"""The reviewed cases as files to train on elsewhere, piece by piece: however many there are, memory holds a few.

As `model/export.py` writes them: <label>/<picture>, which is what ImageFolder reads, and a table with a line for each.
Each picture is there once, as it was named last.
"""

import csv
import hashlib
import io
import json
import logging
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import offload
from images import store
from reports.index import ReportIndex
from wire.tables.csv_table import guarded
from wire.tables.feedback import CASES_CSV, CASES_JSONL, folder_name

LOG = logging.getLogger("sightline.api")

CASES_AT_ONCE = 500
# A piece of a CSV or JSONL file; pictures go one at a time.
PIECE_CHARACTERS = 64 * 1024
_NEWEST = """
SELECT * FROM reports AS one WHERE status IN ('accepted', 'corrected') AND final_label != '' AND seq > ? AND seq =
  (SELECT max(seq) FROM reports WHERE filename = one.filename AND status IN ('accepted', 'corrected'))
ORDER BY seq LIMIT ?
"""


class Case(NamedTuple):
    """A line of the tables; `file_name` is the column that Hugging Face's ImageFolder looks for."""

    file_name: str
    label: str
    prediction: str
    report_id: str
    sha256: str
    status: str
    reviewer: str
    decided_at: str
    score: str
    model: str
    model_version: str
    comment: str


def csv_pieces(index: ReportIndex) -> Iterator[bytes]:
    """Give the table as CSV, safe in a spreadsheet."""
    return _joined(_csv_lines(_cases(index)))


def jsonl_pieces(index: ReportIndex) -> Iterator[bytes]:
    """Give the table as a JSON object on each line."""
    return _joined(_json_lines(_cases(index)))


def zip_pieces(index: ReportIndex, folder: Path) -> Iterator[bytes]:
    """Give the pictures in folders by label, and the tables of those that are still there, as a ZIP archive."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w") as archive:  # type: ignore[call-overload]  # it wants no more of a file than writing
        for case in _cases(index):
            content = offload.run(lambda case=case: _content_of(folder, case))  # type: ignore[misc]
            if content is not None:
                archive.writestr(zipfile.ZipInfo(case.file_name), content)
                yield sink.taken()
        for name, lines_of in ((CASES_CSV, _csv_lines), (CASES_JSONL, _json_lines)):
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as file:
                for piece in _joined(lines_of(_stored(folder, _cases(index)))):
                    file.write(piece)
                    yield sink.taken()
    yield sink.taken()


class _Sink:
    """A file that can be written to only; what was written is taken away in pieces."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Everything is here already."""

    def taken(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken


def _cases(index: ReportIndex) -> Iterator[Case]:
    last = 0
    while cases := offload.run(_page_after(index, last)):
        last = cases[-1][0]
        yield from (case for _, case in cases)


def _page_after(index: ReportIndex, last: int) -> Callable[[], list[tuple[int, Case]]]:
    def page() -> list[tuple[int, Case]]:
        rows = index.read(lambda database: database.execute(_NEWEST, (last, CASES_AT_ONCE)).fetchall())
        return [(row["seq"], _case_of(row)) for row in rows]

    return page


def _case_of(row: sqlite3.Row) -> Case:
    return Case(
        f"{folder_name(row['final_label'])}/{row['filename']}",
        row["final_label"],
        row["prediction"],
        row["report_id"],
        row["image_sha256"],
        *(row["status"], row["reviewer"], row["decided_at"]),
        "" if row["score"] is None else repr(row["score"]),
        *(row["model"], row["model_version"], row["comment"]),
    )


def _content_of(folder: Path, case: Case) -> bytes | None:
    """Give a picture's bytes; None where it is gone, cannot be read, or is not the one that was reported."""
    try:
        opened = store.open_stored(folder, case.file_name.rpartition("/")[2])
        if opened is None:
            return None
        with opened[0] as file:
            content = file.read()
    except OSError as error:
        LOG.warning("a case is left out of the export, its image cannot be read: %s", error)
        return None
    return content if case.sha256 in {"", hashlib.sha256(content).hexdigest()} else None


def _stored(folder: Path, cases: Iterator[Case]) -> Iterator[Case]:
    return (case for case in cases if offload.run(lambda case=case: _content_of(folder, case)) is not None)  # type: ignore[misc]


def _csv_lines(cases: Iterator[Case]) -> Iterator[str]:
    yield _csv_line(Case._fields)
    for case in cases:
        yield _csv_line(tuple(map(guarded, case)))


def _csv_line(cells: tuple[str, ...]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def _json_lines(cases: Iterator[Case]) -> Iterator[str]:
    return (json.dumps(case._asdict(), ensure_ascii=False) + "\n" for case in cases)


def _joined(lines: Iterator[str]) -> Iterator[bytes]:
    waiting: list[str] = []
    size = 0
    for line in lines:
        waiting.append(line)
        size += len(line)
        if size >= PIECE_CHARACTERS:
            yield "".join(waiting).encode("utf-8", "replace")
            waiting, size = [], 0
    yield "".join(waiting).encode("utf-8", "replace")
