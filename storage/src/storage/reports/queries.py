"""The queries of a database of reports, SQLite or PostgreSQL: its columns, and the queries of the inbox.

A parameter stands as `?` in a query.
"""

import re
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeAlias, TypeVar

from storage.reports.port import (
    CASES_AT_ONCE,
    MAX_CLASSES,
    MAX_CONFUSED,
    MAX_LABELS,
    MAX_MODELS,
    MAX_REPORTS_SHOWN,
    MAX_TEXT,
    STATUS_OF,
    STATUSES,
    Card,
    CaseClass,
    Filters,
    Order,
    Page,
    Place,
    Quality,
    ReportStore,
    Row,
)
from wire.tables.feedback import decided_label, image_name
from wire.tables.labels import key

Result = TypeVar("Result")
Value: TypeAlias = str | float | int | None
Ask: TypeAlias = Callable[[str, Sequence[Any]], Sequence[Row]]

REPORT_COLUMNS = (
    *("report_id", "reported_at", "filename", "image_sha256", "prediction", "score", "model", "model_version", "label"),
    *("comment", "prediction_key", "label_key"),
)
# The subject of a report: the content, under any name; else the name; else a subject of its own.
IMAGE = "coalesce(nullif(image_sha256, ''), nullif(filename, ''), report_id)"
DECISION_COLUMNS = ("status", "final_label", "final_key", "decided_at", "reviewer", "decision")
_ALL = ", ".join(("seq", *REPORT_COLUMNS, *DECISION_COLUMNS))
_CASES = f"""
SELECT {_ALL} FROM reports AS one WHERE final_key != '' AND seq > ?
  AND decision = (SELECT max(decision) FROM reports WHERE final_key != '' AND filename = one.filename)
  AND (image_sha256 = '' OR
    decision = (SELECT max(decision) FROM reports WHERE final_key != '' AND image_sha256 = one.image_sha256))
ORDER BY seq LIMIT ?
"""  # noqa: S608  our own words
_REPORTS = f"SELECT {_ALL} FROM reports WHERE seq > ? ORDER BY seq LIMIT ?"  # noqa: S608  as above
# What reports are about, as one: see `image` in the tables. An image has the status that comes first of those of its
# reports, and the value of an order is that of its reports together.
_COUNTS = ", ".join(f"sum(CASE WHEN status = '{status}' THEN 1 ELSE 0 END) AS {status}_count" for status in STATUSES)
_STATUS = " ".join(f"WHEN {status}_count > 0 THEN '{status}'" for status in STATUSES)
_IMAGES = f"""
WITH counted AS (
  SELECT image, max(seq) AS seq, {_COUNTS}, {{value}} AS value FROM reports GROUP BY image {{having}}
), images AS (SELECT image, seq, value, CASE {_STATUS} END AS status FROM counted)
"""  # noqa: S608  our own words
# The columns of an index that holds all that a list of images needs.
IMAGE_INDEX = "image, seq, status, score, reported_at, prediction_key, label_key, final_key, model, model_version"
_KEYS = ("prediction_key", "label_key", "final_key")
_ESCAPED = re.compile("[!%_]")
# Of an unknown score it is unknown whether it is low.
_NO_SCORE = 2.0
_CONTRADICTS = "label_key != '' AND label_key = prediction_key"
_SAY = f"count(DISTINCT NULLIF(label_key, '')) + max(CASE WHEN {_CONTRADICTS} THEN 1 ELSE 0 END)"
# By name: the value of an image, and whether the largest comes first.
_ORDERS: Mapping[str, tuple[str, bool]] = {
    "newest": ("max(seq)", True),
    "oldest": ("max(seq)", False),
    "unsure": (f"coalesce(min(score), {_NO_SCORE})", False),
    "sure": ("coalesce(max(score), -1.0)", True),
    "disputed": (_SAY, True),
}
_REPORTS_OF = f"""
SELECT {{columns}} FROM (
  SELECT *, row_number() OVER (PARTITION BY image ORDER BY seq DESC) AS place FROM reports WHERE image IN ({{marks}})
) AS ranked WHERE place <= {MAX_REPORTS_SHOWN} ORDER BY seq DESC
"""  # noqa: S608  as above
_FACTS_OF = f"""
SELECT image, max(seq) AS upto, max(decision) AS seen, count(*) AS report_count,
  max(CASE WHEN {_CONTRADICTS} THEN 1 ELSE 0 END) AS is_contradictory
FROM reports WHERE image IN ({{marks}}) GROUP BY image
"""  # noqa: S608  as above
_LAST_OF = """
SELECT image, final_label, reviewer FROM (
  SELECT image, final_label, reviewer, row_number() OVER (PARTITION BY image ORDER BY decision DESC) AS place
  FROM reports WHERE decision > 0 AND image IN ({marks})
) AS ranked WHERE place = 1
"""
_PROPOSED_FOR = """
SELECT image, label_key, count(*) AS count, max(seq) AS seq FROM reports
WHERE label_key != '' AND image IN ({marks}) GROUP BY image, label_key ORDER BY count(*), max(seq)
"""
_NEXT_MODEL = "SELECT model, model_version FROM reports WHERE (model, model_version) > (?, ?) ORDER BY 1, 2 LIMIT 1"

