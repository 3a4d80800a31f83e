"""Heat maps (class activation maps), for networks that end in a mean over places and one linear layer.

There a class' logit is the mean, over the places of the last feature map, of the features' product with the class'
weights, so that each place's product is what it adds. The map costs one more pass through the network, and a session of
its own that is loaded on the first request. Whether the graph has such an end is checked when a bundle is loaded.
"""

import io
import logging
import math
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import settings
from inference import bundle, compiled, cpu, engines
from inference.arrays import Pixels, Scores
from inference.bundle import Bundle
from inference.model import Model
from serving.watchdog import resident_mb
from wire import ActivationMap, Job
from wire.messages import MAX_MAP_SIDE

log = logging.getLogger(__name__)

DECIMALS = 4
LOAD_TIMEOUT_S = 1.5
# What could not be loaded is tried again: files may have been moved for a moment, memory or processes been short.
AGAIN_AFTER_S = 30.0
PARTS_TIMEOUT_S = 60.0
COMMAND = ("-m", "onnx_tools.head")
CHECK = "--check"
# One more with every change of what is checked, so that no earlier finding is taken for the present one.
FINDING = "heat map 1"
# Two: around a promotion, workers may be asked about the version before.
KEPT = 2
MAX_REASON = 400  # characters
MODEL = Path(__file__).parents[1]

# The browser scales the drawn map to the size of the image, smoothly.
LONGEST_SIDE = 96  # pixels
MARGIN = 2  # cells, as far as cubic interpolation reaches
# Shades from nothing to the most, as share of the most, red, green, blue and opacity.
STOPS = np.array(((0, 255, 214, 92, 0), (0.25, 255, 196, 61, 70), (0.6, 245, 130, 32, 150), (1, 222, 40, 28, 190)))
UNSEEN = 255  # the shade of what the model was not given
SHADES = [np.interp(np.linspace(0, 1, UNSEEN), STOPS[:, 0], STOPS[:, channel]) for channel in range(1, 5)]
COLOURS = np.vstack([np.transpose(SHADES), (8, 20, 17, 110)]).round().astype(np.uint8)

Key = tuple[Path, str, str]  # a bundle's folder and digest, and the engine

_lock = threading.Lock()
_kept: dict[Key, "_Loading"] = {}  # the last used one last
_faults: dict[str, str] = {}  # why a bundle has no maps, by its digest
_loader = ThreadPoolExecutor(1, "explain")


class NotExplainableError(Exception):
    """No map can be made; the text is the reason."""


class NotReadyError(Exception):
    """What makes the maps is being loaded, or could not be loaded now; later it may be there."""


def check(served: Bundle) -> "Future[str]":
    """Check in the background whether a bundle has maps; log and return the reason where it has none, else "".

    That takes half a second of another process at the lowest priority, once: the result is kept next to the compiled
    forms of the bundle.
    """
    return _loader.submit(_checked, served)


def _checked(served: Bundle) -> str:
    name = compiled.key(FINDING, served.digest)
    kept = compiled.kept(served.folder, name)
    fault = "" if kept is None else kept.decode()
    try:
        if kept is None and served.folder is not None:
            _run(_same(served.folder, served.digest), CHECK)
    except NotExplainableError as found:
        fault = str(found)
    except Exception:
        # The loader thread's edge. The next request for a map checks it again.
        log.exception("whether %s can be explained is not known", served.folder)
        return ""
    if kept is None:
        compiled.keep(served.folder, name, fault.encode())
    if fault:
        _faults[served.digest] = fault
        log.warning("no heat maps: %s", fault)
    return fault


