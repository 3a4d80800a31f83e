"""A model that is ready: from the bytes of pictures to labels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from inference import bundle, engines
from inference.arrays import Batch, Pixels, Scores
from inference.bundle import Bundle
from inference.engines import Engine

Predictions = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A verified bundle in a warm engine; several lanes may use it at once."""

    bundle: Bundle
    engine: Engine

    def new_batch(self, count: int) -> Batch:
        """Room for the pixels of so many pictures."""
        return np.empty((count, *self.bundle.preprocessing.size, 3), np.uint8)

    def prepare(self, content: bytes, out: Pixels, budget_s: float = math.inf) -> None:
        """Write what the model looks at in this picture into a place of a batch.

        Raise ImageError where that cannot be done, or where decoding takes more than `budget_s` of processor time.
        """
        self.bundle.preprocessing.prepare(content, out, budget_s)

    def predict(self, batch: Batch, *, is_alone: bool = False) -> Scores:
        """Probabilities of every class for each picture."""
        return self.engine.predict(batch, is_alone=is_alone)

    def top_k(self, scores: npt.NDArray[np.float32], count: int) -> Predictions:
        """The likeliest classes of one picture with their probabilities, best first."""
        return top_k(scores, self.bundle.labels, count)


def load(folder: Path, engine_name: str, *, streams: int, cores: int) -> Model:
    """Verify the bundle in this folder, put it into the engine and warm it up; BundleError or EngineError if not."""
    loaded = bundle.load(folder)
    engine = engines.load(engine_name, loaded, streams=streams, cores=cores)
    engines.warm_up(engine, loaded)
    # The graph's bytes have served.
    return Model(replace(loaded, model=b""), engine)


def top_k(scores: npt.NDArray[np.float32], labels: Sequence[str], count: int) -> Predictions:
    """The `count` likeliest labels with their probabilities, best first."""
    count = min(count, len(labels))
    likeliest = np.argpartition(scores, -count)[-count:]
    ordered = likeliest[np.argsort(scores[likeliest])[::-1]]
    return tuple((labels[index], float(scores[index])) for index in ordered)
