"""Limit concurrency: increase it while requests succeed and halve it on 503."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

FIRST = 4
# Requests at a time, at least, before one has several images.
REQUESTS = 4


class Stopped(Exception):  # noqa: N818  the name says what happened
    """The run is stopped; no further request may start."""


class Pacing:
    """The gate of one run: how many images may be with the service at a time.

    An image has a place, and a request as many as it has images. Until the service refuses one, the limit doubles with
    each round.
    """

    def __init__(self, most: int) -> None:
        self.limit = float(min(FIRST, most))
        self._most = most
        self._under_way = 0
        self._not_before = 0.0
        self._changed = threading.Condition()
        self._was_refused = False
        self._is_stopped = False

    @contextmanager
    def places(self, wanted: int) -> Iterator[int]:
        """Hold places from when there are some, at least one and at most `wanted`; yield how many.

        No request gets more than a share of the limit, so that the service has others while one is answered.
        """
        with self._changed:
            while self._under_way + (count := self._granted(wanted)) > int(self.limit) or self._pause_s() > 0:
                if self._is_stopped:
                    raise Stopped
                self._changed.wait(self._pause_s() or None)
            if self._is_stopped:
                raise Stopped
            self._under_way += count
        try:
            yield count
        finally:
            with self._changed:
                self._under_way -= count
                self._changed.notify_all()

    def _granted(self, wanted: int) -> int:
        return max(1, min(wanted, int(self.limit) // REQUESTS))

    def _pause_s(self) -> float:
        return max(0.0, self._not_before - time.monotonic())

    def stop(self) -> None:
        """Admit no further request; waiting threads get Stopped."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def went_well(self, count: int = 1) -> None:
        """Widen the limit after so many answers: by one for each round, and as much as went well at first."""
        with self._changed:
            gain = count / self.limit if self._was_refused else count
            self.limit = min(self.limit + gain, float(self._most))
            self._changed.notify_all()

    def was_refused(self, retry_after_s: float) -> None:
        """Halve the limit, once for each pause, and admit no request before Retry-After has passed."""
        with self._changed:
            self._was_refused = True
            now = time.monotonic()
            if now >= self._not_before:
                self.limit = max(self.limit / 2, 1.0)
            self._not_before = max(self._not_before, now + retry_after_s)
