"""Limit concurrency: increase it while requests succeed and halve it on 503."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it from Python 3.11 on

FIRST = 4


class Stopped(Exception):  # noqa: N818  the name says what happened
    """The run is stopped; no further request may start."""


class Pacing:
    """A gate for the threads of one run; `with` holds one of its places."""

    def __init__(self, most: int) -> None:
        self.limit = float(min(FIRST, most))
        self._most = most
        self._under_way = 0
        self._not_before = 0.0
        self._changed = threading.Condition()
        self._is_stopped = False

    def __enter__(self) -> Self:
        with self._changed:
            while self._under_way >= int(self.limit) or (wait_s := self._not_before - time.monotonic()) > 0:
                if self._is_stopped:
                    raise Stopped
                self._changed.wait(wait_s if self._under_way < int(self.limit) else None)
            if self._is_stopped:
                raise Stopped
            self._under_way += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._under_way -= 1
            self._changed.notify_all()

    def stop(self) -> None:
        """Admit no further request; waiting threads get Stopped."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def went_well(self) -> None:
        """Let one more through for each round that went well."""
        with self._changed:
            self.limit = min(self.limit + 1 / self.limit, float(self._most))

    def was_refused(self, retry_after_s: float) -> None:
        """Halve the limit, once for each pause, and admit no request before Retry-After has passed."""
        with self._changed:
            now = time.monotonic()
            if now >= self._not_before:
                self.limit = max(self.limit / 2, 1.0)
            self._not_before = max(self._not_before, now + retry_after_s)
