"""Reports: what is kept of them, and where."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import blocking
import metrics
import report_files
import reports
import settings
import uploads

CSV_NAME = "feedback.csv"


def save(text: str, upload_folder: Path, details: Mapping[str, str]) -> None:
    """Append a report to the file of lines, and to the CSV where it has the page's shape; back once both are safe.

    `details` may hold the CSV's columns that the report itself does not say: model, model_version, label, comment.
    """
    lines, rows = paths()
    report = reports.parse(text)

    def work() -> None:
        row = None if report is None else reports.row_line(_cells(report, upload_folder, details))
        report_files.append(lines, rows, reports.one_line(text), row)

    blocking.run(work)
    metrics.FEEDBACK.inc()


def paths() -> tuple[Path, Path]:
    """Give the file of lines and the CSV beside it; refuses one path for both."""
    lines = Path(settings.FEEDBACK_FILEPATH)
    rows = lines.with_name(CSV_NAME)
    if lines.resolve() == rows.resolve():
        raise settings.SettingError(
            f"FEEDBACK_FILEPATH={settings.FEEDBACK_FILEPATH!r} is the place of the CSV: choose another file name"
        )
    return lines, rows


def _cells(report: reports.Report, upload_folder: Path, details: Mapping[str, str]) -> dict[str, str]:
    return {
        **details,
        "report_id": str(uuid.uuid4()),
        "reported_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "image_path": str(upload_folder / report.filename),
        "image_sha256": uploads.sha256_of(upload_folder, report.filename),
        "prediction": report.prediction,
        "score": repr(report.score),
    }
