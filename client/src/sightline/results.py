"""The table of results: one row for each image, appended with its result, so that a stopped run can continue."""

from __future__ import annotations

import csv
import io
import json
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sightline.client import ScoredLabel

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on

COLUMNS = ("file", "prediction", "score", "error", "prediction_id", "model_version")
# Beyond this a cell is cut: a table has to stay readable, and csv has a limit of its own.
MAX_CELL = 2000
# A row is one line, so a partial row is recognisable; the escapes are unambiguous.
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\0": "\\0"})


class Row(NamedTuple):
    """The outcome for one image; backslashes, line breaks and NUL in a name are written as escapes."""

    file: str
    prediction: str = ""
    score: str = ""
    error: str = ""
    prediction_id: str = ""
    model_version: str = ""
    predictions: tuple[ScoredLabel, ...] = ()  # for JSON alone, where several are wanted

    def cells(self) -> tuple[str, ...]:
        """Return the texts of COLUMNS."""
        return self.file, self.prediction, self.score, self.error, self.prediction_id, self.model_version


class Results:
    """A CSV file that is only ever appended to, a whole row at a time; None writes to standard output.

    Raises OSError where the file cannot be written, and ValueError where it is another kind of table.
    """

    def __init__(self, path: Path | None) -> None:
        self._errors = {} if path is None else _mend(path)
        self._lock = threading.Lock()
        if path is None:
            self._file: io.TextIOWrapper = open(  # noqa: SIM115  closed by __exit__, which leaves stdout open
                sys.stdout.fileno(), "w", encoding="utf-8", newline="", errors="surrogateescape", closefd=False
            )
        else:
            self._file = path.open("a", encoding="utf-8", newline="", errors="surrogateescape")
        self._writer = csv.writer(self._file, lineterminator="\n")
        if path is None or self._file.tell() == 0:
            self._write(COLUMNS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def has(self, name: str) -> bool:
        """Return whether a file has a row."""
        return name.translate(_ESCAPES) in self._errors

    def failed(self, name: str) -> bool:
        """Return whether the row of a file has no prediction."""
        return bool(self._errors.get(name.translate(_ESCAPES)))

    def add(self, row: Row) -> None:
        """Append a row; once this returns, the next run knows of it."""
        name, *cells = (cell.translate(_ESCAPES) for cell in row.cells())
        with self._lock:
            self._write((name, *(cell[:MAX_CELL] for cell in cells)))
            self._errors[name] = row.error

    def _write(self, cells: tuple[str, ...]) -> None:
        self._writer.writerow(cells)
        self._file.flush()


class JsonLines(Results):
    """A line of JSON on standard output for each image, with the fields of a row that are not empty."""

    def __init__(self) -> None:
        super().__init__(None)

    def add(self, row: Row) -> None:
        """Print the line of an image."""
        fields: dict[str, object] = {name: text for name, text in row._asdict().items() if text}
        if row.score:
            fields["score"] = float(row.score)
        if row.predictions:
            fields["predictions"] = [each._asdict() for each in row.predictions]
        with self._lock:
            self._file.write(f"{json.dumps(fields)}\n")
            self._file.flush()
            self._errors[row.file.translate(_ESCAPES)] = row.error

    def _write(self, cells: tuple[str, ...]) -> None:
        """Print no header."""


def _mend(path: Path) -> dict[str, str]:
    """Return the error of each file that has a row; remove half a row, which a killed run may have left."""
    if not path.is_file():  # not there, or a device or a pipe
        return {}
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    # Rows end at line feeds alone: a file's name may hold anything else that Unicode calls a line break.
    try:
        rows = list(csv.reader(io.StringIO(whole.decode("utf-8", "surrogateescape"), newline="\n")))
    except csv.Error as fault:
        raise ValueError(f"{path} is no table of results: {fault}") from None
    if rows and tuple(rows[0]) != COLUMNS:
        raise ValueError(f"{path} is no table of results: its first line is not {','.join(COLUMNS)}")
    if whole != content:
        path.write_bytes(whole)
    return {row[0]: row[3] if len(row) > 3 else "" for row in rows[1:] if row}
