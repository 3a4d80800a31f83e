"""Waiting for something to come true, with a bound so generous that a slow machine does not fail a test."""

from __future__ import annotations

import time
from collections.abc import Callable

WAIT_S = 30.0


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = WAIT_S) -> None:
    """Wait for a condition; raises AssertionError in words when it does not come true."""
    until = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"waited {timeout_s} s in vain until {what}")
        time.sleep(0.005)
