"""Which workers are alive, what they serve, and how fast they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wire.connection import Address


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What one worker says of itself; `seen_ms` is Redis' clock, `rate` the images a second it can do."""

    id: str
    host: str
    model: str
    version: str
    preprocessing: str
    labels_digest: str
    lanes: int = 1
    max_batch: int = 1
    rate: float = 0.0
    seen_ms: int = 0


class Announcer:
    """A thread of the worker process that says each second that it lives and what it serves."""

    def __init__(
        self,
        address: Address,
        queue: str,
        info: WorkerInfo,
        labels: Sequence[str],
        rate: Callable[[], float] = lambda: 0.0,
    ) -> None:
        raise NotImplementedError

    def start(self) -> None:
        """Say it for the first time at once, then each second."""
        raise NotImplementedError

    def stop(self) -> None:
        """Take the worker off the list and end the thread."""
        raise NotImplementedError