_RIGHT = "sum(CASE WHEN final_key = prediction_key THEN 1 ELSE 0 END) AS correct"
_TENTH = "CASE " + " ".join(f"WHEN score < {tenth / 10 + 0.1:.1f} THEN {tenth}" for tenth in range(9)) + " ELSE 9 END"
_REPORTED = "SELECT model, model_version, status, count(*) AS count FROM reports GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
_REVIEWED = f"""
SELECT model, model_version, count(*) AS count, {_RIGHT} FROM reports WHERE final_key != ''
GROUP BY 1, 2 ORDER BY 1, 2
"""  # noqa: S608  our own words
_RELIABILITY = f"""
SELECT {_TENTH} AS tenth, count(*) AS count, {_RIGHT}, avg(score) AS score FROM reports
WHERE final_key != '' AND score IS NOT NULL GROUP BY 1 ORDER BY 1
"""  # noqa: S608  our own words
_CONFUSION = f"""
SELECT max(prediction) AS predicted, max(final_label) AS actual, count(*) AS count FROM reports
WHERE final_key != '' AND final_key != prediction_key GROUP BY prediction_key, final_key
ORDER BY count DESC, predicted, actual LIMIT {MAX_CONFUSED}
"""  # noqa: S608  our own words
_CLASSES = f"""
SELECT max(final_label) AS label, count(DISTINCT image) AS images, max(filename) AS filename FROM reports
WHERE final_key != '' GROUP BY final_key ORDER BY images DESC, label LIMIT {MAX_CLASSES}
"""  # noqa: S608  our own words


class Faults(NamedTuple):
    """Describe how many lines of the record cannot be read, and the fault of the first of them."""

    total: int = 0
    shown: Sequence[str] = ()


def report_values(cells: Mapping[str, str]) -> tuple[Value, ...]:
    """Return the values of REPORT_COLUMNS of a row of feedback.csv."""
    image = (cells["report_id"], cells["reported_at"], image_name(cells["image_path"]), cells["image_sha256"])
    score = float(cells["score"]) if cells["score"] else None
    prediction, model, version, label, comment = (
        cells[name][:MAX_TEXT] for name in ("prediction", "model", "model_version", "label", "comment")
    )
    return (*image, prediction, score, model, version, label, comment, key(prediction), key(label))


def decision_values(cells: Mapping[str, str], number: int) -> tuple[Value, ...]:
    """Return the values of DECISION_COLUMNS of a row of decisions.csv; `number` orders all decisions."""
    label = decided_label(cells["decision"], cells["label"])
    return (STATUS_OF[cells["decision"]], label, key(label), cells["time"], cells["reviewer"], number)


def find(ask: Ask, report_id: str) -> Row | None:
    """Return a report by its id."""
    found = ask(f"SELECT {_ALL} FROM reports WHERE report_id = ?", (report_id,))  # noqa: S608  as above
    return dict(found[0]) if found else None


