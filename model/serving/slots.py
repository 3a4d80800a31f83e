"""The slots in which batches are computed, and when to receive the next one, whose images come over the network.

A batch that is received early has its images in time, but holds few jobs: the others have not come yet. One that is
received late leaves a slot empty while its images come. So the next batch is received when a slot will be free about as
soon as its images are there, by what batches have taken so far.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

# How much of the mean each new value is.
SHARE: Final = 0.1
# Deviations above the mean, for fetches that take longer than most, and a round trip to Redis.
DEVIATIONS: Final = 2.0
ROUND_TRIP_S: Final = 0.002


class Slots:
    """So many batches compute at the same time; threads that wait for images come in addition to those."""

    def __init__(self, count: int, now: Callable[[], float] = time.monotonic) -> None:
        self.count = count
        self._now = now
        self._free = threading.Semaphore(count)
        # One thread at a time waits for its turn to receive, so that a change wakes one.
        self._next = threading.Lock()
        self._changed = threading.Condition()
        self._receiving = 0  # from the turn to the end of it, computing included
        self._ends: dict[int, float] = {}  # of the batches that were received, when they are expected to
        self._fetch_s, self._job_s = _Mean(), _Mean()

    @contextmanager
    def turn(self, patience_s: float) -> Iterator[bool]:
        """Wait for the time to receive a batch, and hold the turn until it is answered; False: it is not yet time."""
        is_due = self._next.acquire(timeout=patience_s)
        if is_due:
            try:
                is_due = self._wait_until_due(self._now() + patience_s)
            finally:
                self._next.release()
        try:
            yield is_due
        finally:
            if is_due:
                with self._changed:
                    self._receiving -= 1
                    self._ends.pop(threading.get_ident(), None)
                    self._changed.notify()

    def fetch_begins(self, jobs: int) -> None:
        """Expect the batch of this thread, of so many jobs, to be computed once its images are there."""
        with self._changed:
            self._expect(jobs, self._fetch_s.mean)

    @contextmanager
    def computing(self, jobs: int, fetch_s: float) -> Iterator[None]:
        """Wait for a slot and hold it for a batch of so many jobs, whose images took `fetch_s` to come."""
        with self._free:
            begin = self._now()
            with self._changed:
                self._fetch_s.add(fetch_s)
                self._expect(jobs)
            try:
                yield
            finally:
                with self._changed:
                    self._job_s.add((self._now() - begin) / jobs)
                    self._ends.pop(threading.get_ident(), None)
                    self._changed.notify()

    def _expect(self, jobs: int, in_s: float = 0.0) -> None:
        self._ends[threading.get_ident()] = self._now() + in_s + self._job_s.mean * jobs
        self._changed.notify()

    def _wait_until_due(self, until: float) -> bool:
        with self._changed:
            while (left := min(self._due_at(), until) - self._now()) > 0:
                self._changed.wait(left)
            is_due = self._due_at() <= self._now()
            self._receiving += is_due
            return is_due

    def _due_at(self) -> float:
        """Return when the images of one more batch would find a slot free if they were requested then."""
        ahead = self._receiving - self.count
        if ahead < 0:
            return 0.0
        ends = sorted(self._ends.values())
        lead_s = self._fetch_s.mean + DEVIATIONS * self._fetch_s.deviation + ROUND_TRIP_S
        return ends[ahead] - lead_s if ahead < len(ends) else float("inf")


class _Mean:
    """The mean of what was measured lately, and how far values are from it on average."""

    def __init__(self) -> None:
        self.mean = self.deviation = 0.0
        self._count = 0

    def add(self, value: float) -> None:
        self._count += 1
        share = max(SHARE, 1 / self._count)
        self.deviation += share * (abs(value - self.mean) - self.deviation) if self._count > 1 else 0.0
        self.mean += share * (value - self.mean)
