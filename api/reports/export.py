"""The reviewed cases as files to train on elsewhere, piece by piece: however many there are, memory holds a few.

The layout is that of the model's export command: <label>/<image>, which ImageFolder reads, and a table with a line for
each image. Each image is there once, with its last label.
"""

import csv
import hashlib
import io
import json
import logging
import sqlite3
import zipfile
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import offload
from images import store
from reports.index import ReportIndex
from wire.tables.csv_table import guarded
from wire.tables.feedback import CASES_CSV, CASES_JSONL, folder_name

LOG = logging.getLogger("sightline.api")

# A line of the tables, by column.
Case = dict[str, str]
# `file_name` is the column that Hugging Face's ImageFolder reads.
COLUMNS = (
    *("file_name", "label", "prediction", "report_id", "sha256", "status", "reviewer", "decided_at"),
    *("score", "model", "model_version", "comment"),
)
CASES_AT_ONCE = 500
# A piece of a CSV or JSONL file; images go one at a time.
PIECE_CHARACTERS = 64 * 1024
_NEWEST = """
SELECT * FROM reports AS one WHERE status IN ('accepted', 'corrected') AND final_label != '' AND seq > ? AND seq =
  (SELECT max(seq) FROM reports WHERE filename = one.filename AND status IN ('accepted', 'corrected'))
ORDER BY seq LIMIT ?
"""


def csv_pieces(index: ReportIndex) -> Iterator[bytes]:
    """Yield the table as CSV, safe in a spreadsheet."""
    return _joined(_csv_lines(_cases(index)))


def jsonl_pieces(index: ReportIndex) -> Iterator[bytes]:
    """Yield the table as a JSON object on each line."""
    return _joined(_json_lines(_cases(index)))


def zip_pieces(index: ReportIndex, folder: Path) -> Iterator[bytes]:
    """Yield a ZIP archive: the images in folders by label, and the tables of those that are still stored."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w") as archive:  # type: ignore[call-overload]  # it wants no more of a file than writing
        for case, content in _stored(index, folder):
            archive.writestr(zipfile.ZipInfo(case["file_name"]), content)
            yield sink.taken()
        for name, lines_of in ((CASES_CSV, _csv_lines), (CASES_JSONL, _json_lines)):
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as file:
                for piece in _joined(lines_of(case for case, _ in _stored(index, folder))):
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
    while rows := offload.run(partial(index.read, partial(_rows_after, last))):
        last = rows[-1]["seq"]
        yield from map(_case_of, rows)


def _rows_after(last: int, database: sqlite3.Connection) -> list[sqlite3.Row]:
    return database.execute(_NEWEST, (last, CASES_AT_ONCE)).fetchall()


def _case_of(row: sqlite3.Row) -> Case:
    file_name = f"{folder_name(row['final_label'])}/{row['filename']}"
    score = "" if row["score"] is None else repr(row["score"])
    cells = {**row, "file_name": file_name, "label": row["final_label"], "sha256": row["image_sha256"], "score": score}
    return {name: cells[name] for name in COLUMNS}


def _content_of(folder: Path, case: Case) -> bytes | None:
    """Return an image's bytes; None where it is gone, cannot be read, or is not the one that was reported."""
    try:
        opened = store.open_stored(folder, case["file_name"].rpartition("/")[2])
        if opened is None:
            return None
        with opened[0] as file:
            content = file.read()
    except OSError as error:
        LOG.warning("a case is left out of the export, its image cannot be read: %s", error)
        return None
    return content if case["sha256"] in {"", hashlib.sha256(content).hexdigest()} else None


def _stored(index: ReportIndex, folder: Path) -> Iterator[tuple[Case, bytes]]:
    """Yield each case whose image can be read, and the image's bytes."""
    for case in _cases(index):
        content = offload.run(partial(_content_of, folder, case))
        if content is not None:
            yield case, content


def _csv_lines(cases: Iterator[Case]) -> Iterator[str]:
    yield _csv_line(COLUMNS)
    for case in cases:
        yield _csv_line(map(guarded, case.values()))


def _csv_line(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def _json_lines(cases: Iterator[Case]) -> Iterator[str]:
    return (json.dumps(case, ensure_ascii=False) + "\n" for case in cases)


def _joined(lines: Iterator[str]) -> Iterator[bytes]:
    piece = ""
    for line in lines:
        piece += line
        if len(piece) >= PIECE_CHARACTERS:
            yield piece.encode("utf-8", "replace")
            piece = ""
    yield piece.encode("utf-8", "replace")
