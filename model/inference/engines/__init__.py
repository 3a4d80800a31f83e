"""The engines, each with three verbs: load, warm up, predict a batch. None is imported before it is chosen."""

import importlib
from typing import Protocol

import numpy as np

from inference import onnx_file
from inference.arrays import Batch, Scores
from inference.bundle import Bundle
from inference.engines import choice
from inference.errors import EngineError

MODULES = {
    "openvino": "inference.engines.openvino_engine",
    "onnxruntime": "inference.engines.onnxruntime_engine",
    "torch": "inference.engines.torch_engine",
}


class Engine(Protocol):
    """A loaded model, which several threads may use concurrently; `name` is that of the engine, as ENGINE gives it."""

    name: str

    def predict(self, batch: Batch, *, is_alone: bool = False) -> Scores:
        """Return probabilities for each image; where it `is_alone`, on every core, since no other thread needs one."""


def load(name: str, bundle: Bundle, *, streams: int, cores: int) -> Engine:
    """Return the engine of this name with the bundle's model in it, for `streams` threads that predict concurrently.

    `auto` is the one that suits the processor; `torch:<device>:<precision>` also names where it computes, and in
    what. Raise EngineError for a graph that the engine refuses, and for one that refers to other files, wherever it
    comes from: each engine would read them.
    """
    name, _, placement = choice.choose(name).engine.partition(":")
    try:
        onnx_file.check(bundle.model)
    except ValueError as fault:
        raise EngineError(f"the model of {bundle.name}/{bundle.version} is no plain ONNX file: {fault}") from None
    try:
        module = importlib.import_module(MODULES[name])
    except ImportError as fault:
        raise EngineError(f"engine {name!r} is not installed here: {fault}") from fault
    options = {"placement": placement} if placement else {}
    engine: Engine = module.load(bundle, streams=streams, cores=cores, **options)
    return engine


def warm_up(engine: Engine, bundle: Bundle) -> None:
    """Predict an example, so that the first image need not wait; raise EngineError if the model does not fit."""
    example = np.full((1, *bundle.preprocessing.size, 3), 127, np.uint8)
    for is_alone in (False, True):
        try:
            scores = engine.predict(example, is_alone=is_alone)
        except Exception as fault:  # the engines' errors have no class in common but this
            raise EngineError(f"the model of {bundle.name}/{bundle.version} fails at an example: {fault}") from fault
        if scores.shape != (1, len(bundle.labels)):
            raise EngineError(f"the model puts out {scores.shape[1:]} scores; labels.txt has {len(bundle.labels)}")
        if not np.isfinite(scores).all():
            raise EngineError("the model puts out scores that are no numbers")


def probabilities(outputs: Scores, kind: str) -> Scores:
    """Return the softmax of each row of logits; rows of probabilities stay as they are."""
    if kind == "probabilities":
        return outputs
    exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    scores: Scores = exponentials / exponentials.sum(axis=1, keepdims=True)
    return scores
