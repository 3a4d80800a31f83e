"""A running service with bundles, uploads and reports of its own, and the operator's commands on them."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from sightline_testing.client import Client
from sightline_testing.reviewed import FeedbackFiles
from sightline_testing.service import BUNDLES, REPOSITORY, Service, running_service

MODEL = "efficientnet-lite0"
BASE = f"{MODEL}/1-int8"
COMPILED, COMPILED_KEY = "compiled", ".compiled-key"
COMMAND_TIMEOUT_S = 600.0
# What a worker and `improve` compute of a version at its first use, which would be that of every test.
FIRST_USE = """
import sys
from pathlib import Path
from inference import bundle, model
from training.features import FeatureExtractor
from training.gathering import SYNTHETIC_IMAGES
from training.progress import silent
folder = Path(sys.argv[1])
model.load(folder, "openvino", streams=1, cores=1)
FeatureExtractor(bundle.load(folder), "openvino", 1).of_synthetic(SYNTHETIC_IMAGES, silent)
"""


@dataclass(frozen=True)
class FeedbackLoop:
    """The service, its files, and the settings of its operator's commands."""

    service: Service
    files: FeedbackFiles
    environment: Mapping[str, str]

    @property
    def bundles(self) -> Path:
        """The folder of the service's bundles."""
        return Path(self.environment["BUNDLES_FOLDER"])

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of model/ to its end."""
        return subprocess.run(
            [sys.executable, "-m", *words],
            cwd=REPOSITORY / "model",
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
            start_new_session=True,  # as deploy/operate.py does
        )

    def done(self, *words: str) -> str:
        """Run a command that has to succeed; return what it printed."""
        finished = self.command(*words)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    def ask(self, content: bytes) -> tuple[str, str]:
        """The prediction for an image, and its version."""
        path = "/predict?" + urlencode({"top_k": 1})
        response = Client(self.service.url).send("POST", path, content, {"Content-Type": "image/jpeg"})
        assert response.status == 200, response.text
        answer = response.json()
        return answer["prediction"], answer["model_version"]


def copy_default_bundle(bundles: Path, source: Path = BUNDLES) -> None:
    """Make a folder of bundles that holds the default one alone, with what was computed of it so far."""
    _use_once(source)
    shutil.copytree(source / BASE, bundles / BASE, ignore=shutil.ignore_patterns(".*"), copy_function=_copy)
    with suppress(FileNotFoundError):
        shutil.copy2(source / COMPILED_KEY, bundles)  # without it, they are compiled again
    (bundles / "active").write_text(f"{BASE}\n")


def _copy(source: str, target: str) -> None:
    """Link what an engine has compiled, tens of megabytes that are replaced and never changed; copy anything else."""
    if Path(source).parent.name == COMPILED:
        with suppress(OSError):  # on another file system
            os.link(source, target)
            return
    shutil.copy2(source, target)


def _use_once(bundles: Path) -> None:
    """Store what is computed of the default version next to it, once for all processes."""
    with (bundles / ".first-use").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not list((bundles / BASE).glob("compiled/features-*")):
            command = [sys.executable, "-c", FIRST_USE, str(bundles / BASE)]
            subprocess.run(command, cwd=REPOSITORY / "model", check=True)


@contextmanager
def running_loop(folder: Path, changes: Mapping[str, str] | None = None) -> Iterator[FeedbackLoop]:
    """Run a service whose only version is the default one, until the block ends."""
    bundles, state = folder / "bundles", folder / "state"
    copy_default_bundle(bundles)
    told = {"BUNDLES_FOLDER": str(bundles), **(changes or {})}
    with running_service(state, {"MODEL_WORKERS": "2", **told}) as service:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": ".",
            "OPENBLAS_NUM_THREADS": "1",  # more of them wait for each other, spinning, where other work has the cores
            "COMMAND_NICENESS": "0",
            "REDIS_SOCKET": str(service.redis_socket),
            "UPLOAD_FOLDER": str(state / "uploads"),
            "FEEDBACK_FILEPATH": str(state / "feedback" / "feedback"),
            **told,
        }
        yield FeedbackLoop(service, FeedbackFiles(state / "uploads", state / "feedback"), environment)
