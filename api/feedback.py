"""Reports: what is kept of them, and where."""

import hashlib
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import blocking
import image_store
import known_labels
import metrics
import report_files
import reports
import settings
from csv_rows import one_line
from problems import Problem
from report_index import ReportIndex


def save(
    text: str,
    upload_folder: Path,
    details: Mapping[str, str],
    *,
    may_see: Callable[[str], bool] = lambda filename: True,
) -> None:
    """Append a report to the file of lines, and to the CSV where it has the page's shape; back once both are safe.

    `details` may hold the CSV's columns that the report itself does not say: model, model_version, label, comment.
    A picture that the reporter may not see is treated as one that is not stored.
    """
    lines, rows = paths()
    report = reports.parse(text)
    details = spelled(details)
    is_seen = report is not None and may_see(report.filename)

    def work() -> None:
        cells = None if report is None else _cells(str(uuid.uuid4()), report, upload_folder, details, is_seen=is_seen)
        report_files.append(lines, rows, one_line(text), None if cells is None else reports.TABLE.line(cells))

    blocking.run(work)
    metrics.FEEDBACK.inc()


def save_once(key: str, report: reports.Report, upload_folder: Path, details: Mapping[str, str]) -> str:
    """Append a report as a line and a row, unless one came under this key before; give its id.

    An empty key is none. Raises Problem where the key came with another report.
    """
    lines, rows = paths()
    report_id = _id_of(key) if key else str(uuid.uuid4())
    details = spelled(details)

    def work() -> None:
        cells = _cells(report_id, report, upload_folder, details)
        report_files.append(
            lines,
            rows,
            one_line(reports.shaped(report)),
            reports.TABLE.line(cells),
            # The id is made of the key, so the CSV knows which keys there were.
            is_there=(lambda: _is_there(lines.parent, cells)) if key else None,
        )

    blocking.run(work)
    metrics.FEEDBACK.inc()
    return report_id


def paths() -> tuple[Path, Path]:
    """Give the file of lines and the CSV beside it; refuses one path for both."""
    lines = Path(settings.FEEDBACK_FILEPATH)
    rows = lines.with_name(reports.FILE_NAME)
    if lines.resolve() == rows.resolve():
        raise settings.SettingError(
            f"FEEDBACK_FILEPATH={settings.FEEDBACK_FILEPATH!r} is the place of the CSV: choose another file name"
        )
    return lines, rows


def spelled(details: Mapping[str, str]) -> dict[str, str]:
    """Give what a report says beside itself, its label as the model spells it."""
    return {**details, **({"label": known_labels.spelled(details["label"])} if "label" in details else {})}


def _id_of(key: str) -> str:
    return str(uuid.UUID(bytes=hashlib.sha256(b"sightline report\0" + key.encode()).digest()[:16], version=4))


def _is_there(folder: Path, cells: Mapping[str, str]) -> bool:
    found = ReportIndex(folder).find(cells["report_id"])
    if found is None:
        return False
    told = (Path(cells["image_path"]).name, one_line(cells.get("label", "")), one_line(cells.get("comment", "")))
    if told != (found["filename"], found["label"], found["comment"]):
        raise Problem(422, "idempotency_key_reused", "This Idempotency-Key came with another report before.")
    return True


def _cells(
    report_id: str, report: reports.Report, upload_folder: Path, details: Mapping[str, str], *, is_seen: bool = True
) -> dict[str, str]:
    return {
        **details,
        "report_id": report_id,
        "reported_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "image_path": str(upload_folder / report.filename),
        "image_sha256": image_store.sha256_of(upload_folder, report.filename) if is_seen else "",
        "prediction": report.prediction,
        "score": repr(report.score),
    }
