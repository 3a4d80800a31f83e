"""The network run by OpenVINO: for the check after a build, and for the development commands."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from default_model.folding import Floats

# On processors that know bfloat16 OpenVINO would use it without being asked, and an fp32 graph would not be fp32.
EXACTLY = {"INFERENCE_PRECISION_HINT": "f32"}


def run(model: bytes, images: Floats, tensors: Sequence[str] = ("logits",)) -> list[NDArray[Any]]:
    """Return the named tensors of an ONNX file for a batch of images."""
    core = openvino.Core()
    graph = core.read_model(model)
    graph.add_outputs([name for name in tensors if name != "logits"])
    results = core.compile_model(graph, "CPU", EXACTLY)([np.ascontiguousarray(images)])
    return [results[name] for name in tensors]
