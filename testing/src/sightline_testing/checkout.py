"""A checkout of a test's own, a service that runs from it, and all that the examples of the documentation expect."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline_testing.client import Client
from sightline_testing.drawings import drawing_jpeg
from sightline_testing.feedback_loop import BASE, copy_default_bundle
from sightline_testing.reviewed import FeedbackFiles
from sightline_testing.sample_images import good, jpeg
from sightline_testing.service import BUNDLES, REPOSITORY, Service, running_service
from sightline_testing.stripes import network, write_images, write_labels

KIND = "sheet_music"
# What examples import, by the names of their files.
NETWORKS = ("my", "stripes", "resnet50", "vit")
# The variables that `make` sets for its commands; a nested `make` must not get them.
_OF_MAKE = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "SUITES", "STATE_DIR"}
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Checkout:
    """A folder with the repository's files and a `var` of its own, from which a service runs."""

    folder: Path
    service: Service

    @property
    def operator_key(self) -> str:
        """The key to what is for the operator alone."""
        return (self.folder / "var" / "operator_key").read_text()

    def run(self, script: str) -> "subprocess.CompletedProcess[str]":
        """Run a script in the folder as its user would."""
        # Commands find the checkout by their own place, which is that of the files that this one links to.
        state = str(self.folder / "var")
        told = {"SIGHTLINE_URL": self.service.url, "KEY": self.operator_key, "STATE_DIR": state}
        return shell(self.folder, script, told)

    def forget_networks(self) -> None:
        """Remove the bundles that examples have imported, so that the next one can."""
        for name in NETWORKS:
            shutil.rmtree(self.folder / "var" / "bundles" / name, ignore_errors=True)

    def predicted(self) -> str:
        """Have an image named, and return the prediction's id."""
        path, headers = "/predict?top_k=1", {"Content-Type": "image/jpeg"}
        return str(Client(self.service.url).send("POST", path, jpeg(), headers).json()["prediction_id"])


def report(url: str, prediction_id: str) -> str:
    """Report a prediction to a service, and return the report's id."""
    body = json.dumps({"prediction_id": prediction_id, "label": "lynx"}).encode()
    response = Client(url).send("POST", "/feedback", body, JSON)
    assert response.status == 201, response.text
    answer: dict[str, Any] = response.json()
    return str(answer["report_id"])


def make_checkout(folder: Path) -> Path:
    """Make a folder that is like a fresh checkout after its set-up; `var` holds the default bundle alone."""
    folder.mkdir(parents=True)
    for entry in REPOSITORY.iterdir():
        if entry.name not in {"var", "bundles", "feedback", "uploads", ".git"}:
            (folder / entry.name).symlink_to(entry)
    copy_default_bundle(folder / "var" / "bundles")
    return folder


@contextmanager
def running_checkout(folder: Path) -> Iterator[Checkout]:
    """Run a service from a checkout with images and reviewed reports, until the block ends."""
    make_checkout(folder)
    _put_images(folder)
    _put_networks(folder)
    state = folder / "var"
    FeedbackFiles(state / "uploads", state / "feedback").accept((drawing_jpeg(KIND, seed), KIND) for seed in range(6))
    with running_service(state, settings(state)) as service:
        yield Checkout(folder, service)


def settings(state: Path) -> dict[str, str]:
    """The settings of a small service for one test."""
    return {"BUNDLES_FOLDER": str(state / "bundles"), "MODEL_WORKERS": "1", "REQUEST_TIMEOUT_S": "60"}


def _put_images(folder: Path) -> None:
    """Put the images there that the examples speak of: cat.jpg, PHOTOS/, ~/photographs/ (`~` is in the folder)."""
    photographs = folder / "home" / "photographs" / KIND
    for place in (folder / "PHOTOS", photographs):
        place.mkdir(parents=True)
    for path in (folder / "cat.jpg", folder / "PHOTOS" / "cat.jpg"):
        path.write_bytes(good("baseline.jpg").content)
    for seed in range(3):
        (photographs / f"{seed}.jpg").write_bytes(drawing_jpeg(KIND, 2000 + seed))


def _put_networks(folder: Path) -> None:
    """Put the networks there that the examples import, and labelled images of the stripes that they know."""
    for name in ("my", "stripes"):
        (folder / f"{name}.onnx").write_bytes(network())
    write_labels(folder / "labels.txt")
    write_images(folder / "TEST", 3)
    # A network of as many classes as ImageNet has, at 224 by 224, whichever it is: a small one is imported sooner.
    labels = (BUNDLES / BASE / "labels.txt").read_text().splitlines()
    content = network(size=(224, 224), classes=len(labels))
    (folder / "resnet50.onnx").write_bytes(content)
    _put_folder_of_a_library(folder / "vit", content, labels)


def _put_folder_of_a_library(folder: Path, content: bytes, labels: list[str]) -> None:
    """Put a network with its configurations into a folder as Hugging Face's exporter does."""
    folder.mkdir()
    (folder / "model.onnx").write_bytes(content)
    (folder / "config.json").write_text(json.dumps({"id2label": dict(enumerate(labels))}))
    processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": 224, "width": 224}}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))


def environment(folder: Path) -> dict[str, str]:
    """Return what a user of the folder has in the environment: the set-up's commands on the path, a home, no `make`."""
    inherited = {name: value for name, value in os.environ.items() if name not in _OF_MAKE}
    return inherited | {"HOME": str(folder / "home"), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def shell(folder: Path, script: str, told: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run a script in a folder, which stops at the first command that fails."""
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment(folder) | dict(told),
        capture_output=True,
        text=True,
        check=False,
    )
