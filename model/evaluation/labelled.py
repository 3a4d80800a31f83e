"""Pictures whose right label is known: a folder for each label, or WordNet ids in the names and a classes.csv."""

from collections.abc import Iterator
from pathlib import Path

from inference.errors import CasesError
from training.traffic import PICTURE_SUFFIXES
from wire.tables.csv_reader import Fault, TableReader
from wire.tables.csv_table import Table

CLASSES_FILE = "classes.csv"
CLASSES = Table(("wnid", "label"), ("wnid", "label"))


def pictures(folder: Path) -> Iterator[tuple[Path, str]]:
    """Each picture and its label; KeyError where classes.csv lacks a WordNet id, CasesError where it cannot be read."""
    label_of = _labels_by_wnid(folder / CLASSES_FILE)
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in PICTURE_SUFFIXES:
            yield path, path.parent.name if path.parent != folder else label_of[path.name.partition("_")[0]]


def _labels_by_wnid(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    label_of = {}
    with path.open("rb") as file:
        for found in TableReader(CLASSES, file, takes_open_end=True):
            if isinstance(found, Fault):
                raise CasesError(f"{path}, line {found.line} {found.reason}")
            label_of[found.cells["wnid"]] = found.cells["label"]
    return label_of
