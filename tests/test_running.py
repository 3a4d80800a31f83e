"""`make serve` from the first line to the last process: ready, restarted, refused, stopped."""

import contextlib
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis

from sightline_testing.client import Client
from sightline_testing.faults.system import parent_of
from sightline_testing.redis_server import RedisServer, free_port
from sightline_testing.sample_images import good, jpeg
from sightline_testing.service import (
    REPOSITORY,
    Service,
    environment,
    launch,
    message_of,
    printed,
    running_service,
    stop,
    wait_until_ready,
)
from sightline_testing.waiting import ended_within, suspend

PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose parts are killed, and which stands them all."""
    # A machine that is slow by chance answers within this.
    changes = {"MODEL_WORKERS": "2", "REQUEST_TIMEOUT_S": "60"}
    with running_service(tmp_path_factory.mktemp("service"), changes) as service:
        yield service


@pytest.fixture
def state_dir(service: Service) -> Path:
    assert service.state_dir is not None
    return service.state_dir


class ServiceManager:
    """A socket in the place of systemd's, and the received states, which are read immediately as by systemd."""

    def __init__(self, path: Path) -> None:
        self.environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "1000000"}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._reader = threading.Thread(target=self._read)
        self.states: list[list[str]] = []

    def __enter__(self) -> "ServiceManager":
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Read what is left."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", self._socket.getsockname())
        self._reader.join(PATIENCE_S)
        self._socket.close()

    def wait_for(self, state: str, after: str) -> None:
        """Come back when there is a state behind another one."""

        def has_come() -> bool:
            states = [each[0] for each in self.states]
            return after in states and state in states[states.index(after) :]

        eventually(has_come, f"{state} after {after}")

    def _read(self) -> None:
        while state := self._socket.recv(4096).decode():
            self.states.append(state.split("\n"))


