"""Pictures whose right label is known: a folder for each label, or WordNet ids in the names and a classes.csv."""

import csv
from collections.abc import Iterator
from pathlib import Path

from learning.traffic import PICTURE_SUFFIXES

CLASSES_FILE = "classes.csv"


def pictures(folder: Path) -> Iterator[tuple[Path, str]]:
    """Each picture and its label; KeyError where classes.csv does not know a WordNet id."""
    label_of = _labels_by_wnid(folder / CLASSES_FILE)
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in PICTURE_SUFFIXES:
            yield path, path.parent.name if path.parent != folder else label_of[path.name.partition("_")[0]]


def _labels_by_wnid(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {row["wnid"]: row["label"] for row in csv.DictReader(file)}
