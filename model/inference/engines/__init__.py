"""The engines, each with three verbs: load, warm up, predict a batch. None is imported before it is chosen."""

import importlib
from typing import Protocol

import numpy as np

from inference.arrays import Batch, Scores
from inference.bundle import Bundle
from inference.errors import EngineError
from inference.onnx_file import has_external_data

MODULES = {
    "openvino": "inference.engines.openvino_engine",
    "onnxruntime": "inference.engines.onnxruntime_engine",
    "torch": "inference.engines.torch_engine",
}


class Engine(Protocol):
    """A model, ready to be asked by several lanes at once."""

    def predict(self, batch: Batch, *, is_alone: bool = False) -> Scores:
        """Probabilities for each picture; `is_alone` says that no other lane works, so every core may."""


def load(name: str, bundle: Bundle, *, streams: int, cores: int) -> Engine:
    """The engine of this name with the bundle's model in it, for as many lanes as will ask at once.

    `torch:<device>:<precision>` also says where it computes, and in what. EngineError refuses a graph that refers to
    other files, wherever it comes from: each engine would read them.
    """
    refuse_other_files(bundle)
    name, _, placement = name.partition(":")
    try:
        module = importlib.import_module(MODULES[name])
    except ImportError as fault:
        raise EngineError(f"engine {name!r} is not installed here: {fault}") from fault
    told = {"placement": placement} if placement else {}
    engine: Engine = module.load(bundle, streams=streams, cores=cores, **told)
    return engine


def refuse_other_files(bundle: Bundle) -> None:
    """Raise EngineError unless the graph is all that an engine will read."""
    try:
        is_external = has_external_data(bundle.model)
    except ValueError as fault:
        raise EngineError(f"the model of {bundle.name}/{bundle.version} is no plain ONNX file: {fault}") from None
    if is_external:
        raise EngineError(f"the model of {bundle.name}/{bundle.version} keeps weights in another file")


def warm_up(engine: Engine, bundle: Bundle) -> None:
    """Let an example pay for what the first picture would wait for, and see that the model fits its bundle."""
    example = np.full((1, *bundle.preprocessing.size, 3), 127, np.uint8)
    for is_alone in (False, True):
        scores = engine.predict(example, is_alone=is_alone)
        if scores.shape != (1, len(bundle.labels)):
            raise EngineError(f"the model puts out {scores.shape[1:]} scores; labels.txt has {len(bundle.labels)}")
        if not np.isfinite(scores).all():
            raise EngineError("the model puts out scores that are no numbers")


def probabilities(outputs: Scores, kind: str) -> Scores:
    """Softmax of each row where the model puts out logits; rows of probabilities stay as they are."""
    if kind == "probabilities":
        return outputs
    exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    scores: Scores = exponentials / exponentials.sum(axis=1, keepdims=True)
    return scores
