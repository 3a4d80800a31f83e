"""`make` with a state folder of any name, as a user's shell passes it on."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from launcher import settings, state
from launcher.errors import StateUnusableError
from sightline_testing.plugin import missing
from sightline_testing.redis_server import free_port
from sightline_testing.service import BUNDLES, READY, REPOSITORY
from sightline_testing.waiting import wait_until

NAMES = ("a b", 'it\'s "a" $HOME', "a`b`;c * ä#b\\c")


def make(*words: str, told: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    if shutil.which("make") is None:
        missing("make is not installed")
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "STATE_DIR", "REDIS"))
    }
    command = ["make", "--silent", *words]
    return subprocess.run(
        command, cwd=REPOSITORY, env=inherited | (told or {}), capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", ["word", "environment"])
def test_a_command_works_on_the_folder_of_any_name(name: str, way: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    before = set(REPOSITORY.iterdir())
    words, told = ([f"STATE_DIR={folder}"], {}) if way == "word" else ([], {"STATE_DIR": str(folder)})
    done = make("api-keys", "DO=add alice", *words, told=told)
    assert done.returncode == 0, done.stderr
    assert (folder / "api_keys").read_text().startswith("alice ")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert set(REPOSITORY.iterdir()) == before


@pytest.mark.parametrize("target", ["clean-uploads", "reports-index", "models", "export"])
def test_every_command_takes_a_folder_with_a_blank(target: str, tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    (folder / "feedback").mkdir(parents=True)
    (folder / "bundles").symlink_to(BUNDLES)
    done = make(target, f"STATE_DIR={folder}", f"TO={tmp_path / 'c d'}")
    assert "a" not in {path.name for path in tmp_path.iterdir()}, done.stderr
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "c d").is_dir() == (target == "export")


def test_an_empty_state_dir_is_the_usual_one() -> None:
    done = make("-n", "serve", "STATE_DIR=")
    assert done.returncode == 0
    printed = make("-pn", "help", "STATE_DIR=").stdout
    assert "STATE_DIR := var" in printed


def test_make_serve_runs_in_a_folder_of_any_name_that_is_a_link_and_given_from_here(tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s "a" state $x'
    (tmp_path / "target").mkdir()
    folder.symlink_to(tmp_path / "target")
    (folder / "bundles").symlink_to(BUNDLES)
    given = os.path.relpath(folder, REPOSITORY)
    command = ["make", "--silent", "serve", f"STATE_DIR={given}", f"PORT={free_port()}", "MODEL_WORKERS=1"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "REDIS"))}
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=REPOSITORY, env=inherited, stdout=output, stderr=output)
    try:
        wait_until(lambda: READY in log.read_text() or process.poll() is not None, "the service is ready", 120)
        assert process.poll() is None, log.read_text()
        assert {"uploads", "feedback", "redis", "run", "operator_key"} <= {path.name for path in folder.iterdir()}
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.parametrize("kind", ["file", "dangling link", "below a file"])
def test_a_folder_that_cannot_be_made_is_one_line(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "place"
    if kind == "dangling link":
        place.symlink_to(tmp_path / "nowhere")
    else:
        place.write_text("x")
    told = settings.read({"STATE_DIR": str(place / "below" if kind == "below a file" else place)})
    with pytest.raises(StateUnusableError, match=r"STATE_DIR='.*place.*' cannot be used"):
        state.make_folders(told.state_dir)
