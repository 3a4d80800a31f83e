"""How many cores this process may use, and at which priority."""

import contextlib
import os
import threading
from pathlib import Path

AUTOGROUP = Path("/proc/self/autogroup")
THREADS = Path("/proc/self/task")
CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")
LOWEST = 19


def cores() -> int:
    """Return how many cores this process may run on, fewer where a container's quota gives less; at least one."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CGROUP_LIMIT.read_text(encoding="ascii").split()
        given = allowed if quota == "max" else -(-int(quota) // int(period))
    except (OSError, ValueError):
        given = allowed
    return max(1, min(allowed, given))


def lower_priority(niceness: int) -> None:
    """Lower the priority of all threads of this process, and of those that they will start, by a niceness."""
    if not niceness:
        return
    for thread in THREADS.iterdir() if THREADS.exists() else ():
        with contextlib.suppress(OSError):  # it may have ended
            lower_thread_priority(niceness, int(thread.name))
    if AUTOGROUP.exists() and os.getsid(0) == os.getpid():
        # Where the system shares its cores by session: that of each worker is its own, others' are not touched.
        with contextlib.suppress(OSError):
            AUTOGROUP.write_text(f"{niceness}\n", encoding="ascii")


def lower_thread_priority(niceness: int, thread: int = 0) -> None:
    """Lower the priority of a thread, by default the calling one, and of those that it will start."""
    thread = thread or threading.get_native_id()
    niceness += os.getpriority(os.PRIO_PROCESS, thread)
    os.setpriority(os.PRIO_PROCESS, thread, min(LOWEST, niceness))
