"""The labelled photographs in a folder next to a checkout: for measuring, never copied into the repository."""

import csv
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from sightline_testing.service import REPOSITORY

FOLDER = Path(os.environ.get("IMAGENET_DIR") or REPOSITORY.parent / "shared" / "imagenet")


@dataclass(frozen=True)
class Photograph:
    """A photograph's file and what it shows."""

    path: Path
    label: str


@cache
def labelled() -> tuple[Photograph, ...]:
    """Return every labelled photograph; none where the folder is missing."""
    classes = FOLDER / "classes.csv"
    if not classes.exists():
        return ()
    with classes.open(newline="") as file:
        label_of = {row["wnid"]: row["label"] for row in csv.DictReader(file)}
    files = sorted(FOLDER.glob("*.JPEG"))
    return tuple(Photograph(path, label_of[path.name.split("_")[0]]) for path in files)


def required() -> tuple[Photograph, ...]:
    """Return the photographs, or skip the test that needs them (where nothing may be skipped: fail it)."""
    if not labelled():
        message = f"no labelled photographs in {FOLDER}; set IMAGENET_DIR to their folder"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return labelled()
