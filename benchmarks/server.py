"""A system under test as a running tree of processes."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from benchmarks import processes, settings
from benchmarks.client import Endpoint
from benchmarks.systems import Setting, System, command_and_environment

STOP_TIMEOUT_S = 20


class Server:
    """Starts a system on a free port on entering and ends every process of it on leaving."""

    def __init__(self, system: System, setting: Setting) -> None:
        self.system = system
        self.setting = setting
        self.port = _free_port()
        self.log = settings.WORKSPACE / "logs" / f"{system.name}.log"

    def __enter__(self) -> "Server":
        # A short path: a unix socket's must not exceed 107 bytes.
        self._state = Path(tempfile.mkdtemp(prefix="sightline-bench-"))
        for leftovers in (settings.STATE / "redis", settings.STATE / "uploads"):
            shutil.rmtree(leftovers, ignore_errors=True)
        command, told = command_and_environment(self.system, self.setting, self.port, self._state)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=settings.ROOT,
                env=settings.environment_with(told),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started_at = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tree = {pid: processes.start_time(pid) for pid in self.pids()}
        self._process.terminate()
        _wait_until_ended(tree)
        for pid in _alive(tree):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _wait_until_ended(tree)
        self._process.wait()
        shutil.rmtree(self._state, ignore_errors=True)

    @property
    def root(self) -> int:
        """Return the process that was started."""
        return self._process.pid

    def is_running(self) -> bool:
        """Return whether the process that was started is still there."""
        return self._process.poll() is None

    def pids(self) -> list[int]:
        """Return every process of the system."""
        return processes.tree(self._process.pid)

    def endpoint(self, body: str) -> Endpoint:
        """Return where images are posted to."""
        return Endpoint(f"http://127.0.0.1:{self.port}{self.system.route}", body)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_until_ended(tree: dict[int, str | None]) -> None:
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while _alive(tree) and time.monotonic() < deadline:
        time.sleep(0.02)


def _alive(tree: dict[int, str | None]) -> list[int]:
    return [pid for pid, started in tree.items() if started is not None and processes.start_time(pid) == started]