class QueriedReports(ReportStore):
    """Reports in a database, which answers what only reads."""

    # Finds each `final_label` that was written first, in their order.
    _LABELS: ClassVar[str]

    @abstractmethod
    def _query(self, work: Callable[[Ask], Result]) -> Result:
        """Return what `work` finds by its queries."""

    def find(self, report_id: str) -> Row | None:
        """Find it by its index."""
        return self._query(lambda ask: find(ask, report_id))

    def page(self, filters: Filters, order: Order = Order(), place: Place | None = None) -> Page:  # noqa: B008  a tuple
        """Read the page and what stands around it."""

        def work(ask: Ask) -> Page:
            images = _images(filters, order)
            query = f"{images.text} SELECT status, count(*) AS count FROM images GROUP BY status"  # noqa: S608  as above
            counts = dict.fromkeys(STATUSES, 0) | {row["status"]: row["count"] for row in ask(query, images.values)}
            shown, has_earlier, has_later = _listed(ask, images, filters.status, order, place)
            faults = self._faults(ask)
            return Page(
                _cards(ask, shown),
                counts,
                _models(ask),
                self._named(ask)[:MAX_LABELS],
                Place(shown[0]["value"], shown[0]["seq"], is_before=True) if shown and has_earlier else None,
                Place(shown[-1]["value"], shown[-1]["seq"]) if shown and has_later else None,
                faults.total,
                list(faults.shown),
            )

        return self._query(work)

    def reported(self, images: Sequence[str]) -> set[str]:
        """Read their reports."""
        rows = self._query(lambda ask: reports_of(ask, images)) if images else {}
        return {image for image, found in rows.items() if found}

    def cases(self, after: int) -> list[Row]:
        """Read the next ones."""
        return self._query(lambda ask: list(ask(_CASES, (after, CASES_AT_ONCE))))

    def reports(self, after: int) -> list[Row]:
        """Read the next ones."""
        return self._query(lambda ask: list(ask(_REPORTS, (after, CASES_AT_ONCE))))

    def quality(self) -> Quality:
        """Count the reports."""
        queries = (_REPORTED, _REVIEWED, _RELIABILITY, _CONFUSION)
        return self._query(lambda ask: Quality(*(ask(query, ()) for query in queries)))

    def classes(self) -> list[CaseClass]:
        """Add them up."""
        found = self._query(lambda ask: ask(_CLASSES, ()))
        return [CaseClass(row["label"], row["images"], row["filename"]) for row in found]

    def labels(self) -> list[str]:
        """Read them."""
        return self._query(self._named)

    def image_names(self) -> Iterator[str]:
        """Read all of them in one query."""
        found = self._query(lambda ask: ask("SELECT DISTINCT filename FROM reports", ()))
        yield from (row["filename"] for row in found)

    def _named(self, ask: Ask) -> list[str]:
        return [row["final_label"] for row in ask(self._LABELS, ())]

    def _faults(self, _: Ask) -> Faults:
        """Return what of the record cannot be read."""
        return Faults()


class _Query(NamedTuple):
    """The beginning of a query, and the values of its parameters."""

    text: str
    values: tuple[Value, ...]


def _images(filters: Filters, order: Order) -> _Query:
    """Return what defines `images`: those that fit the filters, with any status."""
    conditions = _conditions(filters)
    having = f"HAVING {' AND '.join(conditions)}" if conditions else ""
    text = _IMAGES.format(value=_ORDERS[order.name][0], having=having)
    return _Query(text, tuple(each for values in conditions.values() for each in values))


def _listed(ask: Ask, images: _Query, status: str, order: Order, place: Place | None) -> tuple[list[Row], bool, bool]:
    """Return the images of a page in their order, and whether there are others before and after them."""
    is_backwards = place is not None and place.is_before
    falls = _ORDERS[order.name][1] != is_backwards
    where: dict[str, tuple[Value, ...]] = {"status = ?": (status,)} if status else {}
    if place is not None:
        where[f"(value, seq) {'<' if falls else '>'} (?, ?)"] = (place.value, place.seq)
    direction = "DESC" if falls else "ASC"
    query = (
        f"{images.text} SELECT image, value, seq, status FROM images WHERE {' AND '.join(['1 = 1', *where])} "  # noqa: S608  as above
        f"ORDER BY value {direction}, seq {direction} LIMIT {order.size + 1}"
    )
    found = ask(query, [*images.values, *(each for values in where.values() for each in values)])
    shown, has_more = list(found[: order.size]), len(found) > order.size
    if is_backwards:
        return shown[::-1], has_more, True
    return shown, place is not None, has_more


