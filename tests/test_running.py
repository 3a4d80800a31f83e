"""`make serve` from the first line to the last process: ready, restarted, refused, stopped."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path

import pytest
import redis

from sightline_testing.client import Client
from sightline_testing.pictures import good, jpeg
from sightline_testing.redis_server import RedisServer, free_port
from sightline_testing.service import (
    REPOSITORY,
    Service,
    environment,
    launch,
    printed,
    running_service,
    stop,
    wait_until_ready,
)

PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose parts are killed, and which stands them all."""
    with running_service(tmp_path_factory.mktemp("service"), {"MODEL_WORKERS": "2"}) as service:
        yield service


@pytest.fixture
def state_dir(service: Service) -> Path:
    assert service.state_dir is not None
    return service.state_dir


def eventually(condition: Callable[[], object], what: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, f"it never came true: {what}"
        time.sleep(0.05)


def programs(state_dir: Path) -> dict[int, str]:
    """Return the command line of every process of this state folder, by its id.

    Told by its environment; Redis writes its title over that, and the title holds the path of its socket.
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


def test_when_the_address_is_told_a_picture_is_answered_and_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    launcher = launch(tmp_path, free_port())
    client = Client(wait_until_ready(tmp_path, launcher))
    assert client.upload("/predict", good("baseline.jpg").content).status == 200
    assert len(programs(tmp_path)) >= 4
    assert stop(launcher) == 0
    assert programs(tmp_path) == {}
    assert printed(tmp_path).endswith("sightline: stopped\n")


def test_stopping_answers_what_is_under_way(tmp_path: Path) -> None:
    with running_service(tmp_path) as service, ThreadPoolExecutor(8) as pool:
        client = Client(service.url)
        assert service.launcher is not None
        sent = [pool.submit(client.upload, "/predict", good("baseline.jpg").content) for _ in range(8)]
        sent[0].result()
        service.launcher.send_signal(signal.SIGTERM)
        for request in sent:
            try:
                assert request.result().status in {200, 503}
            except ConnectionRefusedError:
                continue  # it came after the door was closed
        assert service.launcher.wait(PATIENCE_S) == 0


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
    # The launcher holds the port for the api; which of the processes that share it is told does not matter.
    assert int(told[1]) in programs(state_dir)
    assert told[2] == programs(state_dir)[int(told[1])][: len(told[2])]


def test_two_runs_cannot_share_a_state_folder(service: Service, state_dir: Path) -> None:
    second = launch(state_dir, free_port())
    assert second.wait(PATIENCE_S) == 1
    assert service.launcher is not None
    assert f"{state_dir} is in use by pid {service.launcher.pid}" in printed(state_dir)
    assert Client(service.url).get("/readyz").status == 200


def test_no_process_survives_a_killed_launcher_and_the_next_start_works_at_once(tmp_path: Path) -> None:
    port = free_port()
    launcher = launch(tmp_path, port)
    wait_until_ready(tmp_path, launcher)
    launcher.kill()
    launcher.wait()
    (tmp_path / "launcher.log").unlink()
    again = launch(tmp_path, port)
    try:
        wait_until_ready(tmp_path, again)
    finally:
        assert stop(again) == 0
    eventually(lambda: programs(tmp_path) == {}, "no process is left")


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
    assert service.redis_socket is not None
    with redis.Redis(unix_socket_path=str(service.redis_socket), decode_responses=True) as connection:
        eventually(lambda: streams(connection) == {}, "every stream is empty, and nothing is pending")


def streams(connection: redis.Redis) -> dict[str, int]:
    """Return the length and pending entries of every stream that is not empty."""
    found = {}
    for key in connection.scan_iter(_type="STREAM"):
        pending = sum(group["pending"] for group in connection.xinfo_groups(key))
        if held := connection.xlen(key) + pending:
            found[str(key)] = held
    return found


@pytest.mark.parametrize("victim", ["api", "redis"])
def test_whatever_is_killed_comes_back(service: Service, state_dir: Path, victim: str) -> None:
    client = Client(service.url)
    assert client.upload("/predict", good("baseline.jpg").content).status == 200
    pids = apis(state_dir) if victim == "api" else [pid for pid, line in programs(state_dir).items() if "redis" in line]
    os.kill(min(pids), signal.SIGKILL)
    eventually(lambda: is_answered(client), f"pictures are answered again after the {victim} was killed")


def is_answered(client: Client) -> bool:
    try:
        return client.upload("/predict", good("baseline.jpg").content).status == 200
    except OSError:
        return False


def test_a_redis_that_is_named_is_used_and_left_alone(tmp_path: Path, redis_server: RedisServer) -> None:
    changes = {"REDIS_IP": redis_server.host, "REDIS_PORT": str(redis_server.port)}
    with running_service(tmp_path, changes) as service:
        assert Client(service.url).upload("/predict", good("baseline.jpg").content).status == 200
        assert not any("redis-server" in command for command in programs(tmp_path).values())
    assert redis_server.command("PING") == b"+PONG\r\n"


def test_a_setting_that_cannot_be_used_ends_the_start_in_one_line(tmp_path: Path) -> None:
    launcher = launch(tmp_path, free_port(), {"MODEL_WORKERS": "many"})
    assert launcher.wait(PATIENCE_S) == 1
    assert printed(tmp_path) == "sightline: MODEL_WORKERS='many' is not a whole number from 1 to 256\n"
