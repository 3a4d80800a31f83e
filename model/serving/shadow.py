"""A candidate that sees a share of the live jobs beside the active version; nobody gets its answers."""

import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from inference import image_store
from inference.errors import InferenceError
from inference.model import Model
from serving.classifier import Outcome
from wire import Answer

log = logging.getLogger("ml_service")

# Jobs that wait for the candidate; more are let go rather than kept.
MOST_WAITING = 16
# A lane that has just answered looks idle until it has taken the next job.
PAUSE_S = 0.005


@dataclass(frozen=True)
class _Seen:
    image: str
    label: str
    took_ms: float


class Shadow:
    """Looks, in a thread of its own, at pictures that were answered, and only while a lane has nothing to do."""

    def __init__(self, model: Model, share: float, folder: Path, has_idle_lane: Callable[[], bool]) -> None:
        self.name = f"{model.bundle.name}/{model.bundle.version}"
        self._model = model
        self._share = share
        self._folder = folder
        self._has_idle_lane = has_idle_lane
        self._pixels = model.new_batch(1)
        self._waiting: queue.Queue[_Seen | None] = queue.Queue(MOST_WAITING)
        self._stop = threading.Event()
        self._counts = dict.fromkeys(("compared", "agreed", "skipped", "failed", "active_ms", "candidate_ms"), 0.0)
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def offer(self, outcomes: Sequence[Outcome]) -> None:
        """Take a share of what was just answered; never waits."""
        answers = [(delivery, reply) for delivery, reply in outcomes if isinstance(reply, Answer)]
        for delivery, answer in answers:
            if random.random() < self._share:  # noqa: S311  nothing hangs on it
                # The batch went through the engine picture by picture.
                took_ms = answer.timings["decode"] + answer.timings["infer"] / len(answers)
                self._put(_Seen(delivery.job.image, answer.predictions[0][0], took_ms))

    def counts(self) -> Mapping[str, float]:
        """What came of it so far."""
        return dict(self._counts)

    def stop(self) -> None:
        """Look at nothing any more."""
        self._stop.set()
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            return  # the thread has something to wake up for

    def _put(self, seen: _Seen) -> None:
        try:
            self._waiting.put_nowait(seen)
        except queue.Full:
            self._counts["skipped"] += 1

    def _run(self) -> None:
        while (seen := self._waiting.get()) is not None and not self._stop.is_set():
            self._stop.wait(PAUSE_S)
            if not self._has_idle_lane():
                self._counts["skipped"] += 1
                continue
            try:
                self._compare(seen)
            except InferenceError:
                self._counts["failed"] += 1
            except Exception:
                # The thread's edge: a candidate that breaks must not end quietly, nor the worker with it.
                self._counts["failed"] += 1
                log.exception("shadow %s: unforeseen fault on image %r", self.name, seen.image)

    def _compare(self, seen: _Seen) -> None:
        begin = time.perf_counter()
        self._model.prepare(image_store.read(self._folder, seen.image), self._pixels[0])
        [(label, _)] = self._model.top_k(self._model.predict(self._pixels)[0], 1)
        counts = self._counts
        counts["candidate_ms"] += (time.perf_counter() - begin) * 1000
        counts["active_ms"] += seen.took_ms
        counts["compared"] += 1
        counts["agreed"] += label == seen.label
