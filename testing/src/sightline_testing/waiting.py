"""Waiting for something to come true, with a bound so generous that a slow machine does not fail a test."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

WAIT_S = 30.0


@dataclass
class Patience:
    """Which share of its time every wait is given."""

    share: float = 1.0


_patience = Patience()


@contextmanager
def hurried(share: float) -> Iterator[None]:
    """Wait for so much shorter inside the block: where waiting in vain is what is expected."""
    _patience.share, before = share, _patience.share
    try:
        yield
    finally:
        _patience.share = before


def patience_s(seconds: float) -> float:
    """The share of this time that a wait is given."""
    return seconds * _patience.share


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = WAIT_S) -> None:
    """Wait for a condition; raises AssertionError in words when it does not come true."""
    timeout_s = patience_s(timeout_s)
    until = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"waited {timeout_s:g} s in vain until {what}")
        time.sleep(0.005)
