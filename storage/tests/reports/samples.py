"""Reports and decisions to keep."""

import uuid
from typing import Any

from storage.reports.port import Decision, Filters, Report, ReportStore, Row
from wire.tables.feedback import REPORTS

IMAGE = "0123456789abcdef0123456789abcdef.jpg"


def id_of(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name))


def report_of(name: str, content: bytes = b"", **cells: str) -> Report:
    given = {
        "report_id": id_of(name),
        "reported_at": "2026-11-22T10:00:00.000+00:00",
        "image_path": f"uploads/{IMAGE}",
        "prediction": "tabby",
        "score": "0.5",
    }
    return Report(id_of(name), name, dict.fromkeys(REPORTS.columns, "") | given | cells, content)


def add(reports: ReportStore, *names: str, **cells: str) -> None:
    for name in names:
        reports.add(report_of(name, b"", **cells))


def decide(reports: ReportStore, name: str, kind: str, label: str = "", reviewer: str = "ann", **told: Any) -> None:
    reports.decide(Decision(id_of(name), kind, label, reviewer), **told)


def shown(reports: ReportStore, filters: Filters = Filters(status="")) -> list[dict[str, Any]]:  # noqa: B008  a tuple
    """Return the reports of the first page, the newest first."""
    cards = reports.page(filters).cards
    return sorted((report for card in cards for report in card.reports), key=lambda report: -report["seq"])


def image(name: str) -> dict[str, str]:
    """Return the cells of a report about an image of its own."""
    return {"image_path": f"uploads/{id_of(name)}.jpg", "image_sha256": f"{name}-content"}


def found(reports: ReportStore, name: str) -> Row:
    row = reports.find(id_of(name))
    assert row is not None
    return row


def state_of(reports: ReportStore, name: str) -> tuple[str, str, str]:
    row = found(reports, name)
    return row["status"], row["final_label"], row["reviewer"]
