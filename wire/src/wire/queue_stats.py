"""A look at the queue: depth, age, workers, labels, and whether Redis is there at all."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from wire.errors import QueueUnavailable
from wire.producer.admission import total_rate
from wire.redis.connection import Address, checked, pack
from wire.redis.keys import Keys, entry_ms, time_ms
from wire.redis.pipeline import Pipeline
from wire.worker_registry import Served, WorkerInfo, decode_labels, live_workers

REFRESH_EVERY_S: Final = 0.1
STALE_AFTER_S: Final = 2.0
# For so long a refusal of an expensive job holds for others like it; a client is asked to wait as long.
REFUSAL_HOLDS_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class QueueSnapshot:
    """A look at the queue; `as_of` is this process' monotonic clock in seconds.

    `model`, `version`, `preprocessing` and `labels` are what most live lanes serve; each worker's own is in `workers`.
    `startup_error` is why a worker could not start lately, in words; `own` of the jobs are this process'.
    `bound` is that of a job with the usual timeout; `rate` is the photographs a second that all live workers can do
    together. `depth` and `bound` are of the usual jobs alone, `expensive_depth` of the others.
    `standstill_s` is for how long neither the depth nor the oldest job has changed, as far as this process has looked.
    `refused_depth` is the depth, in photographs, at which an expensive job of this process was refused at `refused_at`;
    0 once that no longer holds.
    """

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
    startup_error: str = ""
    own: int = 0
    standstill_s: float = 0.0
    expensive_depth: int = 0
    refused_depth: float = 0.0
    refused_at: float = float("-inf")


class _Front(NamedTuple):
    """The depth and the oldest entry of the queue, and since when they are these."""

    depth: int
    oldest: bytes
    since: float


class QueueStats:
    """Holds the last look; one connection, which its owner's thread and any number of callers share."""

    def __init__(
        self,
        address: Address,
        keys: Keys,
        bound: Callable[[Sequence[WorkerInfo]], int],
        timeout_s: float,
        own: Callable[[], int] = lambda: 0,
    ) -> None:
        self._pipeline = Pipeline(address, "sightline-stats")
        self._timeout_s = timeout_s
        self._keys = keys
        self._bound = bound
        self._own = own
        self._state: QueueSnapshot | None = None
        self._labels: dict[str, tuple[str, ...]] = {}
        self._worker_seen_at = float("-inf")
        self._fault: QueueUnavailable | None = None
        self._front = _Front(0, b"", float("-inf"))
        look = [("TIME",), ("XLEN", keys.jobs), ("XRANGE", keys.jobs, "-", "+", "COUNT", 1), ("HGETALL", keys.workers)]
        look += [
            ("GET", keys.startup_error),
            ("XLEN", keys.expensive),
            ("XRANGE", keys.expensive, "-", "+", "COUNT", 1),
        ]
        self._look_packet = b"".join(pack(*command) for command in look)

    @property
    def fault(self) -> QueueUnavailable | None:
        """Why Redis is known to be away; None while it answers, or while nobody has tried."""
        return self._fault

    def report_fault(self, fault: QueueUnavailable) -> None:
        """Say that Redis is away, as somebody else has found."""
        self._fault = fault

    def report_depth(self, depth: int, own: int) -> None:
        """Say how many jobs somebody else has found, so many of them this process'; 0 where he could not look."""
        if self._state is not None and depth:
            self._state = replace(self._state, depth=depth, own=own)

    def report_expensive_refusal(self, depth: int) -> None:
        """Record at which depth, in photographs, an expensive job was refused just now."""
        if self._state is not None:
            self._state = replace(self._state, refused_depth=depth, refused_at=time.monotonic())

    def snapshot(self) -> QueueSnapshot | None:
        """Give the last look without waiting; None where there is none, or none that is fresh."""
        state = self._state
        return state if state is not None and time.monotonic() - state.as_of < STALE_AFTER_S else None

    def worker_seen_within(self, seconds: float) -> bool:
        """Whether a live worker was in one of the looks of the last seconds."""
        return time.monotonic() - self._worker_seen_at < seconds

    def refresh(self) -> QueueSnapshot:
        """Look now; raises QueueUnavailable."""
        try:
            state = self._look()
        except QueueUnavailable as fault:
            self._state, self._fault = None, fault
            raise
        if state.workers:
            self._worker_seen_at = state.as_of
        self._state, self._fault = self._with_refusal(state), None
        return self._state

    def exchange(self, packet: bytes, replies: int) -> list[Any]:
        """Use the stats's connection for commands that may run twice; raises QueueUnavailable."""
        return self._pipeline.exchange(packet, replies, self._timeout_s)

    def close(self) -> None:
        """Close the connection."""
        self._pipeline.close()

    def _look(self) -> QueueSnapshot:
        # Redis looks at once, but this thread may hear of it late: what comes and goes meanwhile is later than this.
        as_of, own = time.monotonic(), self._own()
        replies = map(checked, self.exchange(self._look_packet, 7))
        now, depth, oldest, published, startup_error, expensive_depth, oldest_expensive = replies
        now_ms = time_ms(now)
        workers = live_workers(published, now_ms)
        served = _most_served(workers)
        return QueueSnapshot(
            depth=depth,
            oldest_age_s=_oldest_age_s([*oldest, *oldest_expensive], now_ms),
            bound=self._bound(workers),
            rate=total_rate(workers),
            workers=workers,
            labels=self._labels_of(served.labels_digest) if served else (),
            model=served.model if served else "",
            version=served.version if served else "",
            preprocessing=served.preprocessing if served else "",
            as_of=as_of,
            startup_error=(startup_error or b"").decode(errors="replace"),
            own=own,
            expensive_depth=expensive_depth,
            standstill_s=self._standstill_s(depth, oldest[0][0] if oldest else b"", as_of),
        )

    def _with_refusal(self, state: QueueSnapshot) -> QueueSnapshot:
        """Keep the last refusal for a while, as long as no expensive job has ended without another in its place."""
        last = self._state
        if last is None or state.as_of - last.refused_at > REFUSAL_HOLDS_S:
            return state
        if state.expensive_depth < last.expensive_depth:
            return state
        return replace(state, refused_depth=last.refused_depth, refused_at=last.refused_at)

    def _standstill_s(self, depth: int, oldest: bytes, now: float) -> float:
        if (depth, oldest) != self._front[:2]:
            self._front = _Front(depth, oldest, now)
        return now - self._front.since

    def _labels_of(self, digest: str) -> tuple[str, ...]:
        if not self._labels.get(digest):
            [published] = map(checked, self.exchange(pack("GET", self._keys.labels(digest)), 1))
            self._labels = {digest: decode_labels(published, digest)}
        return self._labels[digest]


def _oldest_age_s(entries: Sequence[Any], now_ms: int) -> float:
    return max([0, *(now_ms - entry_ms(entry_id) for entry_id, _ in entries)]) / 1000


def _most_served(workers: Sequence[WorkerInfo]) -> WorkerInfo | None:
    """Give a worker that serves what most lanes serve; of equals the one whose name is last, so that it stays."""
    lanes: Counter[Served] = Counter()
    for info in workers:
        lanes[info.served] += info.lanes
    return max(workers, key=lambda info: (lanes[info.served], info.served), default=None)
