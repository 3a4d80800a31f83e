"""The environment of the systems compared with, separate from the project's own, installed on first use."""

import hashlib
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from benchmarks import settings

REQUIREMENTS = settings.ROOT / "benchmarks" / "requirements"
PIP_OPTIONS = ("--require-hashes", "--no-deps", "--only-binary", ":all:", "--retries", "10", "--timeout", "60")


def prepare_peers(own_environments: Iterable[str] = ()) -> None:
    """Install what the requirements name, if that changed; of the peers with an environment of their own, only these.

    One that cannot be installed here fails in its own step.
    """
    _prepare("", REQUIREMENTS / "peers.txt")
    for name in own_environments:
        try:
            _prepare(name, REQUIREMENTS / f"{name}.txt")
        except subprocess.CalledProcessError as error:
            print(f"{name} cannot be installed here: {error}", flush=True)


def _prepare(name: str, requirements: Path) -> None:
    python = settings.python_of(name)
    folder = python.parent.parent
    stamp = folder / "requirements.sha256"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    what = name or "the systems to compare with"
    print(f"Installing {what} into {folder.relative_to(settings.ROOT)} ...", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PIP_OPTIONS, "-r", requirements], check=True)
    stamp.write_text(digest)
