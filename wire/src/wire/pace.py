"""How fast a lane is while it has work: what admission needs to know, whether or not there is load now."""

from __future__ import annotations

import math
from typing import Final

# Long enough to be calm, short enough to follow a machine that becomes slower.
MEMORY_S: Final = 5.0


class Pace:
    """Jobs per busy second, over the last busy seconds."""

    def __init__(self) -> None:
        self._jobs = 0.0
        self._busy_s = 0.0

    @property
    def rate(self) -> float:
        """Jobs a second; 0 while nothing was done."""
        return self._jobs / self._busy_s if self._busy_s > 0 else 0.0

    def record(self, jobs: int, busy_s: float) -> None:
        """Add a piece of work and let older ones fade."""
        fade = math.exp(-busy_s / MEMORY_S)
        self._jobs = self._jobs * fade + jobs
        self._busy_s = self._busy_s * fade + busy_s
