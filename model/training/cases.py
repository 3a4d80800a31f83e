"""Reviewed cases, read from the two files of the feedback folder; what nobody has reviewed is never among them.

`feedback.csv` holds a row for each report, `decisions.csv` beside it a row for each decision of a reviewer: the last
one of a report holds. Both are written by the api, may grow while they are read, and may end in half a row.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from inference.errors import CasesError
from wire.tables import feedback
from wire.tables.csv_reader import Fault, Row, TableReader
from wire.tables.csv_table import Table
from wire.tables.feedback import DECISIONS, DECISIONS_FILE, REJECT, REPORTS, REPORTS_FILE

FAULTS_SHOWN = 20


class Reviewed(NamedTuple):
    """A report that a reviewer has accepted or corrected: the picture and what it shows."""

    report_id: str
    image: str  # the name of the stored picture
    sha256: str
    prediction: str
    label: str


def reviewed(folder: Path) -> Iterator[Reviewed]:
    """Each reviewed case in the order of the reports; one at a time, so that any number of them fits."""
    labels = final_labels(folder)
    for row in _rows(folder / REPORTS_FILE, REPORTS) if labels else ():
        label = labels.get(row["report_id"], "")
        if label and (image := image_name(row)):
            yield Reviewed(row["report_id"], image, row["image_sha256"], row["prediction"], label)


def final_labels(folder: Path) -> Mapping[str, str]:
    """The label of each report whose last decision was to accept or to correct it."""
    labels: dict[str, str] = {}
    for row in _rows(folder / DECISIONS_FILE, DECISIONS):
        if row["decision"] != REJECT and row["label"]:
            labels[row["report_id"]] = row["label"]
        else:
            labels.pop(row["report_id"], None)
    return labels


def reported_images(folder: Path) -> set[str]:
    """The names of all pictures that any report is about, reviewed or not."""
    return {image_name(row) for row in _rows(folder / REPORTS_FILE, REPORTS)}


def unread(folder: Path) -> Iterator[str]:
    """What is wrong with the lines of both files that are no rows, in words; of many, the first and their number."""
    for name, table in ((REPORTS_FILE, REPORTS), (DECISIONS_FILE, DECISIONS)):
        count = 0
        for found in _read(folder / name, table):
            if isinstance(found, Fault):
                count += 1
                if count <= FAULTS_SHOWN:
                    yield f"{folder / name}, line {found.line} {found.reason}; the line is not used"
        if count > FAULTS_SHOWN:
            yield f"{folder / name}: {count} lines cannot be read and are not used"


def newest(folder: Path) -> Iterator[Reviewed]:
    """Each reviewed picture once, as it was named last."""
    last = {case.image: case.report_id for case in reviewed(folder)}
    return (case for case in reviewed(folder) if last.get(case.image) == case.report_id)


def chosen(cases: Iterator[Reviewed], most: int) -> list[Reviewed]:
    """At most so many, each picture once with its newest label; all labels have the same share, for their newest."""
    of_image = {case.image: case for case in cases}
    if len(of_image) <= most:
        return list(of_image.values())
    of_label: defaultdict[str, list[Reviewed]] = defaultdict(list)
    for case in of_image.values():
        of_label[case.label].append(case)
    found: list[Reviewed] = []
    # From the rarest label on: what it leaves of its share goes to the others.
    waiting = sorted(of_label.values(), key=len)
    for at, group in enumerate(waiting):
        share = (most - len(found)) // (len(waiting) - at)
        found.extend(group[-share:] if share else [])
    return found


def image_name(row: Mapping[str, str]) -> str:
    """The stored picture's name; wherever the api has its folder, the worker has it elsewhere."""
    return feedback.image_name(row["image_path"])


def _rows(path: Path, table: Table) -> Iterator[dict[str, str]]:
    """The rows of a file; CasesError where it has lines and none of them is a row."""
    wrong, is_empty = None, True
    for found in _read(path, table):
        if isinstance(found, Row):
            is_empty = False
            yield found.cells
        else:
            wrong = wrong or found
    if is_empty and wrong is not None:
        raise CasesError(f"{path} {wrong.reason} (line {wrong.line})")


def _read(path: Path, table: Table) -> Iterator[Row | Fault]:
    if path.exists():
        with path.open("rb") as file:
            yield from TableReader(table, file, takes_open_end=True)
