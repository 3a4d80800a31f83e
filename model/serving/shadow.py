"""A candidate that gets a share of the live jobs next to the active version; its answers are sent only on request."""

import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import settings
from inference.errors import InferenceError
from inference.model import Model
from serving import stored_images
from storage.images.port import ImageStore
from wire import Answer, Delivery, Failure
from wire.messages import CandidateAnswer

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

    def __init__(self, model: Model, share: float, images: ImageStore, has_idle_consumer: Callable[[], bool]) -> None:
        self.name = f"{model.bundle.name}/{model.bundle.version}"
        self._model, self._share, self._images = model, share, images
        self._has_idle_consumer = has_idle_consumer
        self._pixels = model.new_batch(1)
        self._waiting: queue.Queue[_Answered | None] = queue.Queue(MAX_WAITING)
        self._stop = threading.Event()
        self._counts = dict.fromkeys(("compared", "agreed", "skipped", "failed", "active_ms", "candidate_ms"), 0.0)
        self._lock = threading.Lock()  # consumers count, too
        threading.Thread(target=self._run, name="shadow", daemon=True).start()

    def offer(self, outcomes: Sequence[tuple[Delivery, Answer | Failure]]) -> None:
        """Take a share of what was just answered; never waits."""
        answers = [(delivery, reply) for delivery, reply in outcomes if isinstance(reply, Answer)]
        for delivery, answer in answers:
            if random.random() < self._share:  # noqa: S311  nothing hangs on it
                # The batch went through the engine image by image.
                took_ms = answer.timings["decode"] + answer.timings["infer"] / len(answers)
                self._put(_Answered(delivery.job.image, answer.predictions[0][0], took_ms))

    def answer(self, content: bytes, top_k: int) -> CandidateAnswer:
        """Return what the candidate predicts for an image, in the calling thread; raise ImageError."""
        pixels = self._model.new_batch(1)
        self._model.prepare(content, pixels[0], settings.DECODE_BUDGET_S)
        return CandidateAnswer(self.name, self._model.top_k(self._model.predict(pixels)[0], top_k))

    def counts(self) -> Mapping[str, float]:
        """Return what was counted so far."""
        with self._lock:
            return dict(self._counts)

    def restarted(self) -> "Shadow":
        """Return the same candidate with nothing counted, and end this one: another version is active."""
        self.stop()
        return Shadow(self._model, self._share, self._images, self._has_idle_consumer)

    def stop(self) -> None:
        """End the thread after the image it predicts."""
        self._stop.set()
        with suppress(queue.Full):  # the thread has something to wake up for
            self._waiting.put_nowait(None)

    def _put(self, answered: _Answered) -> None:
        try:
            self._waiting.put_nowait(answered)
        except queue.Full:
            self._count(skipped=1)

    def _count(self, **more: float) -> None:
        with self._lock:
            for name, value in more.items():
                self._counts[name] += value

    def _run(self) -> None:
        while (answered := self._waiting.get()) is not None and not self._stop.is_set():
            self._stop.wait(PAUSE_S)
            if not self._has_idle_consumer():
                self._count(skipped=1)
                continue
            try:
                self._compare(answered)
            except InferenceError:
                self._count(failed=1)
            except Exception:
                # The thread's edge: a candidate that breaks must not end quietly, nor the worker with it.
                self._count(failed=1)
                log.exception("shadow %s: unforeseen fault on image %r", self.name, answered.image)

    def _compare(self, answered: _Answered) -> None:
        begin = time.perf_counter()
        self._model.prepare(stored_images.read(self._images, answered.image), self._pixels[0])
        [(label, _)] = self._model.top_k(self._model.predict(self._pixels)[0], 1)
        own_ms = (time.perf_counter() - begin) * 1000
        agreed = label == answered.label
        self._count(compared=1, agreed=agreed, candidate_ms=own_ms, active_ms=answered.took_ms)
