"""Whether everything is back where it was: what Redis holds, and what each process holds."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sightline_testing.faults.system import System
from sightline_testing.waiting import patience_s
from wire import QueueUnavailable

PATIENCE_S = 200.0
MB = 1024 * 1024
# Of each process. An allocator keeps some memory after a storm, code of libraries is mapped again, and a worker that
# was busy has another form of its model; the soak test detects unbounded growth.
SLACK_MB = 96.0
SLACK_FILES = 24
SLACK_THREADS = 8


@dataclass(frozen=True, slots=True)
class Holdings:
    """What the processes of one kind hold together."""

    processes: int
    files: int
    threads: int
    memory_mb: float


def holdings(system: System) -> dict[str, Holdings]:
    """What the api, the workers and Redis hold now."""
    kinds = {"api": system.api_pids(with_master=True), "worker": system.worker_pids()}
    kinds["redis"] = system.pids("redis-server")
    return {kind: _held_by(pids) for kind, pids in kinds.items()}


def check(system: System, before: dict[str, Holdings], *, dead_letters: int = 0) -> None:
    """Wait until nothing is left over; raise AssertionError with what is."""
    until = time.monotonic() + patience_s(PATIENCE_S)
    while found := [*_left_in_redis(system, dead_letters), *_grown(system, before)]:
        assert time.monotonic() < until, f"left over after {patience_s(PATIENCE_S):g} s: {'; '.join(found)}"
        time.sleep(0.2)


def _left_in_redis(system: System, dead_letters: int) -> Iterator[str]:
    try:
        found = {
            "jobs": system.queue_depth(),
            "pending jobs": system.pending(),
            "unread replies": sum(_unread(system)),
            f"dead letters, {dead_letters} expected": int(system.redis("XLEN", system.keys.dead)) - dead_letters,
        }
    except QueueUnavailable as fault:
        yield str(fault)
        return
    yield from (f"{count} {what}" for what, count in found.items() if count)


def _unread(system: System) -> Iterator[int]:
    """The replies in each stream, but for those that a killed process cannot read and that expire by themselves."""
    for name in system.redis("KEYS", system.keys.replies("*").replace("{", "[{]")):
        reader = int(name.rpartition(b":")[2].partition(b"-")[0])
        if reader in system.api_pids() or system.redis("TTL", name) < 0:
            yield system.redis("XLEN", name)


def _grown(system: System, before: dict[str, Holdings]) -> Iterator[str]:
    for kind, now in holdings(system).items():
        then = before[kind]
        if now.processes != then.processes:
            yield f"{kind}: {now.processes} processes, {then.processes} before"
        if now.files > then.files + SLACK_FILES:
            yield f"{kind}: {now.files} open files, {then.files} before"
        if now.threads > then.threads + SLACK_THREADS:
            yield f"{kind}: {now.threads} threads, {then.threads} before"
        if now.memory_mb > then.memory_mb + SLACK_MB * now.processes:
            yield f"{kind}: {now.memory_mb:.0f} MB, {then.memory_mb:.0f} before"


def _held_by(pids: Iterable[int]) -> Holdings:
    held = [found for found in map(held_by_one, pids) if found is not None]
    return Holdings(
        len(held),
        sum(each.files for each in held),
        sum(each.threads for each in held),
        sum(each.memory_mb for each in held),
    )


def held_by_one(pid: int) -> Holdings | None:
    """What one process holds; None where it has ended."""
    place = Path(f"/proc/{pid}")
    try:
        threads, files = (len(list((place / kind).iterdir())) for kind in ("task", "fd"))
        pages = int((place / "statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Holdings(1, files, threads, pages * os.sysconf("SC_PAGE_SIZE") / MB)


@contextmanager
def nothing_left_over(system: System, *, dead_letters: int = 0) -> Iterator[None]:
    """Hold everything against how it was, once the block has ended well."""
    before = holdings(system)
    yield
    check(system, before, dead_letters=dead_letters)
