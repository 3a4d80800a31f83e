"""A model worker without a model: real leases, real answers, real presence, and a function in place of the engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Self

from sightline_testing.waiting import WAIT_S
from wire import Address, Answer, Consumer, Delivery, Failure, Heartbeat, Job, QueueUnavailable, WorkerInfo

LABELS = ("tabby", "tiger cat", "carpenter's kit")
BLOCK_MS = 100

Respond = Callable[[Delivery], Answer | Failure]


def answer_for(job: Job) -> Answer:
    """Give the answer that the stand-in worker has for a job: its image's name is the best prediction."""
    predictions = ((job.image, 0.75), *((label, 0.05) for label in LABELS))
    return Answer(job.id, predictions[: job.top_k], "stand-in", "1", {"queue": 1.0, "decode": 2.0, "infer": 3.0})


class StandInWorker:
    """Serves a queue from a thread; `with` starts and stops it. `seen` holds what it was given, in order."""

    def __init__(  # noqa: PLR0913  the limits go by keyword
        self,
        address: Address,
        queue: str,
        respond: Respond = lambda delivery: answer_for(delivery.job),
        *,
        lease_ms: int = 60_000,
        max_jobs: int = 8,
        labels: Sequence[str] = LABELS,
    ) -> None:
        self.consumer = Consumer(address, queue, "stand-in:0", lease_ms=lease_ms, max_batch_s=60)
        self.seen: list[Delivery] = []
        self._respond = respond
        self._max_jobs = max_jobs
        info = WorkerInfo("stand-in", "here", "stand-in", "1", "none", consumers=1, max_batch=max_jobs)
        self._heartbeat = Heartbeat(address, queue, info, labels, speed=lambda: {"rate": self.consumer.rate})
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="stand-in worker", daemon=True)

    def __enter__(self) -> Self:
        self._heartbeat.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(WAIT_S)
        self._heartbeat.stop()
        self.consumer.close()

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                batch = self.consumer.receive(self._max_jobs, BLOCK_MS)
                self.seen += batch
                self.consumer.answer([(delivery, self._respond(delivery)) for delivery in batch])
            except QueueUnavailable:
                continue
