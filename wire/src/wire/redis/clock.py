"""Redis' clock, which jumps where another server takes over whose clock is ahead of the last one's."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

from wire.redis.keys import entry_ms, time_ms

# Clocks that are set by NTP differ by less, and drift by less between two readings.
TOLERANCE_MS: Final = 250


class _Step(NamedTuple):
    """By how much the clock jumped ahead, and up to which moment entries have the time of the clock before."""

    by_ms: float
    until_ms: float


class RedisClock:
    """The time by which an entry was added: that of Redis now, or what the clock of then would show now.

    This process' monotonic clock shows a jump. One ahead must not make the jobs that were added before expire. One back
    does not: they look younger than they are.
    """

    def __init__(self) -> None:
        self._now_ms = 0
        # Between what Redis' clock is ahead of this process' monotonic one.
        self._low, self._high = -math.inf, math.inf
        self._steps: list[_Step] = []

    def read(self, reply: Sequence[bytes], since: float) -> None:
        """Take a reply of TIME to a command that was sent at `since` (monotonic), or later."""
        self._now_ms = now_ms = time_ms(reply)
        low, high = now_ms - 1000 * time.monotonic(), now_ms - 1000 * since
        if low > self._high + TOLERANCE_MS:
            self._steps.append(_Step(high - self._low, now_ms - (low - self._high)))
        elif high < self._low - TOLERANCE_MS:
            self._steps.clear()
        elif max(low, self._low) <= min(high, self._high):
            low, high = max(low, self._low), min(high, self._high)
        self._low, self._high = low, high

    def now_ms(self, entry_id: bytes) -> int:
        """Return the present moment by the clock that gave an entry its id."""
        added_ms = entry_ms(entry_id)
        return round(self._now_ms - sum(step.by_ms for step in self._steps if added_ms < step.until_ms))
