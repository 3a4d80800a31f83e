"""A network that has just come, tried in the engine that will serve it: whether it runs, and what it puts out."""

import re
import time
from dataclasses import replace

import numpy as np

from inference import engines
from inference.arrays import Batch, Scores
from inference.bundle import Bundle
from inference.engines import Engine
from inference.errors import EngineError, ImportRefusedError
from training.synthetic_images import ordinary_pictures

UNKNOWN = re.compile(r"No conversion rule found for operations: (.+)")
OTHER_ENGINE = (
    "ENGINE=onnxruntime runs whatever ONNX can say: "
    ".venv/bin/python -m pip install --require-hashes --no-deps -r requirements/onnxruntime.txt"
)
LONGEST_REASON = 400
TIMED = 7


def load(bundle: Bundle, engine: str, *, lanes: int, cores: int) -> Engine:
    """The bundle's network in the engine; ImportRefusedError says in words why it does not take it."""
    try:
        loaded = engines.load(engine, bundle, lanes=lanes, cores=cores)
        loaded.predict(np.zeros((1, *bundle.preprocessing.size, 3), np.uint8))
    except (EngineError, RuntimeError) as fault:
        raise ImportRefusedError(_in_words(str(fault), engine)) from fault
    return loaded


def outputs(bundle: Bundle, engine: Engine) -> Scores:
    """The raw numbers of black, of white, and of pictures made by code; `bundle` says that they are probabilities."""
    height, width = bundle.preprocessing.size
    plain = [np.full((height, width, 3), value, np.uint8) for value in (0, 255)]
    pixels = np.stack([*plain, *ordinary_pictures(2, height, width)])
    return np.concatenate([engine.predict(pixels[at : at + 1]) for at in range(len(pixels))])


def raw(bundle: Bundle) -> Bundle:
    """The same bundle, whose engine leaves the numbers as they are."""
    return replace(bundle, output="probabilities")


def ms_a_picture(engine: Engine, batch: Batch) -> float:
    """How long one picture takes on one core: the best of a few runs, since others work on the machine too."""
    engine.predict(batch)
    times = []
    for _ in range(TIMED):
        begin = time.perf_counter()
        engine.predict(batch)
        times.append(time.perf_counter() - begin)
    return min(times) * 1000


def _in_words(fault: str, engine: str) -> str:
    if unknown := UNKNOWN.search(fault):
        names = ", ".join(sorted({name.rpartition("-")[0] or name for name in unknown[1].strip().split(", ")}))
        return f"OpenVINO cannot compute {names}, which the graph asks for. {OTHER_ENGINE}"
    reason = " ".join(fault.split())
    shown = reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]} …"
    remedy = "" if engine.startswith("onnxruntime") else f" {OTHER_ENGINE}"
    return f"{shown}. Try the graph with onnx.checker, and export it anew for one picture of open batch size.{remedy}"
