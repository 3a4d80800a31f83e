"""Heat maps (class activation maps), for networks that end in a mean over places and one linear layer.

There a class' logit is the mean, over the places of the last feature map, of the features' product with the class'
weights, so that each place's product is what it adds. The map costs one more pass through the network, and a session of
its own that is loaded on the first request.
"""

import io
import logging
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import settings
from inference import bundle, engines
from inference.arrays import Pixels, Scores
from inference.bundle import Bundle
from inference.model import Model
from wire import ActivationMap, Job

log = logging.getLogger(__name__)

DECIMALS = 4
LOAD_TIMEOUT_S = 1.5
MAX_REASON = 400  # characters
MODEL = Path(__file__).parents[1]

_lock = threading.Lock()
_loader = ThreadPoolExecutor(1, "explain")


class NotExplainableError(Exception):
    """No map can be made; the text is the reason."""


class NotReadyError(Exception):
    """What makes the maps is being loaded; it will be there in a moment."""


def explain(model: Model, job: Job, content: bytes, scores: Scores) -> ActivationMap:
    """Return the map of the class that a job asks for, of the image with these bytes and scores.

    Raise NotExplainableError or NotReadyError.
    """
    folder = model.bundle.folder
    if folder is None:
        raise NotExplainableError(f"{model.bundle.name}/{model.bundle.version} is a draft without a folder")
    pixels = model.new_batch(1)
    size = model.prepare(content, pixels[0])
    label = _chosen(model, job, scores)
    values = _maps(folder, model.bundle.digest, settings.ENGINE).of(pixels[0], model.bundle.labels.index(label))
    rounded = tuple(round(float(value), DECIMALS) for value in values.flat)
    rows, columns = values.shape
    return ActivationMap(label, rows, columns, rounded, size, model.bundle.preprocessing.box(*size))


def _chosen(model: Model, job: Job, scores: Scores) -> str:
    if job.explain_label:
        if job.explain_label not in model.bundle.labels:
            raise NotExplainableError(f"{model.bundle.name}/{model.bundle.version} has no class {job.explain_label!r}")
        return job.explain_label
    return model.top_k(scores, job.explain_rank)[-1][0]


def _maps(folder: Path, digest: str, engine: str) -> "Maps":
    """Return what makes the maps of a bundle; raise NotReadyError where that takes long, since other jobs wait."""
    with _lock:
        loading = _loading(folder, digest, engine)
    try:
        return loading.result(LOAD_TIMEOUT_S)
    except TimeoutError:
        raise NotReadyError(f"what explains {folder.parent.name}/{folder.name} is being loaded") from None


# Two: around a promotion, workers may be asked about the version before.
@lru_cache(maxsize=2)
def _loading(folder: Path, digest: str, engine: str) -> "Future[Maps]":
    return _loader.submit(Maps, folder, digest, engine)


class Maps:
    """The network up to its last feature map, and the weights of what comes after."""

    def __init__(self, folder: Path, digest: str, engine: str) -> None:
        begin = time.perf_counter()
        loaded = bundle.load(folder)
        if loaded.digest != digest:
            raise NotExplainableError(f"{loaded.name}/{loaded.version} was replaced since this worker loaded it")
        parts = _parts(loaded)
        self._weights, self._biases = parts["weights"], parts["biases"]
        bare = replace(loaded, model=parts["model"].tobytes(), output="probabilities")  # as they come
        self._engine = engines.load(engine, bare, streams=1, cores=1)
        log.info("ready to explain %s in %.2f s", folder, time.perf_counter() - begin)

    def of(self, pixels: Pixels, number: int) -> Scores:
        """Return what each place adds for the class of this number; the mean is its logit."""
        features = self._engine.predict(pixels[np.newaxis])[0]
        values: Scores = np.tensordot(self._weights[number], features, axes=1) + self._biases[number]
        return values


def _parts(loaded: Bundle) -> dict[str, NDArray[Any]]:
    """Return the head's weights and biases and the network up to its last feature map.

    A process of its own takes them from the graph: the ONNX library would stay in this one, and cost it 13 MB.
    """
    command = [sys.executable, "-m", "onnx_tools.head"]
    done = subprocess.run(command, cwd=MODEL, input=loaded.model, capture_output=True, check=False)  # noqa: S603
    if done.returncode:
        fault = done.stderr.decode(errors="replace")[-MAX_REASON:]
        raise NotExplainableError(f"{loaded.name}/{loaded.version} cannot be explained: {fault}")
    with np.load(io.BytesIO(done.stdout)) as parts:
        return dict(parts)
