"""The images that every system must answer rightly before it is timed, and their true labels where known."""

import csv
from dataclasses import dataclass
from pathlib import Path

from benchmarks import settings
from benchmarks.load import image_folder

# Without labelled photographs the check uses as many of the load's own images.
COUNT = 100


@dataclass(frozen=True)
class CheckImages:
    """Images, and the true label of each by file name (empty: unknown)."""

    paths: list[Path]
    truth: dict[str, str]


def check_images() -> CheckImages:
    """Return the labelled photographs, or images of the load without labels."""
    photographs = sorted(settings.IMAGENET_DIR.glob("*.JPEG"))
    if not photographs:
        return CheckImages(sorted(image_folder("photographs").glob("*.jpg"))[:COUNT], {})
    with (settings.IMAGENET_DIR / "classes.csv").open(encoding="utf-8", newline="") as file:
        labels = {row["wnid"]: row["label"] for row in csv.DictReader(file)}
    return CheckImages(photographs, {path.name: labels[path.name.partition("_")[0]] for path in photographs})
