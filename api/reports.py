"""What a report says: its line, and its row where it has the page's shape. No I/O."""

import ast
import csv
import io
import math
import re
import warnings
from typing import NamedTuple

# Longer than any the page sends; what is longer is kept as a line only.
MAX_SHAPE_CHARACTERS = 4096
COLUMNS = (
    "report_id",
    "reported_at",
    "image_path",
    "image_sha256",
    "prediction",
    "score",
    "model",
    "model_version",
    "label",
    "comment",
)

# Everything that str.splitlines breaks at.
_LINE_BREAK = re.compile("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
# Labels such as carpenter's_kit end a quoted string early: then the shape itself tells where each value ends.
_SHAPE = re.compile(
    r"\s*\{\s*'filename'\s*:\s*'(?P<filename>.*?)'\s*,\s*'prediction'\s*:\s*'(?P<prediction>.*)'\s*,"
    r"\s*'score'\s*:\s*(?P<score>[-+.0-9eE]{1,32})\s*\}\s*"
)
_KEYS = {"filename", "prediction", "score"}
# What a spreadsheet takes for the beginning of a formula, also in the wide forms; and our own mark.
_FORMULA_STARTS = tuple("=+-@\t\r\n\0'\uff1d\uff0b\uff0d\uff20")


class Report(NamedTuple):
    """A wrong prediction, as the page reports it."""

    filename: str
    prediction: str
    score: float


def one_line(text: str) -> str:
    """Give the text as one line, every line break a space and nothing else changed."""
    return _LINE_BREAK.sub(" ", text)


def parse(text: str) -> Report | None:
    """Read a report of the page's shape; None for any other text."""
    if len(text) > MAX_SHAPE_CHARACTERS:
        return None
    values = _literal(text)
    if values is None:
        match = _SHAPE.fullmatch(text)
        values = match.groupdict() | {"score": _number(match["score"])} if match else None
    return _report(values)


def _literal(text: str) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a backslash in a label is no news
            return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _report(values: object) -> Report | None:
    if not isinstance(values, dict) or set(values) != _KEYS:
        return None
    filename, prediction, score = values["filename"], values["prediction"], values["score"]
    if not isinstance(filename, str) or not isinstance(prediction, str) or not _is_plain_name(filename):
        return None
    if isinstance(score, bool) or not isinstance(score, int | float) or not _is_finite(score):
        return None
    return Report(filename, prediction, float(score))


def _is_plain_name(name: str) -> bool:
    return bool(name) and name not in {".", ".."} and "/" not in name and "\\" not in name and name.isprintable()


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number beyond every float
        return False


def guarded(cell: str) -> str:
    """Mark a cell that a spreadsheet would run; `unguarded` undoes it."""
    return "'" + cell if cell.startswith(_FORMULA_STARTS) else cell


def unguarded(cell: str) -> str:
    """Give the cell as it was before `guarded`."""
    return cell.removeprefix("'")


HEADER_LINE = ",".join(COLUMNS)


def row_line(cells: dict[str, str]) -> str:
    """Give one CSV line for the named cells, without its line end; columns that are not named stay empty.

    Every cell is quoted, so that a line cut short by a crash can be told from a whole one.
    """
    line = io.StringIO()
    writer = csv.writer(line, quoting=csv.QUOTE_ALL, lineterminator="")
    writer.writerow([guarded(one_line(cells.get(column, ""))) for column in COLUMNS])
    return line.getvalue()


def is_whole_row(line: str) -> bool:
    """Say whether a line that lacks its end is a row, or the header, all the same."""
    try:
        rows = list(csv.reader([line], strict=True))
    except csv.Error:  # a quote that was never closed
        return False
    if len(rows) != 1 or len(rows[0]) != len(COLUMNS):
        return False
    if line.startswith('"'):
        return line.endswith('"')
    # Not in our hand, unless it is the beginning of a header.
    return line == HEADER_LINE or not HEADER_LINE.startswith(line)
