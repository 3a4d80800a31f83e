"""Measures the activation ranges anew: `python -m default_model.calibrate FOLDER`. Development only.

FOLDER holds the labelled photographs; every other one is used, so that the rest can show what the table is worth.
Afterwards the int8 bundle has another SHA-256: see record_golden.py.
"""

import sys
from pathlib import Path

from default_model.checkpoint import load_checkpoint
from default_model.engine import run
from default_model.float_graph import float_graph
from default_model.folding import fold
from default_model.photographs import Photographs, read_photographs
from default_model.ranges import FILE, Ranges, measured_tensors, write_ranges


def main() -> None:
    """Write activation_ranges.csv."""
    photographs = read_photographs(Path(sys.argv[1])).half(0)
    write_ranges(measure(photographs))
    sys.stdout.write(f"{FILE.name}: the ranges of {len(photographs.classes)} photographs\n")


def measure(photographs: Photographs) -> Ranges:
    """Return the lowest and the highest value of each tensor over all photographs."""
    tensors = measured_tensors()
    values = run(float_graph(fold(load_checkpoint())), photographs.images, tensors)
    return {name: (float(value.min()), float(value.max())) for name, value in zip(tensors, values, strict=True)}


if __name__ == "__main__":
    main()
