"""The recipe from PyTorch, word for word as docs/own-models.md has it: trained, exported, imported, served."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline_testing.feedback_loop import FeedbackLoop, running_loop
from sightline_testing.sample_images import encode
from sightline_testing.service import REPOSITORY

PAGE = REPOSITORY / "docs" / "own-models.md"
HEIGHT, WIDTH = 97, 131
BINARIES = Path(sys.executable).parent


def block(language: str) -> str:
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    finished = subprocess.run(
        [sys.executable, "-c", block("python")], cwd=folder, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert int(re.findall(r"(\d+)% right", finished.stdout)[0]) > 90
    return folder


def image(label: str, waves: float) -> bytes:
    """A file of what the recipe trains on."""
    along = np.linspace(0, 1, HEIGHT)[:, None] if label == "across" else np.linspace(0, 1, WIDTH)[None, :]
    noise = np.random.default_rng(round(waves)).normal(0, 25, (HEIGHT, WIDTH, 3))
    values = 127.5 * (1 + np.broadcast_to(np.sin(along * waves), (HEIGHT, WIDTH)))[..., None] + noise
    return encode(Image.fromarray(values.clip(0, 255).astype(np.uint8)), "PNG")


def commands(loop: FeedbackLoop, folder: Path) -> str:
    told = os.environ | {
        "PATH": f"{BINARIES}:{os.environ['PATH']}",
        "STATE_DIR": str(loop.service.state_dir),
        "BUNDLES_FOLDER": str(loop.bundles),
    }
    finished = subprocess.run(
        ["sh", "-ec", block("sh")], cwd=folder, env=told, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_the_network_of_the_recipe_is_served_by_the_running_workers(exported: Path, tmp_path: Path) -> None:
    with running_loop(tmp_path / "service") as loop:
        said = commands(loop, exported)
        assert "'image', float32 (N, 3, 97, 131) -> 2 classes (logits)" in said
        assert "stripes/1-fp32 is active; 2 workers serve it after" in said
        for label in ("across", "down"):
            for waves in (20, 35, 50, 65):
                assert loop.ask(image(label, waves)) == (label, "stripes/1-fp32")


def test_the_pinned_versions_are_those_that_are_installed_for_this_suite() -> None:
    [pinned] = re.findall(r"^TORCH := (.+)$", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    assert f"pip install {pinned}`" in PAGE.read_text()
