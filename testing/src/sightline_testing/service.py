"""The whole service as a test meets it: over HTTP, started for the test or named by SIGHTLINE_URL."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sightline_testing.redis_server import free_port
from sightline_testing.waiting import wait_for_end

REPOSITORY = Path(__file__).resolve().parents[3]
BUNDLES = REPOSITORY / "var" / "bundles"
# Generous: other work may share the machine. A test waits for what it needs, never for the clock.
START_TIMEOUT_S = 200.0
STOP_TIMEOUT_S = 120.0
READY = "ready: "
_launched: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class Service:
    """A running service; what a test did not start itself has no process, state folder or Redis socket to look at."""

    url: str
    state_dir: Path | None = None
    launcher: subprocess.Popen[bytes] | None = None

    @property
    def redis_socket(self) -> Path | None:
        """The unix socket of the service's own Redis."""
        return None if self.state_dir is None else self.state_dir / "run" / "redis.sock"


def environment(state_dir: Path, port: int, changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a launcher with a state folder and a port of its own."""
    own = {
        "PYTHONPATH": str(REPOSITORY / "deploy"),
        "STATE_DIR": str(state_dir),
        "BUNDLES_FOLDER": str(BUNDLES),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "MODEL_WORKERS": "1",  # a start is cheaper by a third; tests that need two set it
        "TRAINER": "0",  # likewise
        "REQUEST_TIMEOUT_S": "60",  # a busy machine may take longer than five seconds
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("REDIS_")}
    return inherited | own | dict(changes or {})


def launch(
    state_dir: Path, port: int, changes: Mapping[str, str] | None = None, folder: Path = REPOSITORY
) -> subprocess.Popen[bytes]:
    """Start the launcher as `make serve` does; what it prints goes to launcher.log of the state folder."""
    state_dir.mkdir(parents=True, exist_ok=True)
    with (state_dir / "launcher.log").open("ab") as log:
        launcher = subprocess.Popen(
            [sys.executable, "-m", "launcher"],
            cwd=folder,
            env=environment(state_dir, port, changes),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    _launched.append(launcher)
    return launcher


def kill_what_was_left() -> None:
    """Kill the launchers of this process that still run; their programs end with them."""
    for launcher in _launched:
        if launcher.poll() is None:
            launcher.kill()
            launcher.wait()
    _launched.clear()


def printed(state_dir: Path) -> str:
    """Return everything the launcher and its programs have printed."""
    return (state_dir / "launcher.log").read_text(errors="replace")


def message_of(line: str) -> str:
    """Return the message of a line of the log, which is a JSON object or the launcher's plain text."""
    if line.startswith("{"):
        return str(json.loads(line)["message"])
    return line.removeprefix("sightline: ")


def wait_until_ready(state_dir: Path, launcher: subprocess.Popen[bytes]) -> str:
    """Wait for the line that names the address, and return the address; RuntimeError with the log if it never comes."""
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until and launcher.poll() is None:
        for message in map(message_of, printed(state_dir).splitlines()):
            if message.startswith(READY):
                return message.removeprefix(READY).split()[0]
        time.sleep(0.02)
    message = f"the service did not become ready; it printed:\n{printed(state_dir)}"
    raise RuntimeError(message)


def stop(launcher: subprocess.Popen[bytes]) -> int:
    """Ask for the end as Ctrl-C does, and return the exit status."""
    launcher.send_signal(signal.SIGINT)
    return wait_for_end(launcher, "the launcher ended after SIGINT", STOP_TIMEOUT_S)


@contextmanager
def running_service(state_dir: Path, changes: Mapping[str, str] | None = None) -> Iterator[Service]:
    """Run a service of the test's own, with its state in `state_dir`, until the block ends."""
    launcher = launch(state_dir, free_port(), changes)
    try:
        yield Service(wait_until_ready(state_dir, launcher), state_dir, launcher)
    finally:
        if launcher.poll() is None:
            stop(launcher)


@contextmanager
def some_service(state_dir: Path, changes: Mapping[str, str] | None = None) -> Iterator[Service]:
    """Give the service that SIGHTLINE_URL (or API_URL) names, else one of the test's own."""
    url = os.environ.get("SIGHTLINE_URL") or os.environ.get("API_URL")
    if url:
        yield Service(url.rstrip("/"))
        return
    with running_service(state_dir, changes) as service:
        yield service
