"""How many cores this process may use, and behind whom it stands back."""

import contextlib
import os
import threading
from pathlib import Path

AUTOGROUP = Path("/proc/self/autogroup")
THREADS = Path("/proc/self/task")
COMMANDS_NICENESS = 19
CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def cores() -> int:
    """The cores this process may run on, or fewer where a container's quota gives less; at least one."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, _quota(allowed)))


def _quota(otherwise: int) -> int:
    try:
        quota, period = CGROUP_LIMIT.read_text(encoding="ascii").split()
        return otherwise if quota == "max" else -(-int(quota) // int(period))
    except (OSError, ValueError):
        return otherwise


def give_way() -> None:
    """Let this command wait for the service rather than the service for it."""
    os.nice(COMMANDS_NICENESS)


def stand_back_here(niceness: int) -> None:
    """Leave the cores to others first, in this thread and those that it will start."""
    own = threading.get_native_id()
    os.setpriority(os.PRIO_PROCESS, own, min(19, os.getpriority(os.PRIO_PROCESS, own) + niceness))


def stand_back(niceness: int) -> None:
    """Leave the cores to others first, in the threads that there are and those that they will start."""
    if not niceness:
        return
    for thread in THREADS.iterdir() if THREADS.exists() else ():
        with contextlib.suppress(OSError):  # it may have ended
            own = int(thread.name)
            os.setpriority(os.PRIO_PROCESS, own, os.getpriority(os.PRIO_PROCESS, own) + niceness)
    if AUTOGROUP.exists() and os.getsid(0) == os.getpid():
        # Where the system shares its cores by session: that of each worker is its own, others' are not touched.
        with contextlib.suppress(OSError):
            AUTOGROUP.write_text(f"{niceness}\n", encoding="ascii")
