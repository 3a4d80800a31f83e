"""A real PostgreSQL of the test's own, on a free port, with its data in a temporary folder."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from sightline_testing.redis_server import free_port
from sightline_testing.waiting import suspend, wait_for_end

START_TIMEOUT_S = 100.0
# Nothing survives a power cut, which no test makes; what is killed survives all the same.
OPTIONS = ("fsync=off", "shared_buffers=16MB", "max_connections=60", "listen_addresses=127.0.0.1")
DEBIAN = Path("/usr/lib/postgresql")


class PostgresServer:
    """One cluster; `start`, `kill` and `stop` may be called again and again on the same port."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self.port = free_port()
        # PostgreSQL does not run as root, and the folder of a test is closed to others.
        self._user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="postgres"))
        if self._user is not None:
            os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
        self._process: subprocess.Popen[bytes] | None = None
        self._run(
            "initdb", "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-locale", "data"
        )

    @property
    def pid(self) -> int:
        """The postmaster's process id; raises RuntimeError while it is down."""
        if self._process is None:
            message = f"PostgreSQL on port {self.port} is not running; call start() first"
            raise RuntimeError(message)
        return self._process.pid

    def url(self, database: str = "postgres") -> str:
        """Return the address of a database, which need not exist."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start, and come back when it answers."""
        told = [word for option in OPTIONS for word in ("-c", option)]
        command = [str(self._binaries / "postgres"), "-D", "data", "-p", str(self.port), "-k", str(self._folder), *told]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **self._as_user())
        self._wait_until_it_answers(self._process)

    def kill(self) -> None:
        """End it and all its children the hard way (-9)."""
        if self._process is not None:
            self._send(signal.SIGKILL)
            self._process.wait()
            self._process = None
            (self._folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def start_again(self) -> None:
        """Start or resume it, in any state in which a test has left it."""
        if self._process is None:
            self.start()
        else:
            self.resume()

    def stop(self) -> None:
        """End it in order, without waiting for its clients."""
        if self._process is not None:
            process, self._process = self._process, None
            process.send_signal(signal.SIGINT)
            wait_for_end(process, f"PostgreSQL on port {self.port} ended after SIGINT")

    def pause(self) -> None:
        """Stop it where it stands with all its children: connections stay open, nothing is answered."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume a paused server."""
        self._send(signal.SIGCONT)

    def close(self) -> None:
        """End it and remove its data."""
        with suppress(RuntimeError):
            self.resume()
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def execute(self, statement: str, database: str = "postgres") -> str:
        """Run a statement and return its rows as text."""
        command = ("psql", "--quiet", "--tuples-only", "--no-align", "--command", statement, self.url(database))
        return self._run(*command).strip()

    def _send(self, number: signal.Signals) -> None:
        """Send a signal to the server and to each of its children, which are in groups of their own."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        for pid in (self.pid, *map(int, children.read_text().split())):
            with suppress(ProcessLookupError):
                suspend(pid) if number == signal.SIGSTOP else os.kill(pid, number)

    def _run(self, name: str, *arguments: str) -> str:
        command = [str(self._binaries / name), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, **self._as_user())
        if done.returncode:
            message = f"{name} failed: {done.stderr}"
            raise RuntimeError(message)
        return str(done.stdout)

    def _as_user(self) -> dict[str, Any]:
        told: dict[str, Any] = {"cwd": self._folder}
        if self._user is not None:
            told |= {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        return told

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        command = [str(self._binaries / "pg_isready"), "--quiet", "--host=127.0.0.1", f"--port={self.port}"]
        until = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until and process.poll() is None:
            with suppress(OSError), closing(socket.create_connection(("127.0.0.1", self.port), timeout=1)):
                if subprocess.run(command, check=False).returncode == 0:
                    return
            time.sleep(0.02)
        message = (
            f"PostgreSQL did not answer on port {self.port}:\n{(self._folder / 'log').read_text(errors='replace')}"
        )
        raise RuntimeError(message)


def postgres_binaries() -> Path | None:
    """Return the folder of the newest PostgreSQL that Debian has installed, or the one of the PATH."""
    installed = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    found = installed[-1] if installed else shutil.which("initdb")
    return Path(found).parent if found else None
