"""The lowest and the highest value of tensors inside a network over calibration pictures, measured by OpenVINO."""

from collections.abc import Iterable, Sequence

import numpy as np
import openvino

from inference.arrays import Pixels
from inference.bundle import Bundle
from inference.engines.openvino_engine import PRECISION, read, with_preprocessing
from onnx_tools.int8 import Ranges

BRIGHTEST = 255.0


def ranges(bundle: Bundle, image: str, tensors: Sequence[str], pictures: Iterable[Pixels]) -> Ranges:
    """The range of each tensor; that of the image is known without looking."""
    inner = [name for name in tensors if name != image]
    infer = _compiled(bundle, inner)
    lows, highs = np.full(len(inner), np.inf), np.full(len(inner), -np.inf)
    for pixels in pictures:
        results = infer(pixels[None])
        values = [results[name] for name in inner]
        lows = np.minimum(lows, [value.min() for value in values])
        highs = np.maximum(highs, [value.max() for value in values])
    measured = {name: (float(low), float(high)) for name, low, high in zip(inner, lows, highs, strict=True)}
    return ({image: image_range(bundle)} if image in tensors else {}) | measured


def image_range(bundle: Bundle) -> tuple[float, float]:
    """What black and white become, over all channels."""
    table = bundle.preprocessing
    ends = [(value - mean) / std for mean, std in zip(table.mean, table.std, strict=True) for value in (0, BRIGHTEST)]
    return min(ends), max(ends)


def _compiled(bundle: Bundle, tensors: Sequence[str]) -> openvino.CompiledModel:
    graph = read(bundle.model)
    graph.add_outputs(list(tensors))
    return openvino.Core().compile_model(with_preprocessing(graph, bundle), "CPU", PRECISION)
