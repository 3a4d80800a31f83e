"""Runs the direct inference of a pipeline, and the standing queue, each in the environment that has what it needs."""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from benchmarks import settings
from benchmarks.results import Row
from benchmarks.systems import Pipeline, Setting

OWN_IMPORT_ROOTS = f"{settings.ROOT / 'model'}:{settings.ROOT / 'deploy'}"


def direct_labels(pipeline: Pipeline, setting: Setting, images: Path) -> dict[str, str]:
    """Return what the pipeline answers without any server for a list of images, by file name."""
    labels: dict[str, str] = json.loads(_run_direct(pipeline, setting, "labels", str(images)))
    return labels


def direct_speed(pipeline: Pipeline, setting: Setting, images: Path, seconds: float) -> list[Row]:
    """Return how fast each part of the pipeline runs on all cores."""
    rows: list[Row] = json.loads(_run_direct(pipeline, setting, "speed", str(images), str(seconds)))
    return rows


def standing_queue(root: int, seconds: float, depths: Iterable[int]) -> list[Row]:
    """Return what a job costs the running system (its root process) at each depth of the queue."""
    arguments = [str(root), str(seconds), *map(str, depths)]
    rows: list[Row] = json.loads(_run(sys.executable, "benchmarks.own.standing_queue", arguments, {}))
    return rows


def _run_direct(pipeline: Pipeline, setting: Setting, *arguments: str) -> str:
    told = {"BENCH_BUNDLE": str(setting.bundle)}
    if pipeline is Pipeline.OWN:
        return _run(sys.executable, "benchmarks.own.direct", arguments, told)
    return _run(str(settings.PEER_PYTHON), "benchmarks.peers.direct", arguments, told)


def _run(python: str, module: str, arguments: Iterable[str], told: dict[str, str]) -> str:
    finished = subprocess.run(
        [python, "-m", module, *arguments],
        cwd=settings.ROOT,
        env=settings.environment_with({"PYTHONPATH": OWN_IMPORT_ROOTS} | told),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    # Libraries may greet on stdout before.
    return finished.stdout.splitlines()[-1]
