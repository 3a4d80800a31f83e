"""Paths of images from a list: a line for each, or a column of a CSV file."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

from sightline.reading import read_all

STANDARD_INPUT = "-"


def paths_in(source: str, column: str = "") -> list[Path]:
    """Return the paths that a list has, relative ones from where the list is; "-" is standard input.

    With a column the list is a CSV file, and empty cells are passed over. Raise OSError where it cannot be read, and
    ValueError where it has no such column or names no paths.
    """
    is_standard_input = source == STANDARD_INPUT
    if is_standard_input:
        content = read_all(sys.stdin.buffer, "standard input")
    else:
        with Path(source).open("rb") as file:
            content = read_all(file, source)
    text = content.decode("utf-8-sig", "surrogateescape")
    try:
        names = _cells(source, text, column) if column else text.splitlines()
    except csv.Error as fault:
        raise ValueError(f"{source} cannot be read as CSV: {fault}") from None
    folder = Path() if is_standard_input else Path(source).parent
    paths = [folder / name.strip() for name in names if name.strip()]
    if not paths:
        raise ValueError(f"{source} names no images")
    return paths


def _cells(source: str, text: str, column: str) -> list[str]:
    table = csv.DictReader(io.StringIO(text, newline=""))
    columns = table.fieldnames or ()
    if column not in columns:
        raise ValueError(f"{source} has no column {column!r}; it has {', '.join(map(repr, columns)) or 'none'}")
    return [row[column] or "" for row in table]
