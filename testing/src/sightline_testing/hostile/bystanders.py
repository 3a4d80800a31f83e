"""The effect of an attack on others: polite clients, /livez, memory, processes."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from sightline_testing.client import Client
from sightline_testing.faults.ledger import Ledger, Outcome
from sightline_testing.faults.load import Load
from sightline_testing.faults.system import System, processes
from sightline_testing.hostile.asking import memory_watched
from sightline_testing.hostile.attacks import Attack, Target

POLITE_CLIENTS = 8
PROBE_EVERY_S = 0.1
# How long an attack may take beyond its time before it is ended.
PATIENCE_S = 100.0
MAX_GROWTH_MIB = 256.0
# A server that has the attacks in memory makes each process that runs one: none starts with an interpreter of its own.
_ATTACKERS = multiprocessing.get_context("forkserver")
_ATTACKERS.set_forkserver_preload(
    ["__main__", "sightline_testing.hostile.body_attacks", "sightline_testing.hostile.expensive"]
)


@dataclass(frozen=True)
class Impact:
    """What was seen of the service while one client attacked it."""

    ledger: Ledger  # of the polite clients
    answered: int  # how many of their requests were answered rightly in the second half of the attack
    probes: list[float]  # seconds that each /livez took
    growth_mib: float  # of the api process that grew most, at its peak
    ended: list[str]  # command lines of processes that were there before and are not any more

    def __str__(self) -> str:
        """What a failed assertion and the figures of a run show."""
        return (
            f"{self.ledger}; {self.answered} answered meanwhile; "
            f"/livez at most {max(self.probes, default=0.0):.3f} s of {len(self.probes)}; "
            f"api + {self.growth_mib:.0f} MiB; ended: {self.ended or 'none'}"
        )

    @property
    def slowest_probe_s(self) -> float:
        """The longest that /livez took."""
        return max(self.probes, default=float("inf"))


def impact_of(attack: Attack, system: System, seconds: float) -> Impact:
    """Attack a service for so long while polite clients use it."""
    parts = urlsplit(system.url)
    target = Target(parts.hostname or "", parts.port or 80, system.headers)
    before = processes(system.launcher_pid)
    with (
        memory_watched(system.launcher_pid, lambda command: "gunicorn" in command) as growth,
        Load(system.url, system.asked, clients=POLITE_CLIENTS, headers=system.headers) as load,
        _probed(system.url) as probes,
    ):
        until = time.monotonic() + seconds
        _run(attack, target, until)
    # In the first half the attack has to start.
    answered = sum(until - seconds / 2 <= each.ended_at <= until for each in load.ledger.ended(Outcome.RIGHT))
    after = processes(system.launcher_pid)
    ended = [f"{pid} {command}" for pid, command in before.items() if pid not in after]
    return Impact(load.ledger, answered, probes, growth.largest, ended)


def _run(attack: Attack, target: Target, until: float) -> None:
    """Run the attack in a process of its own: the clients of this one shall not wait for its interpreter."""
    process = _ATTACKERS.Process(target=attack, args=(target, until), daemon=True)
    process.start()
    process.join(until - time.monotonic() + PATIENCE_S)
    if process.is_alive():
        process.kill()
        process.join()
    elif process.exitcode:
        raise RuntimeError(f"the attack itself failed with exit status {process.exitcode}")
    process.close()


@contextmanager
def _probed(url: str) -> Iterator[list[float]]:
    """Ask for /livez again and again while the block runs; the list holds how long each took."""
    seconds: list[float] = []
    stop = threading.Event()

    def probe() -> None:
        client = Client(url)
        while not stop.is_set():
            began = time.monotonic()
            try:
                is_live = client.get("/livez").status == HTTPStatus.OK
            except OSError:
                is_live = False
            seconds.append(time.monotonic() - began if is_live else float("inf"))
            stop.wait(PROBE_EVERY_S)

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    try:
        yield seconds
    finally:
        stop.set()
        thread.join()
