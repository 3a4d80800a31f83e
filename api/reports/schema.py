"""The fields of a report, and how long each of its fields may be. No I/O."""

import ast
import math
import re
import warnings
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict, get_type_hints

from predict.prediction import MAX_ID_LENGTH
from problems import Problem

MAX_LABEL = 200
MAX_COMMENT = 2000
MAX_NAME_CHARACTERS = 255
# Fields of a report's form in addition to the report itself; columns of the CSV.
DETAILS = {
    "label": "the right label",
    "comment": "comment for the reviewer",
    "model": "name of the model",
    "model_version": "version of the model",
}
# In characters, whether a report comes as JSON or as a form.
LIMITS = {
    "prediction_id": MAX_ID_LENGTH,
    "filename": MAX_NAME_CHARACTERS,
    "label": MAX_LABEL,
    "comment": MAX_COMMENT,
    "model": MAX_LABEL,
    "model_version": MAX_LABEL,
}
# Longer than any that the page sends; a longer one is kept as a line only.
MAX_PARSED_CHARACTERS = 4096
# Labels such as carpenter's_kit end a quoted string early: then the order of the keys shows where each value ends.
_PAGE_REPORT = re.compile(
    r"\s*\{\s*'filename'\s*:\s*'(?P<filename>.*?)'\s*,\s*'prediction'\s*:\s*'(?P<prediction>.*)'\s*,"
    r"\s*'score'\s*:\s*(?P<score>[-+.0-9eE]{1,32})\s*\}\s*"
)
_KEYS = {"filename", "prediction", "score"}


class ReportRequest(TypedDict):
    """A report of a wrong prediction, by its id, or by a stored image that is classified again."""

    prediction_id: NotRequired[Annotated[str, {"description": "id of the prediction, from X-Prediction-Id"}]]
    filename: NotRequired[Annotated[str, {"description": "name of the stored image"}]]
    label: NotRequired[
        Annotated[str, {"maxLength": MAX_LABEL, "description": "the right label; it may be new to the model"}]
    ]
    comment: NotRequired[Annotated[str, {"maxLength": MAX_COMMENT, "description": "comment for the reviewer"}]]


class Reported(TypedDict):
    """The report is stored."""

    success: Literal[True]
    report_id: str
    label_known: Annotated[
        bool | None, {"description": "whether the model has this class; null without a label or model"}
    ]


class Report(NamedTuple):
    """A wrong prediction, as the page reports it."""

    filename: str
    prediction: str
    score: float

    def text(self) -> str:
        """Return the report as the page's form sends it; `parse` reads it."""
        return f"{{'filename': '{self.filename}', 'prediction': '{self.prediction}', 'score': {self.score}}}"


def parse(text: str) -> Report | None:
    """Read a report as the page's form sends it; return None for any other text."""
    if len(text) > MAX_PARSED_CHARACTERS:
        return None
    values = _literal(text)
    if values is None:
        match = _PAGE_REPORT.fullmatch(text)
        values = match.groupdict() | {"score": _number(match["score"])} if match else None
    return _report(values)


def parse_json(document: Any) -> dict[str, str]:
    """Return the fields of a ReportRequest; raise Problem naming what is wrong with it."""
    if not isinstance(document, Mapping):
        raise Problem(400, "invalid_report", "A report is a JSON object.")
    known = get_type_hints(ReportRequest)
    for name, value in document.items():
        if name not in known:
            raise Problem(400, "invalid_report", f"{str(name)[:40]!r} is no field of a report: {', '.join(known)}.")
        if not isinstance(value, str) or len(value) > LIMITS[name]:
            raise _too_long(name)
    # Lone surrogates cannot be stored as UTF-8.
    return {name: value.encode("utf-8", "replace").decode().strip() for name, value in document.items()}


def check_form(form: Mapping[str, str]) -> None:
    """Raise Problem where a field of a report's form is longer than JSON may have it."""
    for name, limit in LIMITS.items():
        if len(form.get(name, "")) > limit:
            raise _too_long(name)


def is_plain_name(name: str) -> bool:
    """Return whether this can name a file in a folder, and nothing outside of it."""
    if not name or len(name) > MAX_NAME_CHARACTERS:
        return False
    return name not in {".", ".."} and "/" not in name and "\\" not in name and name.isprintable()


def _too_long(name: str) -> Problem:
    return Problem(400, "invalid_report", f"{name!r} is not a text of at most {LIMITS[name]} characters.")


def _literal(text: str) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a backslash in a label
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
    if isinstance(score, bool) or not isinstance(score, int | float):
        return None
    try:
        number = float(score)
    except OverflowError:  # a whole number beyond every float
        return None
    return Report(filename, prediction, number) if math.isfinite(number) else None
