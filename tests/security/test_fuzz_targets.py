"""The targets of `make fuzz` fit the code that they are about: each takes its own seeds, without the fuzzer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sightline_testing.hostile import fuzz_seeds
from sightline_testing.service import REPOSITORY

HERE = Path(__file__).parent


@pytest.mark.parametrize("target", fuzz_seeds.TARGETS)
def test_a_target_takes_its_seeds(target: str) -> None:
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", HERE / "programs" / "replay_seeds.py", target],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY / fuzz_seeds.ROOTS[target])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert int(finished.stdout) > 3


def test_every_target_has_seeds_and_every_seed_a_target() -> None:
    assert {path.stem.removeprefix("fuzz_") for path in (HERE / "fuzz").glob("fuzz_*.py")} == set(fuzz_seeds.TARGETS)
