"""The reviewed cases as files to train on elsewhere, piece by piece: however many there are, memory holds a few.

The layout is that of the model's export command: <label>/<image>, which ImageFolder reads, and a table with a line for
each image. Each image is there once, with its last label.
"""

import csv
import hashlib
import io
import json
import logging
import zipfile
from collections.abc import Iterable, Iterator
from functools import partial

import offload
from images import stored
from reports import labels
from storage.errors import StorageError, StorageUnavailable
from storage.images.port import ImageStore
from storage.reports.port import ReportStore, Row
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
# A piece of a CSV or JSONL file; images go one at a time.
PIECE_CHARACTERS = 64 * 1024


def csv_pieces(reports: ReportStore) -> Iterator[bytes]:
    """Yield the table as CSV, safe in a spreadsheet."""
    return _joined(_csv_lines(case for case, _ in _cases(reports)))


def jsonl_pieces(reports: ReportStore) -> Iterator[bytes]:
    """Yield the table as a JSON object on each line."""
    return _joined(_json_lines(case for case, _ in _cases(reports)))


def zip_pieces(reports: ReportStore, images: ImageStore) -> Iterator[bytes]:
    """Yield a ZIP archive: the images in folders by label, and the tables of those that are still stored."""
    sink = Sink()
    with zipfile.ZipFile(sink, "w") as archive:  # type: ignore[call-overload]  # it wants no more of a file than writing
        for case, content in _stored(reports, images):
            archive.writestr(zipfile.ZipInfo(case["file_name"]), content)
            yield sink.taken()
        for name, lines_of in ((CASES_CSV, _csv_lines), (CASES_JSONL, _json_lines)):
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as file:
                for piece in _joined(lines_of(case for case, _ in _stored(reports, images))):
                    file.write(piece)
                    yield sink.taken()
    yield sink.taken()


class Sink:
    """A file that can be written to only; what was written is taken away in pieces."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        """Keep a piece."""
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Everything is here already."""

    def taken(self) -> bytes:
        """Return what was written since the last call."""
        taken, self._pieces = b"".join(self._pieces), []
        return taken


def _cases(reports: ReportStore) -> Iterator[tuple[Case, Row]]:
    last, spelling = 0, labels.spelling().extended(reports.labels())
    while rows := reports.cases(last):
        last = rows[-1]["seq"]
        yield from ((_case_of(row, spelling.of(row["final_label"])), row) for row in rows)


def _case_of(row: Row, label: str) -> Case:
    file_name = f"{folder_name(label)}/{row['filename']}"
    score = "" if row["score"] is None else repr(row["score"])
    cells = {**row, "file_name": file_name, "label": label, "sha256": row["image_sha256"], "score": score}
    return {name: cells[name] for name in COLUMNS}


def content_of(images: ImageStore, row: Row) -> bytes | None:
    """Return the bytes of a report's image; None where it is gone, cannot be read, or is another one by now.

    Raise StorageUnavailable where the place does not serve: an archive would lack all other images, too.
    """
    try:
        opened = stored.open_stored(images, row["filename"])
        if opened is None:
            return None
        with opened[0] as file:
            content = file.read()
    except StorageUnavailable:
        raise
    except (OSError, StorageError) as error:
        LOG.warning("a case is left out of the export, its image cannot be read: %s", error)
        return None
    return content if row["image_sha256"] in {"", hashlib.sha256(content).hexdigest()} else None


def _stored(reports: ReportStore, images: ImageStore) -> Iterator[tuple[Case, bytes]]:
    """Yield each case whose image can be read, and the image's bytes."""
    for case, row in _cases(reports):
        content = offload.run(partial(content_of, images, row))
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
    for case in cases:
        score = float(case["score"]) if case["score"] else None
        yield json.dumps({**case, "score": score}, ensure_ascii=False) + "\n"


def _joined(lines: Iterator[str]) -> Iterator[bytes]:
    piece = ""
    for line in lines:
        piece += line
        if len(piece) >= PIECE_CHARACTERS:
            yield piece.encode("utf-8", "replace")
            piece = ""
    yield piece.encode("utf-8", "replace")
