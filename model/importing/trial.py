"""An imported network tried in the engine that will serve it, and the ranges of its tensors for int8."""

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import openvino

from importing.description import PROBABILITIES
from inference import engines
from inference.arrays import Batch, Pixels, Scores
from inference.bundle import Bundle
from inference.engines import Engine
from inference.engines.openvino_engine import PRECISION, read, with_preprocessing
from inference.errors import EngineError, ImportRefusedError
from onnx_tools.int8 import Ranges
from training.augmentation import synthetic_images

UNKNOWN = re.compile(r"No conversion rule found for operations: (.+)")
OTHER_ENGINE = (
    "ENGINE=onnxruntime runs every operation of ONNX: "
    ".venv/bin/python -m pip install --require-hashes --no-deps -r requirements/onnxruntime.txt"
)
# Domains of the operations that ONNX Runtime has in addition to those without a domain.
DOMAINS = ("ai.onnx.", "com.microsoft.")
OWN_OPERATIONS = "No engine here has operations of another domain: export the network with those of ONNX alone"
LONGEST_REASON = 400
TIMED = 7
BRIGHTEST = 255.0


def load(bundle: Bundle, engine: str, *, streams: int, cores: int) -> Engine:
    """Return the engine with the bundle's network; raise ImportRefusedError with the reason where it refuses it."""
    try:
        loaded = engines.load(engine, bundle, streams=streams, cores=cores)
        loaded.predict(np.zeros((1, *bundle.preprocessing.size, 3), np.uint8))
    except (EngineError, RuntimeError) as fault:
        raise ImportRefusedError(_explanation(str(fault), engine)) from fault
    return loaded


def load_raw(bundle: Bundle, engine: str) -> Engine:
    """Return the engine with a network whose outputs it gives as they come, on one core; see load()."""
    return load(replace(bundle, output=PROBABILITIES), engine, streams=1, cores=1)


def raw_outputs(loaded: Engine, size: tuple[int, int]) -> Scores:
    """Return what a network from load_raw() computes for black, for white and for synthetic images."""
    height, width = size
    plain = [np.full((height, width, 3), value, np.uint8) for value in (0, 255)]
    pixels = np.stack([*plain, *synthetic_images(2, height, width)])
    return np.concatenate([loaded.predict(pixels[at : at + 1]) for at in range(len(pixels))])


def latency_ms(engine: Engine, batch: Batch) -> float:
    """Return the milliseconds for a batch of one: the best of a few runs, since others use the machine too."""
    engine.predict(batch)
    times = []
    for _ in range(TIMED):
        begin = time.perf_counter()
        engine.predict(batch)
        times.append(time.perf_counter() - begin)
    return min(times) * 1000


def ranges(bundle: Bundle, image: str, tensors: Sequence[str], images: Iterable[Pixels]) -> Ranges:
    """Return the lowest and the highest value of each tensor over these images, measured by OpenVINO."""
    inner = [name for name in tensors if name != image]
    infer = _compiled(bundle, inner)
    lows, highs = np.full(len(inner), np.inf), np.full(len(inner), -np.inf)
    for pixels in images:
        results = infer(pixels[None])
        values = [results[name] for name in inner]
        lows = np.minimum(lows, [value.min() for value in values])
        highs = np.maximum(highs, [value.max() for value in values])
    measured = {name: (float(low), float(high)) for name, low, high in zip(inner, lows, highs, strict=True)}
    return ({image: image_range(bundle)} if image in tensors else {}) | measured


def image_range(bundle: Bundle) -> tuple[float, float]:
    """Return the range of the network's input: what black and white become, over all channels."""
    table = bundle.preprocessing
    ends = [(value - mean) / std for mean, std in zip(table.mean, table.std, strict=True) for value in (0, BRIGHTEST)]
    return min(ends), max(ends)


def _compiled(bundle: Bundle, tensors: Sequence[str]) -> openvino.CompiledModel:
    graph = read(bundle.model)
    graph.add_outputs(list(tensors))
    return openvino.Core().compile_model(with_preprocessing(graph, bundle), "CPU", PRECISION)


def _explanation(fault: str, engine: str) -> str:
    if unknown := UNKNOWN.search(fault):
        names = sorted({name.rpartition("-")[0] or name for name in unknown[1].strip().split(", ")})
        foreign = any("." in name and not name.startswith(DOMAINS) for name in names)
        remedy = OWN_OPERATIONS if foreign else OTHER_ENGINE
        return f"OpenVINO cannot compute {', '.join(names)}, which the graph uses. {remedy}"
    reason = " ".join(fault.split())
    shown = reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]} …"
    remedy = "" if engine.startswith("onnxruntime") else f" {OTHER_ENGINE}"
    return f"{shown}. Try the graph with onnx.checker, and export it again for one image of open batch size.{remedy}"
