"""How fast this machine is, measured before the first job: so that admission never has to guess."""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import simplejpeg

from inference.model import Model
from wire.decode_cost import PHOTOGRAPH_MS

# What decoding the example takes on the reference processor; benchmarks/own/decode_cost.py measures it.
EXAMPLE_MS = 13.0
SIZE, GRAIN = 1024, 4
TRIES = 5
# Whatever a busy machine makes of the measurement.
LEAST_SLOWNESS, MOST_SLOWNESS = 0.2, 10.0


class Speed(NamedTuple):
    """How many times as long as the reference processor decoding takes, and the photographs a second of one lane."""

    slowness: float
    lane_rate: float


def measure(model: Model) -> Speed:
    """Return the speed of this machine with this model, which is warm; takes a tenth of a second or a few images."""
    slowness = min(max(example_ms() / EXAMPLE_MS, LEAST_SLOWNESS), MOST_SLOWNESS)
    pixels = model.new_batch(1)
    pixels[:] = 127
    infer_s = _least(lambda: model.predict(pixels), time.perf_counter)
    return Speed(slowness, 1 / (infer_s + slowness * PHOTOGRAPH_MS / 1000))


def example_ms() -> float:
    """Return the processor time that an example takes to decode, in milliseconds."""
    rows = np.random.default_rng(1).integers(0, 256, (SIZE // GRAIN, SIZE // GRAIN, 3), np.uint8)
    pixels = np.ascontiguousarray(rows.repeat(GRAIN, axis=0).repeat(GRAIN, axis=1))
    content = simplejpeg.encode_jpeg(pixels, quality=90)
    return 1000 * _least(lambda: simplejpeg.decode_jpeg(content), time.thread_time)


def _least(work: Callable[[], object], clock: Callable[[], float]) -> float:
    return min(_seconds(work, clock) for _ in range(TRIES))


def _seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    begin = clock()
    work()
    return clock() - begin
