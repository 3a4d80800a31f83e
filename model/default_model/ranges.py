"""The table of activation ranges: what calibrate.py measured once, so that set-up needs no photograph."""

import csv
from collections.abc import Mapping
from pathlib import Path

from default_model.architecture import convolutions

FILE = Path(__file__).with_name("activation_ranges.csv")
COLUMNS = ("tensor", "low", "high")

Ranges = Mapping[str, tuple[float, float]]


def measured_tensors() -> list[str]:
    """Return the tensors whose range is not known beforehand: a ReLU6 uses all of 0 to 6."""
    names = [name for layer in convolutions() if not layer.relu6 for name in (layer.name, layer.total) if name]
    return [*names, "features"]


def read_ranges(path: Path = FILE) -> Ranges:
    """Return the lowest and the highest value of each tensor."""
    with path.open(encoding="utf-8", newline="") as file:
        return {row["tensor"]: (float(row["low"]), float(row["high"])) for row in csv.DictReader(file)}


def write_ranges(ranges: Ranges, path: Path = FILE) -> None:
    """Write the table, one tensor a line."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((name, f"{low:.3f}", f"{high:.3f}") for name, (low, high) in ranges.items())
