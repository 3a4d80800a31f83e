"""The inbox of reports: what is asked of the index. No HTTP."""

import sqlite3
from collections.abc import Mapping
from typing import Any, NamedTuple

from reports.index import ReportIndex
from reports.index_tables import OPEN, STATUSES, faults_in

CASES_AT_ONCE = 20
LABELS_AT_MOST = 500
# A report's form may name any model.
MODELS_AT_MOST = 100
FAULTS_AT_MOST = 20


class Filters(NamedTuple):
    """Which reports to show; an empty text leaves the choice open. A label counts wherever it was said."""

    status: str = OPEN
    label: str = ""
    model: str = ""

    def conditions(self, *, with_status: bool = True) -> tuple[str, list[str]]:
        """Give the condition in SQL, and its values."""
        texts, values = ["1"], list[str]()
        if self.status and with_status:
            texts, values = [*texts, "status = ?"], [*values, self.status]
        if self.label:
            texts, values = [*texts, "? IN (prediction, label, final_label)"], [*values, self.label]
        if self.model:
            model, _, version = self.model.partition("/")
            texts, values = [*texts, "model = ? AND model_version = ?"], [*values, model, version]
        return " AND ".join(texts), values


class Page(NamedTuple):
    """A page of the inbox, newest first; `before` leads to the next one, where there is one."""

    cases: list[Mapping[str, Any]]
    counts: Mapping[str, int]
    models: list[str]
    labels: list[str]
    before: int | None
    fault_count: int
    faults: list[str]


def look(index: ReportIndex, filters: Filters, before: int | None = None) -> Page:
    """Give the newest reports, or those before one of them."""
    return index.read(lambda database: _page(database, filters, before))


def _page(database: sqlite3.Connection, filters: Filters, before: int | None) -> Page:
    cases = _cases(database, filters, before)
    is_more = len(cases) > CASES_AT_ONCE
    shown = cases[:CASES_AT_ONCE]
    return Page(
        shown,
        _counts(database, filters),
        _models(database),
        _labels(database),
        shown[-1]["seq"] if is_more else None,
        *faults_in(database, FAULTS_AT_MOST),
    )


def _cases(database: sqlite3.Connection, filters: Filters, before: int | None) -> list[Mapping[str, Any]]:
    condition, values = filters.conditions()
    place = " AND seq < ?" if before is not None else ""
    query = f"SELECT * FROM reports WHERE {condition}{place} ORDER BY seq DESC LIMIT ?"  # noqa: S608  our own words
    given = [*values, *([before] if before is not None else []), CASES_AT_ONCE + 1]
    return [dict(row) for row in database.execute(query, given)]


def _counts(database: sqlite3.Connection, filters: Filters) -> dict[str, int]:
    condition, values = filters.conditions(with_status=False)
    query = f"SELECT status, count(*) FROM reports WHERE {condition} GROUP BY status"  # noqa: S608  our own words
    return dict.fromkeys(STATUSES, 0) | dict(database.execute(query, values).fetchall())


def _models(database: sqlite3.Connection) -> list[str]:
    """Give the models that were reported, hopping from one to the next by the index."""
    found: list[str] = []
    last = ("", "")
    while len(found) < MODELS_AT_MOST and (
        row := database.execute(
            "SELECT model, model_version FROM reports WHERE (model, model_version) > (?, ?) ORDER BY 1, 2 LIMIT 1", last
        ).fetchone()
    ):
        last = (row[0], row[1])
        found.append("/".join(last))
    return found


def _labels(database: sqlite3.Connection) -> list[str]:
    """Give the labels that reviewers have used, so that the next one spells a new label alike."""
    rows = database.execute(
        "SELECT DISTINCT final_label FROM reports WHERE status IN ('accepted', 'corrected') LIMIT ?", (LABELS_AT_MOST,)
    )
    return sorted(row[0] for row in rows)
