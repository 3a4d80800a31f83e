"""How fast a lane is while it has work: what admission needs to know, whether or not there is load now."""

from __future__ import annotations

import math
from typing import Final

# Long enough to be calm, short enough to follow a machine that becomes slower.
MEMORY_S: Final = 5.0


# However much of the time the estimate gives to decoding, so much was something else.
LEAST_SHARE: Final = 0.1


class Pace:
    """Photographs per busy second, over the last busy seconds; `rate` is what it was measured at before any work."""

    def __init__(self, rate: float = 0.0) -> None:
        self._jobs = 0.0
        self._busy_s = 0.0
        self._first_rate = rate

    @property
    def rate(self) -> float:
        """Jobs a second; 0 while nothing is known."""
        return self._jobs / self._busy_s if self._busy_s > 0 else self._first_rate

    def record(self, jobs: int, busy_s: float, decode_s: float = 0.0) -> None:
        """Add a piece of work and let older ones fade; `decode_s` is what its images take beyond photographs."""
        busy_s = max(busy_s - decode_s, LEAST_SHARE * busy_s)
        fade = math.exp(-busy_s / MEMORY_S)
        self._jobs = self._jobs * fade + jobs
        self._busy_s = self._busy_s * fade + busy_s
