"""Reports on their way in: which image they are about, whether they came before, and saving them."""

import logging
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple

import offload
from auth import access
from images import stored
from observability import metrics
from predict.prediction import Prediction
from problems import Problem
from reports import idempotency, labels, schema
from reports.record import report_store
from reports.schema import Report
from storage.errors import DecidedMeanwhile
from storage.images.port import ImageStore
from storage.reports import port
from wire.tables.csv_table import one_line
from wire.tables.feedback import REJECT

log = logging.getLogger(__name__)

# The same whether the signature or the owner is wrong, so that ids cannot be guessed by trial.
UNKNOWN_ID = "This prediction_id was not given out by this service, or by a host of it that has another SECRET_KEY."
# Who has decided about a report that was withdrawn.
REPORTER = "the reporter"


class Submission(NamedTuple):
    """A report as it came: its text, and its fields where it could be parsed.

    `details` may hold the columns of `schema.DETAILS`. An empty key is none. An image that the reporter may not see is
    treated as one that is not stored.
    """

    text: str
    report: Report | None
    details: Mapping[str, str]
    key: str = ""
    is_visible: bool = True


def read(document: Any, images: ImageStore) -> tuple[Prediction | None, str, dict[str, str]]:
    """Read a ReportRequest: return the prediction that it names, else the stored image, and the columns it fills.

    Raise Problem where the request is malformed, or names what is not there or belongs to another API key.
    """
    fields = schema.parse_json(document)
    prediction = None
    if "prediction_id" in fields:
        prediction = Prediction.of_id(fields["prediction_id"])
        if prediction is None and Prediction.has_form_of_id(fields["prediction_id"]):
            _warn_of_another_key()
        if prediction is None or not access.may_use(prediction.owner):
            raise Problem(404, "prediction_unknown", UNKNOWN_ID)
    filename = prediction.filename if prediction is not None else fields.get("filename", "")
    if not filename:
        raise Problem(400, "invalid_report", 'A report names a "prediction_id" or a "filename".')
    is_visible = schema.is_plain_name(filename) and access.may_see(images, filename)
    if not is_visible or not stored.is_stored(images, filename):
        raise Problem(404, "picture_unknown", f"No image {filename[:80]!r} is stored here.")
    return prediction, filename, {name: fields.get(name, "") for name in ("label", "comment")}


@cache  # once for each process: invented ids must not fill the log
def _warn_of_another_key() -> None:
    log.warning(
        "a prediction_id came that is signed with another SECRET_KEY: it was made up, or by an api host with a key of "
        "its own. Set SECRET_KEY (or SECRET_KEY_FILE) to the same value for all api processes of all hosts."
    )


def save(submission: Submission, images: ImageStore) -> str:
    """Keep a report, with a row of the CSV where it could be parsed; return its id once nothing can lose it.

    Nothing is written where the report came under its key before. Raises KeyReused where the key came with another
    report, and StorageFull where there is no room for reports.
    """
    report, key = submission.report, submission.key
    line = one_line(submission.text)
    report_id = str(_id_of(key) if key else uuid.uuid4())
    cells = None
    if report is not None:
        digest = offload.run(lambda: _kept(images, report.filename)) if submission.is_visible else ""
        cells = _cells(report_id, report, images, _normalized(submission.details), digest)
    content = _digest_of(line if report is None else report.filename, submission.details) if key else b""
    # Counted by the thread that keeps it, since the client may have stopped waiting for a slow disk.
    report_store().add(port.Report(report_id, line, cells, content), metrics.FEEDBACK.inc)
    return report_id


def save_kept(submissions: Sequence[tuple[Submission, str]], images: ImageStore) -> None:
    """Keep new reports without keys, each with the SHA-256 of its image, which is kept already: all or none.

    Raises StorageFull where there is no room for reports.
    """
    reports = []
    for each, digest in submissions:
        report_id = str(uuid.uuid4())
        cells = each.report and _cells(report_id, each.report, images, _normalized(each.details), digest)
        reports.append(port.Report(report_id, one_line(each.text), cells))
    report_store().add_all(reports, lambda: metrics.FEEDBACK.inc(len(reports)))


def withdraw(report_id: str) -> None:
    """Reject a report in the name of its reporter; do nothing where that was done before.

    Raise Problem where there is no such report, or a reviewer has decided about it.
    """
    if report_store().find(report_id) is None:
        raise Problem(404, "report_unknown", "There is no report of that id.")
    try:
        report_store().decide(port.Decision(report_id, REJECT, "", REPORTER), seen=0)
    except DecidedMeanwhile:
        raise Problem(
            409, "decided_meanwhile", "The report has been reviewed; it can no longer be withdrawn."
        ) from None


def _id_of(key: str) -> uuid.UUID:
    return uuid.UUID(bytes=idempotency.digest("sightline report", key), version=4)


def _digest_of(subject: str, details: Mapping[str, str]) -> bytes:
    return idempotency.digest(subject, details.get("label", ""), details.get("comment", ""))


def _normalized(details: Mapping[str, str]) -> dict[str, str]:
    return {name: labels.spelling().of(text) if name == "label" else text for name, text in details.items()}


def _kept(images: ImageStore, name: str) -> str:
    """Keep the image permanently; return its SHA-256."""
    images.keep(name)
    return stored.sha256_of(images, name)


def _cells(
    report_id: str, report: Report, images: ImageStore, details: Mapping[str, str], digest: str
) -> dict[str, str]:
    return {
        **details,
        "report_id": report_id,
        "reported_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "image_path": images.location(report.filename),
        "image_sha256": digest,
        "prediction": report.prediction,
        "score": repr(report.score),
    }
