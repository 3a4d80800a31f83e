"""Reports: what is kept of them, and where."""

import hashlib
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import offload
import settings
from images import store
from observability import metrics
from problems import Problem
from reports import labels, report_keys, schema
from reports import store as reports_store
from reports.index import ReportIndex
from reports.report_keys import Key
from reports.store import Once
from wire.settings import SettingError
from wire.tables.csv_table import one_line
from wire.tables.feedback import REPORTS_FILE


def save(
    text: str,
    upload_folder: Path,
    details: Mapping[str, str],
    key: str = "",
    *,
    may_see: Callable[[str], bool] = lambda filename: True,
) -> str:
    """Append a report to the file of lines, and to the CSV where it has the page's shape; return its id.

    `details` may hold the CSV's columns that the report itself does not say: model, model_version, label, comment.
    Nothing is written where the report came under this key before; an empty key is none. A picture that the reporter
    may not see is treated as one that is not stored. Raises Problem where the key came with another report, and where
    there is no room for reports.
    """
    report = schema.parse(text)
    is_seen = report is not None and may_see(report.filename)
    return _save(one_line(text), report, upload_folder, _Sent(details, key, is_seen))


def save_report(report: schema.Report, upload_folder: Path, details: Mapping[str, str], key: str = "") -> str:
    """Append a report that was read already, as `save` does."""
    return _save(one_line(schema.shaped(report)), report, upload_folder, _Sent(details, key))


class _Sent(NamedTuple):
    """What comes with a report: more columns of the CSV, its key, and whether the reporter may see the picture."""

    details: Mapping[str, str]
    key: str
    is_seen: bool = True


def _save(line: str, report: schema.Report | None, upload_folder: Path, sent: _Sent) -> str:
    """Return once both files are on the disk."""
    lines, rows = paths()
    report_id = _id_of(sent.key) if sent.key else uuid.uuid4()
    digest = _digest_of(line if report is None else report.filename, sent.details)
    kept_key = Key(report_id.bytes, digest) if sent.key else None
    told = sent._replace(details=spelled(sent.details))

    def work() -> bool:
        _check_room(lines, rows)
        cells = None if report is None else _cells(report_id, report, upload_folder, told)
        # The id is made of the key, so the CSV knows which keys there were; what became of the CSV, the file of keys.
        once = None if kept_key is None else Once(kept_key, lambda: _is_there(lines.parent, kept_key, cells))
        return reports_store.append(lines, rows, line, cells, once)

    if offload.run(work):
        metrics.FEEDBACK.inc()
    return str(report_id)


def _check_room(lines: Path, rows: Path) -> None:
    """Raise Problem where reports, which anybody may send, have taken all the room that they may take."""
    store.check_room(lines.parent, 0)
    size = sum(path.stat().st_size for path in (lines, rows) if path.exists())
    if size >= settings.MAX_REPORTS_BYTES:
        said = (
            f"The reports have reached MAX_REPORTS_BYTES={settings.MAX_REPORTS_BYTES}; the operator can move them away."
        )
        raise Problem(507, "storage_full", said, retry_after_s=store.STORAGE_RETRY_S)


def paths() -> tuple[Path, Path]:
    """Give the file of lines and the CSV beside it; refuses one path for both."""
    lines = Path(settings.FEEDBACK_FILEPATH)
    rows = lines.with_name(REPORTS_FILE)
    if lines.resolve() == rows.resolve():
        raise SettingError(
            f"FEEDBACK_FILEPATH={settings.FEEDBACK_FILEPATH!r} is the place of the CSV: choose another file name"
        )
    return lines, rows


def spelled(details: Mapping[str, str]) -> dict[str, str]:
    """Give what a report says beside itself, its label as the model spells it."""
    return {**details, **({"label": labels.spelled(details["label"])} if "label" in details else {})}


def _id_of(key: str) -> uuid.UUID:
    return uuid.UUID(bytes=hashlib.sha256(b"sightline report\0" + key.encode()).digest()[:16], version=4)


def _digest_of(subject: str, details: Mapping[str, str]) -> bytes:
    said = "\0".join((subject, details.get("label", ""), details.get("comment", "")))
    return hashlib.sha256(said.encode("utf-8", "replace")).digest()[:16]


def _is_there(folder: Path, key: Key, cells: Mapping[str, str] | None) -> bool:
    known = report_keys.find(folder, key.report_id)
    if known is None:
        return cells is not None and _is_in_csv(folder, cells)
    if known != key:
        raise _key_reused()
    return True


def _is_in_csv(folder: Path, cells: Mapping[str, str]) -> bool:
    found = ReportIndex(folder).find(cells["report_id"])
    if found is None:
        return False
    told = (Path(cells["image_path"]).name, one_line(cells.get("label", "")), one_line(cells.get("comment", "")))
    if told != (found["filename"], found["label"], found["comment"]):
        raise _key_reused()
    return True


def _key_reused() -> Problem:
    return Problem(422, "idempotency_key_reused", "This Idempotency-Key came with another report before.")


def _cells(report_id: uuid.UUID, report: schema.Report, upload_folder: Path, sent: _Sent) -> dict[str, str]:
    return {
        **sent.details,
        "report_id": str(report_id),
        "reported_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "image_path": str(upload_folder / report.filename),
        "image_sha256": store.sha256_of(upload_folder, report.filename) if sent.is_seen else "",
        "prediction": report.prediction,
        "score": repr(report.score),
    }
