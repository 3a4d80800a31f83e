"""Whether a graph answers on this machine as it must: the SHA-256 covers the file, this the arithmetic."""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from default_model.recipe import Precision, Recipe, golden
from inference.arrays import Flags, Floats, Pixels
from inference.errors import BuildError

TOP = 5
MEAN, STD = 127.0, 128.0

# Ten times what engines and processors were seen to differ by in fp32, and twice in int8, where a rounding here and
# there turns out differently.
TOLERANCES = {Precision.FP32: 1e-3, Precision.INT8: 0.5}

# On processors with bfloat16 OpenVINO would use it by default, and an fp32 graph would not be fp32.
EXACTLY = {"INFERENCE_PRECISION_HINT": "f32"}

Logits = Mapping[str, Mapping[int, float]]


def can_check() -> bool:
    """Return whether the engine is installed; the image that only builds bundles has none."""
    return find_spec("openvino") is not None


def check_outputs(model: bytes, recipe: Recipe) -> None:
    """Raise BuildError unless the graph gives the golden logits for the drawn images."""
    expected: dict[str, dict[str, float]] = golden()["logits"][recipe.identity]
    size = recipe.variant.input_size
    found = top_logits(model, size, {label: [int(index) for index in logits] for label, logits in expected.items()})
    for label, logits in expected.items():
        for index, value in logits.items():
            difference = abs(found[label][int(index)] - value)
            if not difference <= TOLERANCES[recipe.precision]:  # so that not-a-number is refused, too
                raise BuildError(
                    f"{recipe.identity} computes the wrong values on this machine: logit {index} of the drawn "
                    f"{label} is {found[label][int(index)]:.4f}, expected {value:.4f}; please report the processor"
                )


def top_logits(model: bytes, size: int, indices: Mapping[str, list[int]] | None = None) -> Logits:
    """Return the logits at the indices, or the five highest, for each drawn image."""
    images = drawn_images(size)
    (logits,) = run(model, np.stack(list(map(normalise, images.values()))))
    rows = dict(zip(images, logits, strict=True))
    chosen = indices or {label: np.argsort(-row)[:TOP].tolist() for label, row in rows.items()}
    return {label: {index: float(rows[label][index]) for index in chosen[label]} for label in images}


def run(model: bytes, images: Floats, tensors: Sequence[str] = ("logits",)) -> list[NDArray[Any]]:
    """Return the named tensors of an ONNX file for a batch of images, computed by OpenVINO."""
    return compiled(model, tensors)(images)


def compiled(model: bytes, tensors: Sequence[str]) -> Callable[[Floats], list[NDArray[Any]]]:
    """Return what computes the named tensors of an ONNX file for a batch of images."""
    import openvino  # noqa: PLC0415  it is not always installed

    core = openvino.Core()
    graph = core.read_model(model)
    graph.add_outputs([name for name in tensors if name != "logits"])
    network = core.compile_model(graph, "CPU", EXACTLY)

    def compute(images: Floats) -> list[NDArray[Any]]:
        results = network([np.ascontiguousarray(images)])
        return [results[name] for name in tensors]

    return compute


def normalise(pixels: NDArray[Any]) -> Floats:
    """Return (height, width, 3) pixels as (3, height, width), each as (pixel - 127) / 128."""
    return np.ascontiguousarray(((pixels.astype(np.float32) - MEAN) / STD).transpose(2, 0, 1))


def drawn_images(size: int) -> dict[str, Pixels]:
    """Return three images made by whole numbers alone, the same on every machine, by the label that each shows."""
    down, right = np.mgrid[0:size, 0:size]
    x, y = right - size // 2, down - size // 2
    threads = ((x * y) % 97 < 9) | ((x * x + y * y) % 1400 < 160)
    bars = (right % 20 < 3) | (down % 20 < 3)
    stripes = (right * 3 + down) // 14 % 2 == 1
    return {
        "spider_web": _two_colours(threads, (235, 235, 235), (20, 30, 20)),
        "window_screen": _two_colours(bars, (40, 40, 40), (200, 200, 190)),
        "radiator": _two_colours(stripes, (230, 230, 220), (30, 30, 20)),
    }


def _two_colours(where: Flags, colour: tuple[int, int, int], ground: tuple[int, int, int]) -> Pixels:
    return np.where(where[..., None], colour, ground).astype(np.uint8)
