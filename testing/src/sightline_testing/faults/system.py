"""The running service and its processes, to be killed, stopped and inspected one by one."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sightline_testing.client import Client, Response
from sightline_testing.faults.questions import Question, questions
from sightline_testing.redis_server import free_port
from sightline_testing.service import REPOSITORY, Service, launch, printed, stop, wait_until_ready
from sightline_testing.waiting import hurried, suspend, wait_until
from wire import Address
from wire.redis.connection import Connection
from wire.redis.keys import GROUP, Keys
from wire.redis.resp import checked, pack

QUEUE = "sightline"
# Generous: other work may share the machine.
PATIENCE_S = 90.0


@dataclass
class System:
    """A service under test, with what is needed to hurt it."""

    url: str
    state_dir: Path
    launcher_pid: int
    redis_address: Address
    workers: int
    keys: Keys = field(default_factory=lambda: Keys(QUEUE))
    asked: list[Question] = field(default_factory=list, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # of every request, such as its API key

    @property
    def client(self) -> Client:
        """A client of the service."""
        return Client(self.url, self.headers)

    def redis(self, *words: str | bytes | int) -> Any:
        """Run one Redis command over a connection of its own."""
        connection = Connection(self.redis_address, "fault-test")
        try:
            [reply] = connection.exchange(pack(*words), 1, 10.0)
            return checked(reply)
        finally:
            connection.close()

    def pids(self, part: str) -> list[int]:
        """The processes whose command line holds this text: ml_service, gunicorn or redis-server; oldest first."""
        found = [pid for pid, command in processes(self.launcher_pid).items() if part in command]
        return sorted(found, key=started)  # ids wrap around: they do not show which process is older

    def worker_pids(self) -> list[int]:
        """The model workers."""
        return self.pids("ml_service")

    def api_master(self) -> int:
        """The api's process that all others of it are children of."""
        return next(pid for pid in self.api_pids(with_master=True) if parent_of(pid) == self.launcher_pid)

    def api_pids(self, *, with_master: bool = False) -> list[int]:
        """The processes of the api that answer requests."""
        pids = self.pids("gunicorn")
        return [pid for pid in pids if with_master or parent_of(pid) in pids]

    def announced(self) -> dict[int, str]:
        """The workers that say they are ready, by process id."""
        names: list[bytes] = self.redis("HKEYS", self.keys.workers)
        return {int(name.split(b":")[1]): name.decode() for name in names}

    def readiness(self) -> Response:
        """What /readyz answers."""
        return self.client.get("/readyz")

    def wait_until_ready(self, workers: int | None = None) -> None:
        """Return when every worker runs and the api reports ready."""
        wanted = self.workers if workers is None else workers
        with hurried(1.0):  # this does not time out
            wait_until(lambda: self._is_ready(wanted), f"{wanted} workers are ready", PATIENCE_S)

    def kill(self, pid: int, with_signal: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to one process of this service, and to no other."""
        assert pid in processes(self.launcher_pid), f"process {pid} is no process of this service"
        if with_signal == signal.SIGSTOP:
            suspend(pid)
        else:
            os.kill(pid, with_signal)

    def kill_api(self) -> None:
        """Kill every process of the api: those that outlive their master answer what they have accepted."""
        master = self.api_master()
        self.kill(master, signal.SIGSTOP)  # it would start others
        for pid in [*self.api_pids(), master]:
            self.kill(pid)

    @contextmanager
    def held_workers(self) -> Iterator[None]:
        """Stop every worker while the block runs: requests of that time stay open until its end."""
        for pid in self.worker_pids():
            self.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in self.worker_pids():
                self.kill(pid, signal.SIGCONT)

    def queue_depth(self) -> int:
        """How many jobs wait or are in progress."""
        return sum(self.redis("XLEN", stream) for stream in self._streams)

    def last_job(self) -> bytes:
        """The id of the newest entry that the job stream ever had."""
        facts = self.redis("XINFO", "STREAM", self.keys.jobs)
        newest: bytes = dict(zip(facts[::2], facts[1::2], strict=True))[b"last-generated-id"]
        return newest

    def pending(self) -> int:
        """How many jobs are in a worker's hands; 0 where there is no group."""
        there = [stream for stream in self._streams if self.redis("EXISTS", stream)]
        return sum(self.redis("XPENDING", stream, GROUP)[0] for stream in there)

    def in_hands(self) -> list[tuple[bytes, bytes]]:
        """The jobs that are in a worker's hands: entry and consumer."""
        there = [stream for stream in self._streams if self.redis("EXISTS", stream)]
        pending = [each for stream in there for each in self.redis("XPENDING", stream, GROUP, "-", "+", 1000)]
        return [(entry, consumer) for entry, consumer, *_ in pending]

    @property
    def _streams(self) -> tuple[str, str]:
        return self.keys.jobs, self.keys.expensive

    def log(self) -> str:
        """Everything that the service has printed."""
        return printed(self.state_dir)

    def _is_ready(self, workers: int) -> bool:
        try:
            response = self.readiness()
            live = set(self.announced()) & set(self.worker_pids())
        except Exception:  # noqa: BLE001  whatever is not there yet
            return False
        return response.status == 200 and len(live) == workers


@contextmanager
def running_system(  # noqa: PLR0913  all but the first two go by keyword
    state_dir: Path,
    changes: Mapping[str, str] | None = None,
    *,
    workers: int = 2,
    redis_socket: str = "",
    source: Path = REPOSITORY,
    headers: Mapping[str, str] | None = None,
) -> Iterator[System]:
    """Run the service of `source` until the block ends; with the Redis behind a socket, or with its own."""
    told = {"MODEL_WORKERS": str(workers), "PYTHONPATH": str(source / "deploy")}
    # Each request is a job; cached answers would hide a loss.
    told |= {"RESULT_CACHE": "0", **dict(changes or {})}
    if redis_socket:
        told["REDIS_SOCKET"] = redis_socket
    launcher = launch(state_dir, free_port(), told, folder=source)
    try:
        url = wait_until_ready(state_dir, launcher)
        service = Service(url, state_dir, launcher)
        address = Address(socket_path=redis_socket or str(service.redis_socket))
        system = System(url, state_dir, launcher.pid, address, workers, headers=dict(headers or {}))
        system.wait_until_ready()
        system.asked = questions(system.client)
        yield system
    finally:
        if launcher.poll() is None:
            stop(launcher)


def processes(launcher_pid: int) -> dict[int, str]:
    """The command line of every process below the launcher, by its id."""
    commands: dict[int, str] = {}
    waiting = [launcher_pid]
    while waiting:
        for pid in _children_of(waiting.pop()):
            waiting.append(pid)
            with suppress(FileNotFoundError, ProcessLookupError):
                commands[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    return {pid: command for pid, command in commands.items() if command}


def _children_of(pid: int) -> Iterator[int]:
    """The processes that any thread of this one has started."""
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            yield from map(int, (task / "children").read_text().split())


def parent_of(pid: int) -> int:
    """The parent of a process; 0 where it has ended."""
    return _stat(pid, 4)


def started(pid: int) -> int:
    """When a process began, in ticks of the system's clock; 0 where it has ended."""
    return _stat(pid, 22)


def _stat(pid: int, field: int) -> int:
    """One of the fields that proc(5) numbers, from 3 on; 0 where the process has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[field - 3])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def sleep_until(moment: float) -> None:
    """Sleep to a moment of the monotonic clock."""
    time.sleep(max(moment - time.monotonic(), 0.0))