def explain(model: Model, job: Job, content: bytes, scores: Scores) -> ActivationMap:
    """Return the map of the class that a job requests, of the image with these bytes and scores.

    Raise NotExplainableError or NotReadyError.
    """
    folder = model.bundle.folder
    if folder is None:
        raise NotExplainableError(f"{model.bundle.name}/{model.bundle.version} is a draft without a folder")
    if fault := _faults.get(model.bundle.digest):
        raise NotExplainableError(fault)
    pixels = model.new_batch(1)
    size = model.prepare(content, pixels[0])
    label = _chosen(model, job, scores)
    values = _maps(folder, model.bundle.digest, settings.ENGINE).of(pixels[0], model.bundle.labels.index(label))
    if not np.isfinite(values).all():
        raise NotExplainableError(f"the map of {label!r} has numbers that are none (NaN or infinite)")
    rounded = tuple(round(float(value), DECIMALS) for value in values.flat)
    rows, columns = values.shape
    view = model.bundle.preprocessing.box(*size)
    return ActivationMap(label, rows, columns, rounded, size, view, drawn(values, size, view))


def drawn(values: Scores, size: tuple[int, int], view: tuple[int, int, int, int]) -> bytes:
    """Return a map as a PNG of the image's proportions: the redder a place, the more it adds for the class.

    `size` is the image's width and height, `view` the left, top, right and bottom of what the model was given.
    """
    width, height = (max(1, round(side * LONGEST_SIDE / max(size))) for side in size)
    left, right, *across = _seen(width, size[0], view[0], view[2], values.shape[1])
    top, bottom, *down = _seen(height, size[1], view[1], view[3], values.shape[0])
    shades = np.full((height, width), UNSEEN, np.uint8)
    if left < right and top < bottom:
        grid = Image.fromarray(np.pad(values.astype(np.float32), MARGIN, "edge"))
        box = (across[0], down[0], across[1], down[1])
        smooth = np.asarray(grid.resize((right - left, bottom - top), Image.Resampling.BICUBIC, box))
        share = smooth / max(float(values.max()), 1e-9)
        shades[top:bottom, left:right] = np.clip(share * (UNSEEN - 1), 0, UNSEEN - 1)
    out = io.BytesIO()
    image = Image.fromarray(shades)
    image.putpalette(COLOURS[:, :3].tobytes())
    image.save(out, "PNG", transparency=COLOURS[:, 3].tobytes())
    return out.getvalue()


def _seen(count: int, size: int, begin: int, end: int, cells: int) -> tuple[int, int, float, float]:
    """Return the pixels of a side that the model was given, from the first to before the last, and both in cells."""
    first, last = math.ceil(begin * count / size - 0.5), math.floor(end * count / size - 0.5) + 1
    low, high = ((pixel * size / count - begin) / (end - begin) * cells + MARGIN for pixel in (first, last))
    return first, last, max(low, 0), min(high, cells + 2 * MARGIN)


def _chosen(model: Model, job: Job, scores: Scores) -> str:
    if job.explain_label:
        if job.explain_label not in model.bundle.labels:
            raise NotExplainableError(f"{model.bundle.name}/{model.bundle.version} has no class {job.explain_label!r}")
        return job.explain_label
    return model.top_k(scores, job.explain_rank)[-1][0]


def _maps(*key: *Key) -> "Maps":
    """Return what makes the maps of a bundle; raise NotReadyError where that takes long, since other jobs wait."""
    folder, loading = key[0], _loading(key)
    # Counted from its begin: of the jobs of a batch, only the first one waits.
    left_s = max(loading.began_at + LOAD_TIMEOUT_S - time.monotonic(), 0)
    try:
        return loading.future.result(left_s)
    except TimeoutError:
        raise NotReadyError(f"what explains {folder.parent.name}/{folder.name} is being loaded") from None


def held_mb() -> float:
    """Return the memory that what makes maps has taken, in MB."""
    with _lock:
        done = [each.future for each in _kept.values() if each.future.done() and each.future.exception() is None]
    return sum(future.result().megabytes for future in done)


class _Loading(NamedTuple):
    """A load in progress or done, and its start time."""

    future: "Future[Maps]"
    began_at: float

    def is_to_be_repeated(self) -> bool:
        has_failed = self.future.done() and self.future.exception() is not None
        return has_failed and time.monotonic() - self.began_at >= AGAIN_AFTER_S


def _loading(key: Key) -> _Loading:
    with _lock:
        found = _kept.pop(key, None)
        if found is None or found.is_to_be_repeated():
            found = _Loading(_loader.submit(_load, *key), time.monotonic())
        _kept[key] = found
        for oldest in list(_kept)[:-KEPT]:
            del _kept[oldest]
    return found


