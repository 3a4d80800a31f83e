"""A network of two classes and an odd size: imported, served by the same workers, promoted while they run."""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sightline_testing import stripes
from sightline_testing.feedback_loop import BASE, FeedbackLoop
from sightline_testing.service import REPOSITORY

COMMAND = Path(sys.executable).with_name("sightline")
LABELS = stripes.LABELS


@pytest.fixture(scope="module")
def loop(two_workers: FeedbackLoop) -> FeedbackLoop:
    return two_workers


def models(loop: FeedbackLoop, folder: Path, *words: str) -> str:
    """What `sightline models` prints, called in this folder."""
    assert loop.service.state_dir is not None
    told = os.environ | {"STATE_DIR": str(loop.service.state_dir), "BUNDLES_FOLDER": str(loop.bundles)}
    finished = subprocess.run(
        [COMMAND, "models", *words], cwd=folder, env=told, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_a_network_of_ones_own_is_imported_promoted_and_served_without_a_restart(
    loop: FeedbackLoop, tmp_path: Path
) -> None:
    (tmp_path / "stripes.onnx").write_bytes(stripes.network())
    stripes.write_labels(tmp_path / "labels.txt")
    usual = stripes.write_images(tmp_path / "usual", 10)
    before = loop.ask(stripes.image("down", 50))
    assert before[1] == BASE
    words = ("stripes.onnx", "--labels", "labels.txt", "--preset", "torchvision")
    said = models(loop, tmp_path, "import", *words, "--quantize", "--calibration", usual.name)
    assert "Wrote stripes/1-int8" in said
    for version in ("stripes/1-fp32", "stripes/1-int8"):
        promoted = models(loop, tmp_path, "promote", version, "--force")
        assert f"{version} is active; 2 workers serve it after" in promoted
        for label in LABELS:
            for seed in (60, 61):
                assert loop.ask(stripes.image(label, seed)) == (label, version)
    assert "active  stripes/1-int8" in models(loop, tmp_path)
    models(loop, tmp_path, "rollback")
    models(loop, tmp_path, "rollback")
    assert loop.ask(stripes.image("down", 50)) == before
    assert loop.service.launcher is not None
    assert loop.service.launcher.poll() is None
    assert loop.service.state_dir is not None
    assert "starting it again" not in (loop.service.state_dir / "launcher.log").read_text()


def test_make_does_the_same(loop: FeedbackLoop, tmp_path: Path) -> None:
    if shutil.which("make") is None:
        pytest.fail("make is not installed")
    (tmp_path / "stripes.onnx").write_bytes(stripes.network())
    labels = stripes.write_labels(tmp_path / "labels.txt")
    words = f"import {tmp_path / 'stripes.onnx'} --labels {labels} --preset keras-caffe --name made"
    told = os.environ | {"BUNDLES_FOLDER": str(loop.bundles)}
    finished = subprocess.run(
        ["make", "--silent", "models", f"DO={words}", f"STATE_DIR={loop.service.state_dir}"],
        cwd=REPOSITORY,
        env=told,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert "Wrote made/1-fp32" in finished.stdout


def test_the_page_offers_the_families_that_the_command_knows() -> None:
    known = tomllib.loads((REPOSITORY / "model" / "importing" / "presets.toml").read_text())
    tree = ast.parse((REPOSITORY / "api" / "teach" / "imports.py").read_text())
    [offered] = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "PRESETS"
    ]
    assert list(offered) == list(known)
