"""Waiting for something to come true, with a bound so generous that a slow machine does not fail a test."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import AnyStr

WAIT_S = 100.0
# For a process that has to stop by itself; one that is killed needs no limit.
END_S = 100.0
# Each look takes processor time from what is waited for; one after a twentieth of the wait so far is hardly late.
SOONEST_S, LATEST_S, SHARE = 0.005, 0.05, 0.05


@dataclass
class Patience:
    """Which share of its time every wait is given."""

    share: float = 1.0


_patience = Patience()


@contextmanager
def hurried(share: float) -> Iterator[None]:
    """Shorten the timeouts inside the block, where a timeout is expected."""
    _patience.share, before = share, _patience.share
    try:
        yield
    finally:
        _patience.share = before


def patience_s(seconds: float) -> float:
    """The share of this time that a wait is given."""
    return seconds * _patience.share


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = WAIT_S) -> None:
    """Wait for a condition; raise AssertionError with a description if it does not become true."""
    timeout_s = patience_s(timeout_s)
    began = time.monotonic()
    while not condition():
        waited_s = time.monotonic() - began
        if waited_s > timeout_s:
            raise AssertionError(f"timed out after {timeout_s:g} s, waiting until {what}")
        time.sleep(min(max(SOONEST_S, waited_s * SHARE), LATEST_S))


def suspend(pid: int) -> None:
    """Stop a process, and return when all of its threads have stopped."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: set(_states(pid)) <= {"T", "t", "Z", "X"}, f"process {pid} has stopped")


def _states(pid: int) -> Iterator[str]:
    for thread in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):  # it has ended
            yield thread.read_text().rpartition(")")[2].split()[0]


def wait_for_end(process: subprocess.Popen[AnyStr], what: str, timeout_s: float = END_S) -> int:
    """Return the exit status of a process that has to stop; if it does not, kill it and raise AssertionError."""
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise AssertionError(f"timed out after {timeout_s:g} s, waiting until {what}") from None


@contextmanager
def ended_within(process: subprocess.Popen[AnyStr], what: str, timeout_s: float = WAIT_S) -> Iterator[None]:
    """Read what a process writes inside the block; one that takes longer is killed, and AssertionError raised.

    Without a limit, a test that reads to the end waits for as long as anything holds the other end open.
    """
    is_late = threading.Event()

    def kill() -> None:
        is_late.set()
        process.kill()

    timer = threading.Timer(timeout_s, kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if is_late.is_set():
        raise AssertionError(f"timed out after {timeout_s:g} s, waiting until {what}")
