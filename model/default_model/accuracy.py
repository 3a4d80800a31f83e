"""Shows what the default bundles are worth: `python -m default_model.accuracy FOLDER`. Development only.

FOLDER holds the labelled photographs. The first half was used for calibrate.py, the second was not.
"""

import sys
from pathlib import Path

import numpy as np

from default_model.checkpoint import load_checkpoint
from default_model.engine import run
from default_model.folding import Floats, fold
from default_model.graphs import graph_file
from default_model.photographs import Photographs, read_photographs
from default_model.recipe import Precision

HALVES = ("seen by calibration", "not seen")


def main() -> None:
    """Print one line for each precision and half."""
    network = fold(load_checkpoint())
    photographs = read_photographs(Path(sys.argv[1]))
    for which, name in enumerate(HALVES):
        half = photographs.half(which)
        logits = {precision: run(graph_file(network, precision), half.images)[0] for precision in Precision}
        for precision in Precision:
            agreeing = int((top(logits[precision], 1) == top(logits[Precision.FP32], 1)).sum())
            sys.stdout.write(
                f"{name}, {precision}: {right(half, logits[precision], 1)} of {len(half.classes)} right, "
                f"{right(half, logits[precision], 5)} among the first five, {agreeing} the same class as fp32\n"
            )


def right(photographs: Photographs, logits: Floats, count: int) -> int:
    """Return how many photographs have their class among the `count` highest logits."""
    return int((top(logits, count) == photographs.classes[:, None]).any(axis=1).sum())


def top(logits: Floats, count: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Return the classes with the highest logits, best first."""
    return np.argsort(-logits, axis=1)[:, :count]


if __name__ == "__main__":
    main()
