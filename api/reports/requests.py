"""A report as a program sends it: JSON that names a prediction or a stored picture."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from flask import Request

from auth import access, owners
from images import store
from openapi.operation import Text
from openapi.schemas import MAX_COMMENT, MAX_LABEL, ReportRequest
from predict.prediction import MAX_ID_LENGTH, Prediction
from problems import Problem
from reports import schema

IDEMPOTENCY_KEY = Text(
    "Idempotency-Key",
    "header",
    re.compile(r"[\x21-\x7e]{1,255}"),
    "chosen by the client: the same report again, under the same key, is kept once",
    example="8e03978e-40d5-43e8-bc93-6894a57f9324",
)
# In characters, whether a report comes as JSON or as a form.
_LIMITS = {
    "prediction_id": MAX_ID_LENGTH,
    "filename": schema.MAX_NAME_CHARACTERS,
    "label": MAX_LABEL,
    "comment": MAX_COMMENT,
    "model": MAX_LABEL,
    "model_version": MAX_LABEL,
}


class Reported(NamedTuple):
    """What a report says: the prediction that was wrong, or the name of a picture to ask the model about."""

    prediction: Prediction | None
    filename: str
    label: str
    comment: str

    @property
    def details(self) -> dict[str, str]:
        """The columns of the CSV that the person filled."""
        return {"label": self.label, "comment": self.comment}


def is_one(request: Request) -> bool:
    """Say whether a body is JSON that wants to be a report; an empty object is as if nothing were reported."""
    return bool(request.is_json and request.get_json() != {})


def read(request: Request, upload_folder: Path) -> Reported:
    """Read a report; raises Problem naming what is wrong with it."""
    fields = _texts(request.get_json())
    prediction = None
    if "prediction_id" in fields:
        prediction = Prediction.of_id(fields["prediction_id"])
        if prediction is None or not access.may_use(prediction.owner):
            raise Problem(404, "prediction_unknown", "This prediction_id was not given out by this service.")
    filename = prediction.filename if prediction is not None else fields.get("filename", "")
    if not filename:
        raise Problem(400, "invalid_report", 'A report names a "prediction_id" or a "filename".')
    is_seen = schema.is_plain_name(filename) and owners.may_see(upload_folder, filename)
    if not is_seen or not store.is_stored(upload_folder, filename):
        raise Problem(404, "picture_unknown", f"No picture {filename[:80]!r} is stored here.")
    return Reported(prediction, filename, fields.get("label", ""), fields.get("comment", ""))


def checked_form(form: Mapping[str, str]) -> Mapping[str, str]:
    """Return the fields of a report's form; raise Problem where one is longer than JSON may have it."""
    for name, limit in _LIMITS.items():
        if len(form.get(name, "")) > limit:
            raise _too_long(name)
    return form


def key_of(request: Request) -> str:
    """Give the key under which a report counts once, empty for none; each API key has its own."""
    key = IDEMPOTENCY_KEY.read(request)
    return "" if key is None else f"{access.caller()}\0{key}"


def model_of(prediction: Prediction) -> dict[str, str]:
    """Give the CSV's columns of the model that answered."""
    model, _, version = prediction.model_version.partition("/")
    return {"model": model, "model_version": version}


def _texts(document: Any) -> dict[str, str]:
    if not isinstance(document, Mapping):
        raise Problem(400, "invalid_report", "A report is a JSON object.")
    known = get_type_hints(ReportRequest)
    for name, value in document.items():
        if name not in known:
            raise Problem(400, "invalid_report", f"{str(name)[:40]!r} is no field of a report: {', '.join(known)}.")
        if not isinstance(value, str) or len(value) > _LIMITS[name]:
            raise _too_long(name)
    # What is no character cannot be kept as one.
    return {name: value.encode("utf-8", "replace").decode().strip() for name, value in document.items()}


def _too_long(name: str) -> Problem:
    return Problem(400, "invalid_report", f"{name!r} is not a text of at most {_LIMITS[name]} characters.")
