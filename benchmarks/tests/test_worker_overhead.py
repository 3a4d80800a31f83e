"""The measurement of a worker's overhead runs on a few images and prints each part."""

import os
import re
import subprocess
import sys
from pathlib import Path

from sightline_testing.sample_images import jpeg

ROOT = Path(__file__).resolve().parents[2]


def test_each_part_of_a_jobs_cost_is_printed(tmp_path: Path) -> None:
    for seed in range(2):
        (tmp_path / f"{seed}.jpg").write_bytes(jpeg(seed=seed))
    command = [sys.executable, "-m", "benchmarks.own.worker_overhead", str(tmp_path), "--jobs", "16", "--rounds", "1"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": "model:."}, capture_output=True, text=True, check=True
    )
    beside, decode, inference = map(float, re.findall(r"([\d.]+) ms", done.stdout.splitlines()[0]))
    assert min(beside, decode, inference) > 0
