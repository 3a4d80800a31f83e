"""Faults on order, for tests alone: with FAULT_INJECTION=1 the last bytes of a picture say how its worker fails.

A picture of any format may have a tail; without the setting, nothing here looks at it.
"""

import os
import re
import resource
import signal
import threading

import settings

MARK = b"sightline-fault:"
MB = 1024 * 1024
# What a runaway decoder takes before the kernel ends its process; far less than a machine has.
RUNAWAY_MB = 512
LEAK_MB = 64

_leaked: list[bytes] = []


class InjectedError(Exception):
    """What no code of ours foresees."""


def obey(content: bytes) -> None:
    """Fail as the picture's tail says, where that is allowed; come back from those who say nothing."""
    if not settings.FAULT_INJECTION:
        return
    _, found, order = content[-64:].rpartition(MARK)
    if found:
        _FAULTS[order.decode()]()


def _abort() -> None:
    """End as a native library does that finds its memory damaged."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.abort()


def _run_away() -> None:
    """Take memory until the kernel would end the process, and end the same way."""
    taken = [os.urandom(1) * MB for _ in range(RUNAWAY_MB)]
    os.kill(os.getpid(), signal.SIGKILL)
    taken.clear()


def _hang() -> None:
    """Wait for what never comes; the interpreter's other threads go on."""
    threading.Event().wait()


def _hang_locked() -> None:
    """Compute for ever with the interpreter's lock in hand: no other thread gets a turn."""
    re.fullmatch("(a+)+", "a" * 64 + "b")


def _raise() -> None:
    raise InjectedError


def _leak() -> None:
    _leaked.append(os.urandom(1) * LEAK_MB * MB)


_FAULTS = {
    "abort": _abort,
    "memory": _run_away,
    "hang": _hang,
    "hang-locked": _hang_locked,
    "raise": _raise,
    "leak": _leak,
}
