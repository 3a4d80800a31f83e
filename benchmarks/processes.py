"""What a tree of processes costs, read from /proc: processor seconds and memory."""

import os
from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

# Positions in /proc/PID/stat, counted after the command name in parentheses.
_STATE, _PARENT, _SESSION, _USER_TIME, _CHILDREN_SYSTEM_TIME, _START_TIME = 0, 1, 3, 11, 14, 19


def _stat(pid: int) -> list[str] | None:
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def tree(root: int) -> list[int]:
    """Return a process, its descendants, and all other processes of its session."""
    stats = {pid: fields for pid in _all_pids() if (fields := _stat(pid)) is not None}
    found = {root} | {pid for pid, fields in stats.items() if int(fields[_SESSION]) == root}
    while more := {pid for pid, fields in stats.items() if int(fields[_PARENT]) in found} - found:
        found |= more
    return sorted(found & stats.keys())


def _all_pids() -> Iterable[int]:
    return (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return user and system time of the processes and of their children that have ended."""
    ticks = 0
    for pid in pids:
        fields = _stat(pid)
        if fields is not None:
            ticks += sum(map(int, fields[_USER_TIME : _CHILDREN_SYSTEM_TIME + 1]))
    return ticks / TICKS_PER_S


def memory_bytes(pids: Iterable[int]) -> int:
    """Return the sum of the proportional set sizes: shared pages are counted once in all."""
    return sum(_pss_bytes(pid) for pid in pids)


def _pss_bytes(pid: int) -> int:
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def start_time(pid: int) -> str | None:
    """Return when a running process started, in ticks since boot: with the pid it identifies one process."""
    fields = _stat(pid)
    # A zombie does not run any more; its parent has not waited for it yet.
    return None if fields is None or fields[_STATE] == "Z" else fields[_START_TIME]


def name(pid: int) -> str:
    """Return the name of a process's program, empty once it has ended."""
    try:
        return (PROC / str(pid) / "comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def machine_cpu_seconds() -> float:
    """Return the time that all cores together have been busy or withheld by the host since boot."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, (PROC / "stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_S
