"""Reports on their way in: which image they are about, whether they came before, and saving them."""

import hashlib
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from flask import Request

import offload
import settings
from auth import access
from images import store as image_store
from observability import metrics
from openapi.operation import Text
from predict.prediction import Prediction
from problems import Problem
from reports import labels, schema, store
from reports.index import ReportIndex
from reports.schema import Report
from wire.tables.csv_table import one_line

IDEMPOTENCY_KEY = Text(
    "Idempotency-Key",
    "header",
    "chosen by the client: the same report again, under the same key, is kept once",
    "8e03978e-40d5-43e8-bc93-6894a57f9324",
    r"[\x21-\x7e]{1,255}",
)


class Submission(NamedTuple):
    """A report as it came: its text, and what that says where it could be parsed.

    `details` may hold the columns of `schema.DETAILS`. An empty key is none. An image that the reporter may not see is
    treated as one that is not stored.
    """

    text: str
    report: Report | None
    details: Mapping[str, str]
    key: str = ""
    is_visible: bool = True


def key_of(request: Request) -> str:
    """Return the key under which a report counts once, empty for none; each API key has its own."""
    key = IDEMPOTENCY_KEY.read(request)
    return "" if key is None else f"{access.caller()}\0{key}"


def read(document: Any, upload_folder: Path) -> tuple[Prediction | None, str, dict[str, str]]:
    """Read a ReportRequest: return the prediction that it names, else the stored image, and the columns it fills.

    Raise Problem where the request is malformed, or names what is not there or belongs to another API key.
    """
    fields = schema.parse_json(document)
    prediction = None
    if "prediction_id" in fields:
        prediction = Prediction.of_id(fields["prediction_id"])
        if prediction is None or not access.may_use(prediction.owner):
            raise Problem(404, "prediction_unknown", "This prediction_id was not given out by this service.")
    filename = prediction.filename if prediction is not None else fields.get("filename", "")
    if not filename:
        raise Problem(400, "invalid_report", 'A report names a "prediction_id" or a "filename".')
    is_visible = schema.is_plain_name(filename) and access.may_see(upload_folder, filename)
    if not is_visible or not image_store.is_stored(upload_folder, filename):
        raise Problem(404, "picture_unknown", f"No image {filename[:80]!r} is stored here.")
    return prediction, filename, {name: fields.get(name, "") for name in ("label", "comment")}


def save(submission: Submission, upload_folder: Path) -> str:
    """Append a report to the file of lines, and to the CSV where it could be parsed; return its id.

    Nothing is written where the report came under its key before. Returns once both files are on the disk. Raises
    Problem where the key came with another report, and where there is no room for reports.
    """
    lines, rows = store.paths()
    report, key = submission.report, submission.key
    line = one_line(submission.text)
    report_id = _id_of(key) if key else uuid.uuid4()
    digest = _digest_of(line if report is None else report.filename, submission.details)
    kept_key = store.Key(report_id.bytes, digest) if key else None
    normalized = submission._replace(details=_normalized(submission.details))

    def work() -> bool:
        _check_room(lines, rows)
        cells = None if report is None else _cells(report_id, report, upload_folder, normalized)
        # The id is made of the key, so the CSV shows which keys there were; the file of keys outlives rows of the CSV.
        once = None if kept_key is None else store.Once(kept_key, lambda: _is_there(lines.parent, kept_key, cells))
        return store.append(lines, rows, line, cells, once)

    if offload.run(work):
        metrics.FEEDBACK.inc()
    return str(report_id)


def _id_of(key: str) -> uuid.UUID:
    return uuid.UUID(bytes=hashlib.sha256(b"sightline report\0" + key.encode()).digest()[:16], version=4)


def _digest_of(subject: str, details: Mapping[str, str]) -> bytes:
    content = "\0".join((subject, details.get("label", ""), details.get("comment", "")))
    return hashlib.sha256(content.encode("utf-8", "replace")).digest()[:16]


def _normalized(details: Mapping[str, str]) -> dict[str, str]:
    return {name: labels.normalized(text) if name == "label" else text for name, text in details.items()}


def _cells(report_id: uuid.UUID, report: Report, upload_folder: Path, submission: Submission) -> dict[str, str]:
    return {
        **submission.details,
        "report_id": str(report_id),
        "reported_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "image_path": str(upload_folder / report.filename),
        "image_sha256": image_store.sha256_of(upload_folder, report.filename) if submission.is_visible else "",
        "prediction": report.prediction,
        "score": repr(report.score),
    }


def _check_room(lines: Path, rows: Path) -> None:
    """Raise Problem where reports, which anybody may send, have reached MAX_REPORTS_BYTES."""
    image_store.check_room(lines.parent, 0)
    size = sum(path.stat().st_size for path in (lines, rows) if path.exists())
    if size >= settings.MAX_REPORTS_BYTES:
        detail = (
            f"The reports have reached MAX_REPORTS_BYTES={settings.MAX_REPORTS_BYTES}; the operator can move them away."
        )
        raise Problem(507, "storage_full", detail, retry_after_s=image_store.STORAGE_RETRY_S)


def _is_there(folder: Path, key: store.Key, cells: Mapping[str, str] | None) -> bool:
    """Return whether a report is kept; raise Problem where another one came under its key."""
    known = store.find_key(folder, key.report_id)
    if known is not None:
        is_same = known == key
    elif cells is None or (found := ReportIndex(folder).find(cells["report_id"])) is None:
        return False
    else:
        kept = (found["filename"], found["label"], found["comment"])
        texts = (one_line(cells.get(name, "")) for name in ("label", "comment"))
        is_same = kept == (Path(cells["image_path"]).name, *texts)
    if not is_same:
        raise Problem(422, "idempotency_key_reused", "This Idempotency-Key came with another report before.")
    return True
