"""One measurement: a system, a load, and what both cost."""

import resource
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import processes
from benchmarks.load import LoadResult, put_load
from benchmarks.server import Server

MB = 1_000_000
# A system is quiet once it uses less than a fifth of a core; one that never is (busy waiting) is measured all the same.
QUIET_SHARE, QUIET_INTERVAL_S, LONGEST_QUIET_WAIT_S = 0.2, 0.2, 10.0
Row = dict[str, Any]


@dataclass(frozen=True)
class Load:
    """What is put on a server: images (a list file), the kind of body, how many open requests, how long."""

    listing: Path
    body: str
    connections: int
    seconds: float
    warm_up_s: float


@dataclass(frozen=True)
class _Clocks:
    wall: float
    server: float
    generator: float
    machine: float


def measure_load(server: Server, load: Load) -> Row:
    """Warm up, then measure rate, latency, processor time of the whole process tree, and memory half-way."""
    url = server.endpoint(load.body).url
    if load.warm_up_s:
        put_load(url, load.listing, load.body, load.connections, load.warm_up_s)
        _wait_until_quiet(server)
    memory: list[int] = []
    sampler = threading.Timer(load.seconds / 2, lambda: memory.append(processes.memory_bytes(server.pids())))
    before = _read_clocks(server)
    sampler.start()
    result = put_load(url, load.listing, load.body, load.connections, load.seconds)
    after = _read_clocks(server)
    sampler.join()
    row = {
        "images_per_s": result.images_per_s,
        "memory_mb": memory[0] / MB,
        "not_200": result.not_200,
        "socket_errors": result.socket_errors,
        "other_cores": _cores_of_others(before, after),
    }
    return row | _for_each_answer(result, after.server - before.server)


def _wait_until_quiet(server: Server) -> None:
    """Wait until the requests that the warm-up left behind are done with, so that they cost the measurement nothing."""
    deadline = time.monotonic() + LONGEST_QUIET_WAIT_S
    busy_s = 1.0
    while busy_s > QUIET_SHARE * QUIET_INTERVAL_S and time.monotonic() < deadline:
        before = processes.cpu_seconds(server.pids())
        time.sleep(QUIET_INTERVAL_S)
        busy_s = processes.cpu_seconds(server.pids()) - before


def _for_each_answer(result: LoadResult, cpu_s: float) -> Row:
    """Return what has a value only where something was answered with 200."""
    if not result.images:
        return {}
    return {
        "p50_ms": result.p50_ms,
        "p90_ms": result.p90_ms,
        "p99_ms": result.p99_ms,
        "cpu_ms": 1000 * cpu_s / result.images,
    }


def _read_clocks(server: Server) -> _Clocks:
    generator = resource.getrusage(resource.RUSAGE_CHILDREN)
    return _Clocks(
        wall=time.monotonic(),
        server=processes.cpu_seconds(server.pids()),
        generator=generator.ru_utime + generator.ru_stime,
        machine=processes.machine_cpu_seconds(),
    )


def _cores_of_others(before: _Clocks, after: _Clocks) -> float:
    """Return how many cores were busy with neither the system nor the load: the noise of this measurement."""
    own = after.server - before.server + after.generator - before.generator
    return max(0.0, (after.machine - before.machine - own) / (after.wall - before.wall))
