"""The one-shot that prepares docker-compose's volumes, while a service uses them."""

import os
import subprocess
import sys
from pathlib import Path

from prepare_volumes import give
from sightline_testing.service import REPOSITORY
from sightline_testing.waiting import wait_until

CHURN = """
import itertools, pathlib, sys
folder = pathlib.Path(sys.argv[1])
for number in itertools.count():
    (folder / f"folder{number}").mkdir()
    (folder / f"{number}.part").write_bytes(b"half")
    (folder / f"{number}.part").rename(folder / f"folder{number}" / "image.jpg")
    (folder / f"folder{number}" / "image.jpg").unlink()
    (folder / f"folder{number}").rmdir()
"""
CHOOSE = """
import pathlib, sys
from prepare_volumes import choose_model
choose_model(pathlib.Path(sys.argv[1]), sys.argv[2])
"""
# Only root may give files away.
OWNER = os.getuid() or 65_534


def test_a_folder_in_which_files_come_and_go_is_given_to_its_owner(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "kept").write_text("x")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with subprocess.Popen([sys.executable, "-c", CHURN, tmp_path]) as program:
        try:
            wait_until(lambda: any(tmp_path.glob("folder*")), "the other program has started")
            for _ in range(500):
                give(tmp_path, OWNER)
            assert program.poll() is None
        finally:
            program.kill()
    kept = [tmp_path, tmp_path / "sub", tmp_path / "sub" / "kept", tmp_path / "dangling"]
    assert {path.lstat().st_uid for path in kept} == {OWNER}


def choose_model(folder: Path, model: str) -> "subprocess.CompletedProcess[str]":
    """Do what the one-shot does in the image, where the packages of model/ are."""
    command = [sys.executable, "-c", CHOOSE, str(folder), model]
    told = os.environ | {"PYTHONPATH": f"{REPOSITORY / 'deploy'}:{REPOSITORY / 'model'}"}
    return subprocess.run(command, env=told, capture_output=True, text=True, check=False)


def test_a_model_that_the_image_does_not_carry_is_not_chosen(tmp_path: Path) -> None:
    (tmp_path / "active").write_text("my/1\n")
    done = choose_model(tmp_path, "lite2")
    assert done.returncode == 1
    assert "MODEL='lite2': the image carries another model. Build it: MODEL=lite2 docker-compose" in done.stderr
    (tmp_path / "efficientnet-lite2" / "1-int8").mkdir(parents=True)
    assert choose_model(tmp_path, "lite2").returncode == 0
    assert (tmp_path / "active").read_text() == "efficientnet-lite2/1-int8\n"
