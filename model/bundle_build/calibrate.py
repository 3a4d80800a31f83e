"""Measures the activation ranges anew: `python -m bundle_build.calibrate FOLDER`. Development only.

FOLDER holds the labelled photographs; every other one is used, so that the rest can show what the table is worth.
Afterwards the int8 bundle has another SHA-256: see record_golden.py.
"""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from bundle_build.checkpoint import load_checkpoint
from bundle_build.float_graph import float_graph
from bundle_build.folding import fold
from bundle_build.photographs import Photographs, read_photographs
from bundle_build.ranges import FILE, Ranges, measured_tensors, write_ranges


def main() -> None:
    """Write activation_ranges.csv."""
    photographs = read_photographs(Path(sys.argv[1])).half(0)
    write_ranges(measure(photographs))
    sys.stdout.write(f"{FILE.name}: the ranges of {len(photographs.classes)} photographs\n")


def measure(photographs: Photographs) -> Ranges:
    """Return the lowest and the highest value of each tensor over all photographs."""
    tensors = measured_tensors()
    session = onnxruntime.InferenceSession(_with_outputs(float_graph(fold(load_checkpoint())), tensors))
    extremes = []
    for image in photographs.images:
        values = session.run(tensors, {"image": image[None]})
        extremes.append([(value.min(), value.max()) for value in values])
    lows, highs = np.array(extremes)[..., 0].min(axis=0), np.array(extremes)[..., 1].max(axis=0)
    return {name: (float(low), float(high)) for name, low, high in zip(tensors, lows, highs, strict=True)}


def _with_outputs(content: bytes, tensors: list[str]) -> bytes:
    model = onnx.load_from_string(content)
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in tensors)
    widened: bytes = model.SerializeToString()
    return widened


if __name__ == "__main__":
    main()
