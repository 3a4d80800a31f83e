"""The queue's two sides: Asker for the api, Lane and Leases for the model worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wire.connection import Address
from wire.messages import Answer, Failure, Job
from wire.presence import WorkerInfo


@dataclass(frozen=True, slots=True)
class QueueState:
    """A look at the queue; `as_of` is this process' monotonic clock in seconds."""

    depth: int
    oldest_age_s: float
    bound: int
    rate: float
    workers: tuple[WorkerInfo, ...]
    labels: tuple[str, ...]
    model: str
    version: str
    preprocessing: str
    as_of: float


class Asker:
    """The api's side, one for each process: ask and wait for the answer. Opens nothing until it is used."""

    def __init__(self, address: Address, queue: str, *, max_queue_size: int = 0, timeout_s: float = 5.0) -> None:
        raise NotImplementedError

    def ask(  # noqa: PLR0913  a request has that many sides; all but the image go by keyword
        self,
        image: str,
        *,
        timeout_s: float,
        top_k: int = 5,
        traceparent: str = "",
        job_id: str | None = None,
        is_abandoned: Callable[[], bool] | None = None,
        cost: int = 1,
    ) -> Answer:
        """Submit and wait; raises QueueUnavailable, QueueFull, NoWorker, DeadlineExceeded, Abandoned or JobFailed."""
        raise NotImplementedError

    def state(self) -> QueueState | None:
        """Give the last look at the queue without waiting; None while it is unknown."""
        raise NotImplementedError

    def refresh_state(self) -> QueueState:
        """Look now, within 300 ms; raises QueueUnavailable."""
        raise NotImplementedError

    def close(self) -> None:
        """End the threads, fail whoever still waits, and remove the reply stream."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Delivery:
    """A job in a lane's hands; `deadline` is this process' monotonic clock in seconds."""

    entry_id: str
    job: Job
    deliveries: int
    waited_ms: float
    deadline: float


class Lane:
    """The model's side, one for each lane: take jobs, give answers."""

    def __init__(  # noqa: PLR0913  the limits go by keyword
        self, address: Address, queue: str, consumer: str, *, lease_ms: int, max_batch_s: float, max_deliveries: int = 3
    ) -> None:
        raise NotImplementedError

    @property
    def rate(self) -> float:
        """Jobs a second while busy; 0 until something was answered."""
        raise NotImplementedError

    def receive(self, max_jobs: int, block_ms: int) -> list[Delivery]:
        """Take up to max_jobs, waiting up to block_ms for the first; a suspect comes alone. Raises QueueUnavailable."""
        raise NotImplementedError

    def answer(self, outcomes: Sequence[tuple[Delivery, Answer | Failure]]) -> None:
        """Reply, acknowledge and delete in one transaction; raises QueueUnavailable once it is of no use any more."""
        raise NotImplementedError

    def close(self) -> None:
        """Leave: close the connections, and drop the consumer where it holds nothing."""
        raise NotImplementedError


class Leases:
    """A thread of the worker process that renews what its lanes have in progress, up to their max_batch_s."""

    def __init__(
        self, address: Address, queue: str, lanes: Sequence[Lane], on_stuck: Callable[[list[str]], None]
    ) -> None:
        raise NotImplementedError

    def start(self) -> None:
        """Begin to renew."""
        raise NotImplementedError

    def stop(self) -> None:
        """End the thread."""
        raise NotImplementedError
