"""The exercise's own tests, dropped into copies of api/ and model/, are judged by pytest's defaults, not by ours."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sightline_testing import exercise
from sightline_testing.sample_images import good
from sightline_testing.service import BUNDLES, REPOSITORY

TESTS = Path(exercise.__file__).parent
IGNORED = shutil.ignore_patterns("__pycache__", ".*_cache", ".hypothesis", "static", "feedback")


@pytest.mark.parametrize("has_our_tests", [True, False], ids=["next to our tests", "in place of our tests"])
@pytest.mark.parametrize("root", ["api", "model"])
def test_the_exercises_tests_pass(root: str, has_our_tests: bool, tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / root, tmp_path / root, ignore=IGNORED)
    # pytest searches for settings in the folders above, too.
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    tests = tmp_path / root / "tests"
    if not has_our_tests:
        shutil.rmtree(tests)
        tests.mkdir()
    shutil.copy(TESTS / f"{root}_exercise.py", tests / f"test_{root}.py")
    (tests / "image.png").write_bytes(good("colour.png").content)
    arguments = ["tests"] if not has_our_tests else [f"tests/test_{root}.py"]
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=tmp_path / root,
        env=os.environ | {"PYTHONPATH": ".", "BUNDLES_FOLDER": str(BUNDLES)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert " passed" in finished.stdout
    assert "error" not in finished.stdout.lower()