def _cards(ask: Ask, images: Sequence[Row]) -> list[Card]:
    """Return the images with what their reports say, in the same order."""
    names = [row["image"] for row in images]
    if not names:
        return []
    marks = ", ".join("?" * len(names))
    facts = {row["image"]: row for row in ask(_FACTS_OF.format(marks=marks), names)}
    reports: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for row in ask(_REPORTS_OF.format(marks=marks, columns=f"image, {_ALL}"), names):
        reports[row["image"]].append(dict(row))
    proposed: dict[str, list[str]] = {name: [] for name in names}
    for row in ask(_PROPOSED_FOR.format(marks=marks), names):
        proposed[row["image"]].append(row["label_key"])
    last = {row["image"]: row for row in ask(_LAST_OF.format(marks=marks), names)}
    return [
        _card(row, facts[row["image"]], last.get(row["image"]), proposed[row["image"]], reports[row["image"]])
        for row in images
    ]


def _card(image: Row, facts: Row, last: Row | None, proposed: list[str], reports: list[dict[str, Any]]) -> Card:
    of_proposed = (row["label"] for row in reports if proposed and row["label_key"] == proposed[-1])
    return Card(
        image["image"],
        image["status"],
        last["final_label"] if last is not None else "",
        last["reviewer"] if last is not None else "",
        facts["seen"],
        facts["upto"],
        facts["report_count"],
        next(of_proposed, proposed[-1] if proposed else ""),
        len(proposed) > 1,
        bool(facts["is_contradictory"]),
        reports,
    )


def reports_of(ask: Ask, images: Sequence[str], lock: str = "") -> dict[str, list[Row]]:
    """Return all reports of each image, for decisions; `lock` is how the database keeps others away meanwhile."""
    found: dict[str, list[Row]] = {image: [] for image in images}
    marks = ", ".join("?" * len(found))
    columns = f"image, seq, report_id, label_key, {', '.join(DECISION_COLUMNS)}"
    for row in ask(f"SELECT {columns} FROM reports WHERE image IN ({marks}) ORDER BY seq {lock}", [*found]):  # noqa: S608  as above
        found[row["image"]].append(row)
    return found


def _conditions(filters: Filters) -> dict[str, tuple[Value, ...]]:
    """Return the conditions on an image in SQL, each with its values."""
    model, _, version = filters.model.partition("/")
    of_class = [f"{name} LIKE ? ESCAPE '!'" for name in _KEYS] * bool(filters.part)
    marks = ", ".join("?" * len(filters.keys))
    of_class += [f"{name} IN ({marks})" for name in _KEYS] * bool(filters.keys)
    pattern = "%" + _ESCAPED.sub(r"!\g<0>", filters.part) + "%"
    chosen: dict[str, tuple[Value, ...]] = {
        _has_any(" OR ".join(of_class)): ((pattern,) * len(_KEYS) if filters.part else ()) + filters.keys * len(_KEYS),
        _has_any("model = ? AND model_version = ?"): (model, version),
        "max(reported_at) >= ?": (filters.since,),
        "max(reported_at) < ?": (filters.before,),
    }
    return {condition: values for condition, values in chosen.items() if any(values)}


def _has_any(condition: str) -> str:
    """Return the condition on an image that holds where this one holds for any of its reports."""
    return f"max(CASE WHEN {condition} THEN 1 ELSE 0 END) = 1"


def _models(ask: Ask) -> list[str]:
    """Return the models that were reported, each found from the one before by the index."""
    found: list[str] = []
    last = ("", "")
    while len(found) < MAX_MODELS and (rows := ask(_NEXT_MODEL, last)):
        last = (rows[0]["model"], rows[0]["model_version"])
        found.append("/".join(last))
    return found
