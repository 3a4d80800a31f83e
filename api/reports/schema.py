"""What a report says, where it has the page's shape. No I/O."""

import ast
import math
import re
import warnings
from typing import NamedTuple

# Longer than any the page sends; what is longer is kept as a line only.
MAX_SHAPE_CHARACTERS = 4096
MAX_NAME_CHARACTERS = 255
# Labels such as carpenter's_kit end a quoted string early: then the shape itself tells where each value ends.
_SHAPE = re.compile(
    r"\s*\{\s*'filename'\s*:\s*'(?P<filename>.*?)'\s*,\s*'prediction'\s*:\s*'(?P<prediction>.*)'\s*,"
    r"\s*'score'\s*:\s*(?P<score>[-+.0-9eE]{1,32})\s*\}\s*"
)
_KEYS = {"filename", "prediction", "score"}


class Report(NamedTuple):
    """A wrong prediction, as the page reports it."""

    filename: str
    prediction: str
    score: float


def shaped(report: Report) -> str:
    """Give a report in the page's shape."""
    return f"{{'filename': '{report.filename}', 'prediction': '{report.prediction}', 'score': {report.score}}}"


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
    if not isinstance(filename, str) or not isinstance(prediction, str) or not is_plain_name(filename):
        return None
    if isinstance(score, bool) or not isinstance(score, int | float) or not _is_finite(score):
        return None
    return Report(filename, prediction, float(score))


def is_plain_name(name: str) -> bool:
    """Say whether this can name a file in a folder, and nothing outside of it."""
    if not name or len(name) > MAX_NAME_CHARACTERS:
        return False
    return name not in {".", ".."} and "/" not in name and "\\" not in name and name.isprintable()


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number beyond every float
        return False
