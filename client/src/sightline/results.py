"""The table of results: one row for each picture, appended as it is answered, so that a run that was killed goes on."""

from __future__ import annotations

import csv
import threading
from pathlib import Path
from typing import NamedTuple, Self

COLUMNS = ("file", "prediction", "score", "error", "prediction_id", "model_version")


class Row(NamedTuple):
    """What came of one picture; a name with a line break is written with \\n."""

    file: str
    prediction: str = ""
    score: str = ""
    error: str = ""
    prediction_id: str = ""
    model_version: str = ""


class Results:
    """A CSV file that is only ever appended to, a whole row at a time."""

    def __init__(self, path: Path) -> None:
        self.done = _mend(path)
        self._lock = threading.Lock()
        self._file = path.open("a", encoding="utf-8", newline="", errors="surrogateescape")
        self._writer = csv.writer(self._file, lineterminator="\n")
        if self._file.tell() == 0:
            self._write(COLUMNS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, row: Row) -> None:
        """Append a row; once this is back, the next run knows of it."""
        with self._lock:
            self._write(tuple(cell.replace("\n", "\\n").replace("\r", "\\r") for cell in row))

    def _write(self, cells: tuple[str, ...]) -> None:
        self._writer.writerow(cells)
        self._file.flush()


def _mend(path: Path) -> set[str]:
    """Give the files that have a row; half a row, which a killed run may have left, goes."""
    if not path.exists():
        return set()
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    rows = list(csv.reader(whole.decode("utf-8", "surrogateescape").splitlines()))
    if rows and tuple(rows[0]) != COLUMNS:
        raise ValueError(f"{path} is no table of results: its first line is not {','.join(COLUMNS)}")
    if whole != content:
        path.write_bytes(whole)
    return {row[0] for row in rows[1:] if row}