def _load(folder: Path, digest: str, engine: str) -> "Maps":
    """Load what makes the maps of a bundle; raise NotExplainableError for its fault, NotReadyError for any other."""
    try:
        return Maps(folder, digest, engine)
    except NotExplainableError:
        raise
    except Exception as fault:
        # The loader thread's edge: any error is logged, and may not recur at the next attempt.
        log.exception("what explains %s cannot be loaded", folder)
        reason = f"what explains {folder.parent.name}/{folder.name} cannot be loaded now; see the worker's log"
        raise NotReadyError(reason) from fault


class Maps:
    """The network up to its last feature map, and the weights of what comes after."""

    def __init__(self, folder: Path, digest: str, engine: str) -> None:
        begin, before_mb = time.perf_counter(), resident_mb()
        loaded = _same(folder, digest)
        parts = _parts(loaded)
        self._weights, self._biases = parts["weights"], parts["biases"]
        bare = replace(loaded, model=parts["model"].tobytes(), output="probabilities")  # as they come
        self._engine = engines.load(engine, bare, streams=1, cores=1)
        self._check(loaded)
        self.megabytes = max(resident_mb() - before_mb, 0.0)
        log.info("ready to explain %s in %.2f s", folder, time.perf_counter() - begin)

    def of(self, pixels: Pixels, number: int) -> Scores:
        """Return what each place adds for the class of this number; the mean is its logit."""
        features = self._engine.predict(pixels[np.newaxis])[0]
        values: Scores = np.tensordot(self._weights[number], features, axes=1) + self._biases[number]
        return values

    def _check(self, loaded: Bundle) -> None:
        """Raise NotExplainableError unless there is a map of each label for an example."""
        size = loaded.preprocessing.size
        found = self._engine.predict(np.full((1, *size, 3), 127, np.uint8)).shape
        rows, features = self._weights.shape
        if len(found) != 4 or found[1] != features or rows != len(loaded.labels) or max(found[2:]) > MAX_MAP_SIDE:
            raise NotExplainableError(
                f"{loaded.name}/{loaded.version} cannot be explained: its last map is {found}, its last layer has "
                f"{rows} rows of {features} weights for {len(loaded.labels)} labels; (1, {features}, height, width) "
                f"of at most {MAX_MAP_SIDE} is expected"
            )


def _same(folder: Path, digest: str) -> Bundle:
    """Return the bundle in this folder; raise NotExplainableError where it is not the one with this digest."""
    loaded = bundle.load(folder)
    if loaded.digest != digest:
        raise NotExplainableError(f"{loaded.name}/{loaded.version} was replaced since this worker loaded it")
    return loaded


def _parts(loaded: Bundle) -> dict[str, NDArray[Any]]:
    """Return the head's weights and biases and the network up to its last feature map."""
    with np.load(io.BytesIO(_run(loaded))) as parts:
        return dict(parts)


def _run(loaded: Bundle, *options: str) -> bytes:
    """Return what the command writes for a bundle; raise NotExplainableError where its graph has no maps.

    A process of its own reads the graph: the ONNX library would stay in this one, and cost it 13 MB.
    """
    command, pipe = [sys.executable, *COMMAND, *options], subprocess.PIPE
    with subprocess.Popen(command, cwd=MODEL, stdin=pipe, stdout=pipe, stderr=pipe) as child:  # noqa: S603
        if CHECK in options:
            # No request waits for it, and a worker that has just taken a version has others to answer.
            with suppress(OSError):  # it may have ended
                cpu.lower_thread_priority(cpu.LOWEST, child.pid)
        try:
            out, errors = child.communicate(loaded.model, PARTS_TIMEOUT_S)
        finally:
            child.kill()
    fault = errors.decode(errors="replace")[-MAX_REASON:]
    if child.returncode == os.EX_DATAERR:
        raise NotExplainableError(f"{loaded.name}/{loaded.version} cannot be explained: {fault}")
    if child.returncode:
        raise ChildProcessError(f"{' '.join(command)} ended with {child.returncode}: {fault}")
    return out
