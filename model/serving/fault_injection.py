"""Faults on order, for tests alone: with FAULT_INJECTION=1 the last bytes of an image name how its worker fails.

An image of any format may have a tail; without the setting, nothing here reads it.
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
_ailing: list[bool] = []


class InjectedError(Exception):
    """What no code of ours foresees."""


def obey(content: bytes) -> None:
    """Fail as the image's tail orders, where that is allowed; return if it orders nothing."""
    if not settings.FAULT_INJECTION:
        return
    _, found, order = content[-64:].rpartition(MARK)
    match order if found else b"":
        case b"abort":  # as a native library does that finds its memory damaged
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.abort()
        case b"memory":  # until the kernel would end the process, and end the same way
            taken = [os.urandom(1) * MB for _ in range(RUNAWAY_MB)]
            os.kill(os.getpid(), signal.SIGKILL)
            taken.clear()
        case b"hang":  # the interpreter's other threads continue
            threading.Event().wait()
        case b"hang-locked":  # holding the interpreter's lock: no other thread continues
            re.fullmatch("(a+)+", "a" * 64 + "b")
        case b"raise":
            raise InjectedError
        case b"ail":  # this image, and from now on the worker's own
            _ailing.append(True)
            raise InjectedError
        case b"leak":
            _leaked.append(os.urandom(1) * LEAK_MB * MB)


def obey_trial() -> None:
    """Raise InjectedError where an image has ordered the worker to ail."""
    if _ailing:
        raise InjectedError
