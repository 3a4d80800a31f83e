"""A candidate that gets a share of the live jobs beside the active version; nobody receives its answers."""

import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from inference import image_store
from inference.errors import InferenceError
from inference.model import Model
from serving.classifier import Outcome
from wire import Answer

log = logging.getLogger("ml_service")

# Jobs that wait for the candidate; more are skipped.
MAX_WAITING = 16
# A consumer that has just answered appears idle until it has taken the next job.
PAUSE_S = 0.005


class _Answered(NamedTuple):
    image: str
    label: str
    took_ms: float


class Shadow:
    """Predicts images that were answered again, in a thread of its own, and only while a consumer has nothing to do."""

    def __init__(self, model: Model, share: float, folder: Path, has_idle_consumer: Callable[[], bool]) -> None:
        self.name = f"{model.bundle.name}/{model.bundle.version}"
        self._model, self._share, self._folder = model, share, folder
        self._has_idle_consumer = has_idle_consumer
        self._pixels = model.new_batch(1)
        self._waiting: queue.Queue[_Answered | None] = queue.Queue(MAX_WAITING)
        self._stop = threading.Event()
        self._counts = dict.fromkeys(("compared", "agreed", "skipped", "failed", "active_ms", "candidate_ms"), 0.0)
        threading.Thread(target=self._run, name="shadow", daemon=True).start()

    def offer(self, outcomes: Sequence[Outcome]) -> None:
        """Take a share of what was just answered; never waits."""
        answers = [(delivery, reply) for delivery, reply in outcomes if isinstance(reply, Answer)]
        for delivery, answer in answers:
            if random.random() < self._share:  # noqa: S311  nothing hangs on it
                # The batch went through the engine image by image.
                took_ms = answer.timings["decode"] + answer.timings["infer"] / len(answers)
                self._put(_Answered(delivery.job.image, answer.predictions[0][0], took_ms))

    def counts(self) -> Mapping[str, float]:
        """Return what was counted so far."""
        return dict(self._counts)

    def stop(self) -> None:
        """End the thread after the image it predicts."""
        self._stop.set()
        self._put(None)  # where the queue is full, the thread has something to wake up for

    def _put(self, answered: _Answered | None) -> None:
        try:
            self._waiting.put_nowait(answered)
        except queue.Full:
            self._counts["skipped"] += 1

    def _run(self) -> None:
        while (answered := self._waiting.get()) is not None and not self._stop.is_set():
            self._stop.wait(PAUSE_S)
            if not self._has_idle_consumer():
                self._counts["skipped"] += 1
                continue
            try:
                self._compare(answered)
            except InferenceError:
                self._counts["failed"] += 1
            except Exception:
                # The thread's edge: a candidate that breaks must not end quietly, nor the worker with it.
                self._counts["failed"] += 1
                log.exception("shadow %s: unforeseen fault on image %r", self.name, answered.image)

    def _compare(self, answered: _Answered) -> None:
        begin, counts = time.perf_counter(), self._counts
        self._model.prepare(image_store.read(self._folder, answered.image), self._pixels[0])
        [(label, _)] = self._model.top_k(self._model.predict(self._pixels)[0], 1)
        counts["candidate_ms"] += (time.perf_counter() - begin) * 1000
        counts["active_ms"] += answered.took_ms
        counts["compared"] += 1
        counts["agreed"] += label == answered.label
