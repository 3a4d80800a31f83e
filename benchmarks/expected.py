"""What is right: the true label of each check picture where it is known, and direct inference's for every one."""

import csv
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks import settings
from benchmarks.load import picture_folder, picture_list
from benchmarks.systems import Pipeline, Setting

# Without labelled photographs the check uses as many of the load's own pictures.
CHECK_PICTURES = 100


@dataclass(frozen=True)
class CheckPictures:
    """The pictures that every system must answer rightly before it is timed, and their true labels if known."""

    paths: list[Path]
    truth: dict[str, str]


def check_pictures() -> CheckPictures:
    """Return the labelled photographs, or pictures of the load without labels."""
    photographs = sorted(settings.IMAGENET_DIR.glob("*.JPEG"))
    if not photographs:
        return CheckPictures(sorted(picture_folder("photographs").glob("*.jpg"))[:CHECK_PICTURES], {})
    with (settings.IMAGENET_DIR / "classes.csv").open(encoding="utf-8", newline="") as file:
        labels = {row["wnid"]: row["label"] for row in csv.DictReader(file)}
    return CheckPictures(photographs, {path.name: labels[path.name.partition("_")[0]] for path in photographs})


def direct_labels(pipeline: Pipeline, setting: Setting, pictures: CheckPictures) -> dict[str, str]:
    """Return what the pipeline answers without any server, by file name."""
    listing = picture_list("check", pictures.paths)
    labels: dict[str, str] = json.loads(run_direct(pipeline, setting, "labels", str(listing)))
    return labels


def run_direct(pipeline: Pipeline, setting: Setting, *arguments: str) -> str:
    """Run the direct inference of a pipeline in its own environment and return what it prints."""
    told = {"BENCH_BUNDLE": str(setting.bundle)}
    python = str(settings.WORKSPACE / "venv" / "bin" / "python")
    if pipeline is Pipeline.OWN:
        told["PYTHONPATH"] = str(settings.ROOT / "model")
        python = sys.executable
    module = f"benchmarks.{'own' if pipeline is Pipeline.OWN else 'peers'}.direct"
    finished = subprocess.run(
        [python, "-m", module, *arguments],
        cwd=settings.ROOT,
        env=settings.environment_with(told),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return finished.stdout.splitlines()[-1]