def eventually(condition: Callable[[], object], what: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, f"it never came true: {what}"
        time.sleep(0.05)


def programs(state_dir: Path) -> dict[int, str]:
    """Return the command line of every process of this state folder, by its id.

    Identified by its environment; Redis overwrites that with its title, which holds the path of its socket.
    """
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if f"STATE_DIR={state_dir}".encode() in environment or f"unixsocket:{state_dir}/" in command:
            found[int(process.name)] = command
    return found


def workers(state_dir: Path) -> list[int]:
    return sorted(pid for pid, command in programs(state_dir).items() if "ml_service.py" in command)


def apis(state_dir: Path) -> list[int]:
    return sorted(pid for pid, command in programs(state_dir).items() if "gunicorn" in command)


def test_when_the_address_is_told_an_image_is_answered_and_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    with ServiceManager(tmp_path / "notify") as manager:
        launcher = launch(tmp_path, free_port(), manager.environment)
        address = wait_until_ready(tmp_path, launcher)
        assert Client(address).upload("/predict", good("baseline.jpg").content).status == 200
        assert len(programs(tmp_path)) >= 4
        manager.wait_for("WATCHDOG=1", after="READY=1")
        assert stop(launcher) == 0
    assert programs(tmp_path) == {}
    assert message_of(printed(tmp_path).splitlines()[-1]) == "stopped"
    assert manager.states[-1] == ["STOPPING=1", "STATUS=stopping"]
    assert ["READY=1", f"STATUS=serving at {address}"] in manager.states
    assert {each[0] for each in manager.states} <= {"READY=1", "WATCHDOG=1", "STOPPING=1"}, "gunicorn reports nothing"


def test_stopping_answers_what_is_under_way_and_leaves_a_redis_that_was_named_alone(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    changes = {"REDIS_IP": redis_server.host, "REDIS_PORT": str(redis_server.port)}
    with running_service(tmp_path, changes) as service, ThreadPoolExecutor(8) as pool:
        client = Client(service.url)
        assert service.launcher is not None
        sent = [pool.submit(client.upload, "/predict", good("baseline.jpg").content) for _ in range(8)]
        assert sent[0].result().status == 200
        assert not any("redis-server" in command for command in programs(tmp_path).values())
        service.launcher.send_signal(signal.SIGTERM)
        for request in sent:
            try:
                assert request.result().status in {200, 503}
            except ConnectionRefusedError:
                continue  # it came after the door was closed
        assert service.launcher.wait(PATIENCE_S) == 0
    assert redis_server.command("PING") == b"+PONG\r\n"


def test_a_second_start_says_that_the_port_is_taken_and_by_what(
    service: Service, state_dir: Path, tmp_path: Path
) -> None:
    port = int(service.url.rpartition(":")[2])
    second = subprocess.run(
        [sys.executable, "-m", "launcher"],
        env=environment(tmp_path / "second", port),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert second.returncode == 1
    told = re.search(rf"Port {port} of 127\.0\.0\.1 is taken by pid (\d+) \((.*)\)\.", second.stdout)
    assert told is not None, second.stdout
    # The launcher holds the port for the api; any of the processes that share it may get the request.
    assert int(told[1]) in programs(state_dir)
    assert told[2] == programs(state_dir)[int(told[1])][: len(told[2])]


def test_two_runs_cannot_share_a_state_folder(service: Service, state_dir: Path) -> None:
    second = launch(state_dir, free_port())
    assert second.wait(PATIENCE_S) == 1
    assert service.launcher is not None
    assert f"{state_dir} is in use by pid {service.launcher.pid}" in printed(state_dir)
    assert Client(service.url).get("/readyz").status == 200


class NextStart(NamedTuple):
    """A start on a terminal after one whose launcher was killed: what it wrote until Ctrl-C, and its exit status."""

    state_dir: Path
    written: str
    status: int


@pytest.fixture(scope="module")
def next_start(tmp_path_factory: pytest.TempPathFactory) -> NextStart:
    state_dir, port = tmp_path_factory.mktemp("next"), free_port()
    launcher = launch(state_dir, port)
    wait_until_ready(state_dir, launcher)
    launcher.kill()
    launcher.wait()
    return NextStart(state_dir, *on_a_terminal(environment(state_dir, port)))


def on_a_terminal(told: dict[str, str]) -> tuple[str, int]:
    """Run the launcher until it has shown where the key is; return what it has written, and its exit status."""
    ours, theirs = pty.openpty()
    launcher = subprocess.Popen(
        [sys.executable, "-m", "launcher"], env=told, stdout=theirs, stderr=theirs, cwd=REPOSITORY
    )
    os.close(theirs)
    text, is_told = "", False
    # The last process closes it, which is an OSError here.
    with ended_within(launcher, "the launcher has stopped", 2 * PATIENCE_S), contextlib.suppress(OSError):
        while piece := os.read(ours, 4096).decode():
            text += piece
            if not is_told and "Operator key" in text and text.endswith("\n"):
                is_told = True
                launcher.terminate()
    os.close(ours)
    return text, launcher.wait(PATIENCE_S)


def test_no_process_survives_a_killed_launcher_and_the_next_start_works_at_once(next_start: NextStart) -> None:
    assert "sightline: ready: " in next_start.written
    assert next_start.status == 0
    eventually(lambda: programs(next_start.state_dir) == {}, "no process is left")


def test_on_a_terminal_lines_are_plain_and_the_key_is_shown(next_start: NextStart) -> None:
    [line] = [line.strip() for line in next_start.written.splitlines() if "Operator key" in line]
    assert line.startswith("sightline: ")
    assert line.endswith(f": {(next_start.state_dir / 'operator_key').read_text()}")


def test_a_killed_worker_costs_no_request_and_leaves_nothing_in_redis(service: Service, state_dir: Path) -> None:
    client = Client(service.url)
    contents = [jpeg(seed=seed) for seed in range(1, 9)]
    wanted = [client.upload("/predict", content).json()["prediction"] for content in contents]
    before = workers(state_dir)
    with ThreadPoolExecutor(32) as pool:
        sent = [pool.submit(client.upload, "/predict", content) for content in islice(cycle(contents), 1000)]
        sent[200].result()
        os.kill(before[0], signal.SIGKILL)
        responses = [request.result() for request in sent]
    assert [response.status for response in responses] == [200] * 1000
    assert [response.json()["prediction"] for response in responses] == list(islice(cycle(wanted), 1000))
    eventually(lambda: len(workers(state_dir)) == 2 and workers(state_dir) != before, "the killed worker is replaced")
    with connected(service) as connection:
        eventually(lambda: streams(connection) == {}, "every stream is empty, and nothing is pending")


def connected(service: Service) -> redis.Redis:
    assert service.redis_socket is not None
    return redis.Redis(unix_socket_path=str(service.redis_socket), decode_responses=True)


def streams(connection: redis.Redis) -> dict[str, int]:
    """Return the length and pending entries of every stream that is not empty."""
    found = {}
    for key in connection.scan_iter(_type="STREAM"):
        pending = sum(group["pending"] for group in connection.xinfo_groups(key))
        if held := connection.xlen(key) + pending:
            found[str(key)] = held
    return found


def test_requests_in_progress_are_answered_although_the_master_of_the_api_is_killed(
    service: Service, state_dir: Path
) -> None:
    client = Client(service.url)
    with connected(service) as connection, ThreadPoolExecutor(8) as pool:
        with held(workers(state_dir)):
            sent = [pool.submit(client.upload, "/predict", jpeg(seed=seed)) for seed in range(101, 109)]
            eventually(lambda: sum(streams(connection).values()) >= 8, "the jobs are in the queue")
            os.kill(master_of_the_api(service), signal.SIGKILL)
            eventually(lambda: "api ended (signal 9" in printed(state_dir), "the launcher has noticed")
        assert [request.result().status for request in sent] == [200] * 8
    # Whether an orphan or its successor accepts a request, it is answered.
    assert client.upload("/predict", good("baseline.jpg").content).status == 200


def master_of_the_api(service: Service) -> int:
    """Return the process of the api that the launcher has started: the parent of all others."""
    assert service.launcher is not None
    assert service.state_dir is not None
    return next(pid for pid in apis(service.state_dir) if parent_of(pid) == service.launcher.pid)


@contextlib.contextmanager
def held(pids: list[int]) -> Iterator[None]:
    """Stop processes for the length of the block."""
    for pid in pids:
        suspend(pid)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_a_killed_redis_comes_back(service: Service, state_dir: Path) -> None:
    client = Client(service.url)
    assert client.upload("/predict", good("baseline.jpg").content).status == 200
    [pid] = [pid for pid, line in programs(state_dir).items() if "redis" in line]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: is_answered(client), "images are answered again after Redis was killed")


def is_ready(client: Client) -> bool:
    try:
        return client.get("/readyz").status == 200
    except OSError:
        return False


def is_answered(client: Client) -> bool:
    try:
        return client.upload("/predict", good("baseline.jpg").content).status == 200
    except OSError:
        return False


def test_a_setting_that_cannot_be_used_ends_the_start_in_one_line(tmp_path: Path) -> None:
    launcher = launch(tmp_path, free_port(), {"MODEL_WORKERS": "many"})
    assert launcher.wait(PATIENCE_S) == 1
    [line] = printed(tmp_path).splitlines()
    assert message_of(line) == "MODEL_WORKERS='many' is not a whole number from 1 to 256"
    assert json.loads(line)["level"] == "ERROR"


def test_each_line_is_an_object_and_none_holds_the_operators_key(tmp_path: Path) -> None:
    changes = {"ACCESS_LOG": "1", "REDIS_HOST": "misspelt", "MODEL_WORKERS": "1", "LOG_LEVEL": "debug"}
    with running_service(tmp_path, changes) as service:
        client = Client(service.url, {"User-Agent": 'a "client"/1'})
        answer = client.upload("/predict", good("baseline.jpg").content)
        assert client.upload("/predict", b"no image", "notes.txt").status == 400
        [worker] = workers(tmp_path)
        os.kill(worker, signal.SIGKILL)
        eventually(lambda: workers(tmp_path) not in ([], [worker]), "the worker is started again")
        stopped = master_of_the_api(service)
        os.kill(stopped, signal.SIGTERM)
        # A successor that is ended as it starts would leave half a line.
        eventually(lambda: stopped not in apis(tmp_path) and is_ready(client), "a successor is ready")
    lines = [parsed(line) for line in printed(tmp_path).splitlines()]
    assert [line for line in lines if not {"time", "level", "logger", "pid", "message"} <= line.keys()] == []
    assert {"launcher", "ml_service", "gunicorn.error", "gunicorn.access"} <= {line["logger"] for line in lines}
    assert (tmp_path / "operator_key").read_text() not in printed(tmp_path)
    assert any(f"see {tmp_path / 'operator_key'}" in line["message"] for line in lines)
    assert any("did you mean REDIS_IP?" in line["message"] for line in lines)
    first, second = [line for line in lines if line.get("method") == "POST"]
    assert (first["status"], first["bytes"], first["user_agent"]) == (200, len(answer.body), 'a "client"/1')
    assert (second["status"], bool(second["error_code"])) == (400, True)


def parsed(line: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(line)
    except ValueError:
        pytest.fail(f"no JSON object: {line!r}")
    return found
