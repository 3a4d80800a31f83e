"""A model that is ready: from the bytes of images to labels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from inference import bundle, engines, memory
from inference.arrays import Batch, Pixels, Scores
from inference.bundle import Bundle
from inference.engines import Engine

Predictions = tuple[tuple[str, float], ...]  # labels with their probabilities, the most probable first


@dataclass(frozen=True, slots=True)
class Model:
    """A verified bundle in a warm engine; several threads may use it concurrently."""

    bundle: Bundle
    engine: Engine

    @property
    def precision(self) -> str:
        """Return what the engine computes in: of the bundle, unless the engine chooses it."""
        return getattr(self.engine, "computes_in", "") or self.bundle.precision

    @property
    def engine_name(self) -> str:
        """Return the engine that computes, where ENGINE leaves the choice."""
        return self.engine.name

    def new_batch(self, count: int) -> Batch:
        """Return room for the pixels of `count` images."""
        return np.empty((count, *self.bundle.preprocessing.size, 3), np.uint8)

    def prepare(self, content: bytes, out: Pixels, budget_s: float = math.inf) -> tuple[int, int]:
        """Write the model's input for an image into a place of a batch; return the upright image's width and height.

        Raise ImageError where that cannot be done, or where decoding takes more than `budget_s` of processor time.
        """
        return self.bundle.preprocessing.prepare(content, out, budget_s)

    def predict(self, batch: Batch, *, is_alone: bool = False) -> Scores:
        """Return the probabilities of every class for each image."""
        return self.engine.predict(batch, is_alone=is_alone)

    def top_k(self, scores: npt.NDArray[np.float32], count: int) -> Predictions:
        """Return the `count` most probable classes of one image."""
        return top_k(scores, self.bundle.labels, count)


def load(folder: Path, engine_name: str, *, streams: int, cores: int) -> Model:
    """Verify the bundle in this folder, load it into the engine and warm it up; raise BundleError or EngineError."""
    loaded = bundle.load(folder)
    engine = engines.load(engine_name, loaded, streams=streams, cores=cores)
    engines.warm_up(engine, loaded)
    model = Model(replace(loaded, model=b""), engine)  # the engine has its own copy of the graph
    del loaded
    memory.give_back()
    return model


def top_k(scores: npt.NDArray[np.float32], labels: Sequence[str], count: int) -> Predictions:
    """Return the labels of the `count` highest scores."""
    count = min(count, len(labels))
    likeliest = np.argpartition(scores, -count)[-count:]
    ordered = likeliest[np.argsort(scores[likeliest])[::-1]]
    return tuple((labels[index], float(scores[index])) for index in ordered)
