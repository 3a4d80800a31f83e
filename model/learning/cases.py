"""Reviewed cases, read from the two files of the feedback folder; what nobody has reviewed is never among them.

`feedback.csv` holds a row for each report, `decisions.csv` beside it a row for each decision of a reviewer: the last
one of a report holds. Both are written by the api, may grow while they are read, and may end in half a row.
"""

import csv
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from learning.errors import CasesError

REPORTS_FILE, DECISIONS_FILE = "feedback.csv", "decisions.csv"
# What each file must have; others may stand beside them.
REPORT_COLUMNS = ("report_id", "image_path", "image_sha256", "prediction", "label")
DECISION_COLUMNS = ("report_id", "decision", "label")
ACCEPTED, CORRECTED, REJECTED = "accept", "correct", "reject"


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
    for row in _rows(folder / REPORTS_FILE, REPORT_COLUMNS) if labels else ():
        label = labels.get(row["report_id"], "")
        if label and (image := image_name(row)):
            yield Reviewed(row["report_id"], image, row["image_sha256"], _cell(row["prediction"]), label)


def final_labels(folder: Path) -> Mapping[str, str]:
    """The label of each report whose last decision was to accept or to correct it."""
    labels: dict[str, str] = {}
    for row in _rows(folder / DECISIONS_FILE, DECISION_COLUMNS):
        label = _cell(row["label"]).strip()
        if row["decision"] in (ACCEPTED, CORRECTED) and label:
            labels[row["report_id"]] = label
        else:
            labels.pop(row["report_id"], None)
    return labels


def reported_images(folder: Path) -> set[str]:
    """The names of all pictures that any report is about, reviewed or not."""
    return {image_name(row) for row in _rows(folder / REPORTS_FILE, REPORT_COLUMNS)}


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
    return _cell(row["image_path"]).rpartition("/")[2]


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        reader = csv.DictReader(file)
        if missing := [name for name in columns if name not in (reader.fieldnames or columns)]:
            raise CasesError(f"{path} has no column {', '.join(missing)}: its first line must name them")
        for row in reader:
            # Half a row is one that is being written, or was when the power went.
            if None not in row.values():
                yield row


def _cell(text: str) -> str:
    """The cell without the mark that keeps a spreadsheet from running it."""
    return text.removeprefix("'")
