"""The service under load, as `make serve` or docker-compose run it: started, found among the processes, stopped."""

import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from benchmarks import processes
from benchmarks.settings import ROOT, environment_with

from stress_test.errors import StressError
from stress_test.plan import Setup

WORKSPACE = ROOT / "var" / "stress"
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 60.0
MODEL_METRICS_PORT = 9101
FIRST_METRICS_PORT = 9161
COMPOSE_FILES = ("-f", "docker-compose.yml", "-f", "stress_test/compose.yml")


class Target(Protocol):
    """A running service."""

    url: str
    metrics_urls: list[str]  # of the workers

    def pids(self) -> dict[str, list[int]]:
        """Give the processes of each service."""

    def clear_uploads(self) -> None:
        """Remove the images of the run before."""


@contextmanager
def running(setup: Setup, port: int, project: str) -> Iterator[Target]:
    """Run the service until the block ends."""
    if setup.target == "serve":
        with _launched(setup, port) as served:
            yield served
    else:
        with _composed(setup, port, project) as composed:
            yield composed


class Serve:
    """`make serve`, without make: one launcher and what it starts."""

    def __init__(self, launcher: int, state: Path, port: int, workers: int) -> None:
        self.launcher, self.state = launcher, state
        self.url = f"http://127.0.0.1:{port}"
        self.metrics_urls = [f"http://127.0.0.1:{FIRST_METRICS_PORT + number}/metrics" for number in range(workers)]

    def pids(self) -> dict[str, list[int]]:
        """Return the kind of each process, by its command line."""
        found: dict[str, list[int]] = {"api": [], "model": [], "redis": [], "launcher": []}
        for pid in processes.tree(self.launcher):
            found[_service_of(_command_line(pid))].append(pid)
        return found

    def clear_uploads(self) -> None:
        """Remove the files; the folder stays."""
        _clear(self.state / "uploads")


@contextmanager
def _launched(setup: Setup, port: int) -> Iterator[Serve]:
    state = WORKSPACE / "state"
    shutil.rmtree(state / "redis", ignore_errors=True)
    build: list[str | Path] = [sys.executable, "-m", "cli.build_bundle", "--bundles", state / "bundles"]
    subprocess.run(build, cwd=ROOT / "model", check=True, stdout=subprocess.DEVNULL)
    told = setup.environment | {
        "PYTHONPATH": str(ROOT / "deploy"),
        "STATE_DIR": str(state),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "MODEL_WORKERS": str(setup.instances),
        "METRICS_PORT": str(FIRST_METRICS_PORT),
    }
    with (WORKSPACE / "serve.log").open("wb") as log:
        launcher = subprocess.Popen(
            [sys.executable, "-m", "launcher"],
            cwd=ROOT,
            env=environment_with(told),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        target = Serve(launcher.pid, state, port, setup.instances)
        _wait_until_ready(target.url, lambda: launcher.poll() is None, WORKSPACE / "serve.log")
        yield target
        target.clear_uploads()
    finally:
        launcher.send_signal(signal.SIGINT)
        launcher.wait(timeout=STOP_TIMEOUT_S)


class Compose:
    """The containers of a project of its own; their processes are seen from this machine, so Docker runs on it."""

    def __init__(self, project: str, port: int, environment: dict[str, str]) -> None:
        self.project, self.port, self.environment = project, port, environment
        self.url = f"http://127.0.0.1:{port}"
        self.metrics_urls: list[str] = []
        self.roots: dict[str, list[int]] = {}

    def call(self, *arguments: str) -> str:
        """Call docker-compose, and give what it prints."""
        command = ["docker-compose", "-p", self.project, *COMPOSE_FILES, *arguments]
        told = environment_with(self.environment | {"PORT": str(self.port)})
        finished = subprocess.run(command, cwd=ROOT, env=told, capture_output=True, text=True, check=False)
        if finished.returncode != 0:
            raise StressError(f"{' '.join(command)} failed: {finished.stderr.strip()[-500:]}")
        return finished.stdout

    def look(self) -> None:
        """Find each container's first process, and the addresses of the workers' metrics."""
        self.roots, self.metrics_urls = {}, []
        for service in ("api", "model", "redis"):
            for container in self.call("ps", "-q", service).split():
                shown = "{{.State.Pid}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
                pid, *address = _output("docker", "inspect", "--format", shown, container).split()
                self.roots.setdefault(service, []).append(int(pid))
                if service == "model":
                    self.metrics_urls += [f"http://{ip}:{MODEL_METRICS_PORT}/metrics" for ip in address]

    def pids(self) -> dict[str, list[int]]:
        """Return the processes of each service's containers, and of what carries the port into them."""
        found = {
            service: [pid for root in roots for pid in processes.tree(root)] for service, roots in self.roots.items()
        }
        # docker-proxy carries what comes to the published port.
        carriers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        wanted = f"-host-port {self.port} "
        found["docker-proxy"] = [pid for pid in carriers if wanted in _command_line(pid)]
        return found

    def clear_uploads(self) -> None:
        """Remove the files; the folder stays, since it is mounted."""
        _clear(WORKSPACE / "compose" / "uploads")


@contextmanager
def _composed(setup: Setup, port: int, project: str) -> Iterator[Compose]:
    target = Compose(project, port, setup.environment)
    try:
        target.call("build")
        target.call("up", "-d", "--scale", f"model={setup.instances}")
        _wait_until_ready(target.url, lambda: True, WORKSPACE / "compose.log")
        target.look()
        yield target
        target.clear_uploads()
    finally:
        (WORKSPACE / "compose.log").write_text(target.call("logs", "--no-color", "--tail", "200"), encoding="utf-8")
        target.call("down", "--volumes", "--remove-orphans")


def _wait_until_ready(url: str, is_running: Callable[[], bool], log: Path) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until and is_running():
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):  # noqa: S310 - an address of our own
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise StressError(f"{url} did not become ready within {START_TIMEOUT_S:.0f} s; see {log.relative_to(ROOT)}")


def _service_of(command_line: str) -> str:
    for service, sign in (("redis", "redis-server"), ("model", "ml_service"), ("launcher", "-m launcher")):
        if sign in command_line:
            return service
    return "api"


def _command_line(pid: int) -> str:
    try:
        return (processes.PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:  # it has ended
        return ""


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _clear(folder: Path) -> None:
    for path in folder.iterdir() if folder.exists() else ():
        path.unlink(missing_ok=True)
