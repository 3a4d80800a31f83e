"""Reviewed cases and unreported traffic, read from the feedback folder and the folder of uploads.

`feedback.csv` holds a row for each report, `decisions.csv` next to it a row for each decision of a reviewer; the last
decision counts. `labels.csv` holds what reviewers have renamed and merged. What no one has reviewed is never a case.
These files may grow while they are read, and may end in half a row.
"""

import hashlib
import heapq
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from inference import files
from inference.errors import CasesError
from registry.versions import Case
from storage.images.names import SUFFIXES
from storage.images.port import ImageStore
from wire.tables import feedback
from wire.tables.csv_reader import Fault, Row, TableReader
from wire.tables.csv_table import Table
from wire.tables.feedback import DECISIONS, DECISIONS_FILE, RENAMES, RENAMES_FILE, REPORTS, REPORTS_FILE
from wire.tables.labels import Spelling, key

FAULTS_SHOWN = 20
# One image in so many is held out of rehearsal sets.
HELD_OUT_OF = 4


def reviewed(folder: Path, known: Iterable[str] = ()) -> Iterator[Case]:
    """Yield each reviewed image once, in the order of the reports; one at a time, so that any number of them fits.

    Of all decisions about an image, be it stored under several names, the last one counts. Each class has one name:
    that of the `known` labels of a model, else what it is renamed to, else how it was written first.
    """
    decisions = final_labels(folder)
    names = spelling(folder, known).extended(decisions.values())
    rank = {report_id: at for at, report_id in enumerate(decisions)}
    last: dict[str, int] = {}
    for case in _cases(folder, decisions):
        for name in _identities(case):
            last[name] = max(last.get(name, 0), rank[case.report_id])
    for case in _cases(folder, decisions):
        names_of_it = list(_identities(case))
        if all(last.get(name) == rank[case.report_id] for name in names_of_it):
            last |= dict.fromkeys(names_of_it, -1)  # a row may be there twice
            yield case._replace(label=names.of(case.label))


def _cases(folder: Path, labels: Mapping[str, str]) -> Iterator[Case]:
    for row in _rows(folder / REPORTS_FILE, REPORTS) if labels else ():
        label = labels.get(row["report_id"], "")
        if label and (image := feedback.image_name(row["image_path"])):
            yield Case(row["report_id"], image, row["image_sha256"], label, row["prediction"])


def _identities(case: Case) -> Iterator[str]:
    """Yield the keys of an image: its name, and its content under any name."""
    yield case.image
    if case.sha256:
        yield case.sha256


def final_labels(folder: Path) -> Mapping[str, str]:
    """Return the label of each report whose last decision was to accept or to correct it, in the order of these."""
    labels: dict[str, str] = {}
    for row in _rows(folder / DECISIONS_FILE, DECISIONS):
        labels.pop(row["report_id"], None)
        label = feedback.decided_label(row["decision"], row["label"])
        if key(label):
            labels[row["report_id"]] = label
    return labels


def spelling(folder: Path, known: Iterable[str]) -> Spelling:
    """Return the names of classes: the known ones, and as reviewers have renamed them."""
    return Spelling(known, renames(folder))


def renames(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the labels that were given other names, and these, in the order in which that was done."""
    return ((row["label"], row["name"]) for row in _rows(folder / RENAMES_FILE, RENAMES))


def reported_images(folder: Path) -> set[str]:
    """Return the names of all images that any report is about, reviewed or not."""
    return {feedback.image_name(row["image_path"]) for row in _rows(folder / REPORTS_FILE, REPORTS)}


def reported_contents(folder: Path) -> set[str]:
    """Return the SHA-256 of all images that any report is about, as far as it is known."""
    return {row["image_sha256"] for row in _rows(folder / REPORTS_FILE, REPORTS)} - {""}


def unread(folder: Path) -> Iterator[str]:
    """Yield what is wrong with the lines of these files that are no rows; of many, the first ones and their number."""
    for name, table in ((REPORTS_FILE, REPORTS), (DECISIONS_FILE, DECISIONS), (RENAMES_FILE, RENAMES)):
        count = 0
        for found in _read(folder / name, table):
            if isinstance(found, Fault):
                count += 1
                if count <= FAULTS_SHOWN:
                    yield f"{folder / name}, line {found.line} {found.reason}; the line is not used"
        if count > FAULTS_SHOWN:
            yield f"{folder / name}: {count} lines cannot be read and are not used"


def choose(cases: Iterator[Case], most: int) -> list[Case]:
    """Return at most so many; labels have equal shares, of their newest."""
    of_label: defaultdict[str, list[Case]] = defaultdict(list)
    for case in (all_cases := list(cases)):
        of_label[case.label].append(case)
    if len(all_cases) <= most:
        return all_cases
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


def unreported(uploads: ImageStore, reported: Collection[str], most: int, *, held_out: bool | None = None) -> list[str]:
    """Return the names of at most so many stored images that no report is about, the same random ones each time.

    With `held_out` only those that are held out of all rehearsal sets, or only the others.
    """
    found = _unreported(uploads, reported)
    fitting = (name for name in found if held_out is None or is_held_out(name) is held_out)
    return heapq.nsmallest(most, fitting, key=_order)


def is_held_out(name: str) -> bool:
    """Return whether an image is never in a rehearsal set, by its name: versions are compared on these."""
    return hashlib.sha256(Path(name).stem.encode()).digest()[-1] % HELD_OUT_OF == 0


def _order(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def ordinary(folder: Path, most: int) -> list[str]:
    """Return the paths of at most so many images below a folder, the same random ones each time; raise CasesError."""
    paths = [str(path.resolve()) for path in files.below(folder) if path.suffix.lower() in SUFFIXES]
    if not paths:
        raise CasesError(f"{folder} holds no images; ORDINARY_IMAGES names a folder of usual ones, in any subfolders")
    return heapq.nsmallest(most, paths, key=lambda path: _order(Path(path).name))


def _unreported(uploads: ImageStore, reported: Collection[str]) -> Iterator[str]:
    return (name for name in uploads.names() if name not in reported)
