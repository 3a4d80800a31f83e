"""Reviewed cases and unreported traffic, read from the feedback folder and the folder of uploads.

`feedback.csv` holds a row for each report, `decisions.csv` beside it a row for each decision of a reviewer; the last
decision of a report counts. What nobody has reviewed is never a case. Both files are written by the api, may grow while
they are read, and may end in half a row.
"""

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from hashlib import sha256
from pathlib import Path

from inference.errors import CasesError
from registry.versions import Case
from wire.tables import feedback
from wire.tables.csv_reader import Fault, Row, TableReader
from wire.tables.csv_table import Table
from wire.tables.feedback import DECISIONS, DECISIONS_FILE, REJECT, REPORTS, REPORTS_FILE

FAULTS_SHOWN = 20
IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp"))


def reviewed(folder: Path) -> Iterator[Case]:
    """Yield each reviewed case in the order of the reports, one at a time, so that any number of them fits."""
    labels = final_labels(folder)
    for row in _rows(folder / REPORTS_FILE, REPORTS) if labels else ():
        label = labels.get(row["report_id"], "")
        if label and (image := feedback.image_name(row["image_path"])):
            yield Case(row["report_id"], image, row["image_sha256"], label, row["prediction"])


def final_labels(folder: Path) -> Mapping[str, str]:
    """Return the label of each report whose last decision was to accept or to correct it."""
    labels: dict[str, str] = {}
    for row in _rows(folder / DECISIONS_FILE, DECISIONS):
        if row["decision"] != REJECT and row["label"]:
            labels[row["report_id"]] = row["label"]
        else:
            labels.pop(row["report_id"], None)
    return labels


def reported_images(folder: Path) -> set[str]:
    """Return the names of all images that any report is about, reviewed or not."""
    return {feedback.image_name(row["image_path"]) for row in _rows(folder / REPORTS_FILE, REPORTS)}


def unread(folder: Path) -> Iterator[str]:
    """Yield what is wrong with the lines of both files that are no rows; of many, the first ones and their number."""
    for name, table in ((REPORTS_FILE, REPORTS), (DECISIONS_FILE, DECISIONS)):
        count = 0
        for found in _read(folder / name, table):
            if isinstance(found, Fault):
                count += 1
                if count <= FAULTS_SHOWN:
                    yield f"{folder / name}, line {found.line} {found.reason}; the line is not used"
        if count > FAULTS_SHOWN:
            yield f"{folder / name}: {count} lines cannot be read and are not used"


def newest(folder: Path) -> Iterator[Case]:
    """Yield each reviewed image once, with its newest label."""
    last = {case.image: case.report_id for case in reviewed(folder)}
    return (case for case in reviewed(folder) if last.get(case.image) == case.report_id)


def choose(cases: Iterator[Case], most: int) -> list[Case]:
    """Return at most so many, each image once with its newest label; labels have equal shares, of their newest."""
    of_image = {case.image: case for case in cases}
    if len(of_image) <= most:
        return list(of_image.values())
    of_label: defaultdict[str, list[Case]] = defaultdict(list)
    for case in of_image.values():
        of_label[case.label].append(case)
    found: list[Case] = []
    # From the rarest label on: what it leaves of its share goes to the others.
    waiting = sorted(of_label.values(), key=len)
    for at, group in enumerate(waiting):
        share = (most - len(found)) // (len(waiting) - at)
        found.extend(group[-share:] if share else [])
    return found


def _rows(path: Path, table: Table) -> Iterator[dict[str, str]]:
    """Yield the rows of a file; raise CasesError where it has lines and none of them is a row."""
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


def unreported(uploads: Path, reported: Collection[str], most: int) -> list[str]:
    """Return the names of at most so many stored images that no report is about, the same random ones each time."""
    return heapq.nsmallest(most, _unreported(uploads, reported), key=lambda name: sha256(name.encode()).digest())


def _unreported(uploads: Path, reported: Collection[str]) -> Iterator[str]:
    for path in uploads.iterdir() if uploads.is_dir() else ():
        is_image = path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
        if is_image and path.name not in reported and path.is_file() and not path.is_symlink():
            yield path.name
