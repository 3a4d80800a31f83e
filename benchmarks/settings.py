"""The settings of the servers under test and of the image maker, from the environment."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Everything the bench makes and may throw away: environment, images, state folders, logs.
WORKSPACE = ROOT / "var" / "bench"
RESULTS = ROOT / "benchmarks" / "results"

PEER_PYTHON = WORKSPACE / "venv" / "bin" / "python"


def python_of(environment: str) -> Path:
    """Return the interpreter of an environment: that of most peers (""), or a peer's own."""
    return WORKSPACE / f"venv-{environment}" / "bin" / "python" if environment else PEER_PYTHON


# Sightline's state folder in the bench; every system under test loads its model from the bundles in it.
STATE = WORKSPACE / "state"
BUNDLES = STATE / "bundles" / "efficientnet-lite0"

IMAGENET_DIR = Path(os.environ.get("IMAGENET_DIR") or ROOT.parent / "shared" / "imagenet")

# Set by the bench for the servers that it starts (naive/ and peers/).
BUNDLE = Path(os.environ.get("BENCH_BUNDLE", ""))
PORT = int(os.environ.get("BENCH_PORT", "8000"))
WORKERS = int(os.environ.get("BENCH_WORKERS", "1"))
MAX_BATCH_SIZE = int(os.environ.get("BENCH_MAX_BATCH_SIZE", "1"))
MAX_BATCH_WAIT_MS = int(os.environ.get("BENCH_MAX_BATCH_WAIT_MS", "0"))
THREADS = int(os.environ.get("BENCH_THREADS", "1"))
PILLOW_DRAFT = os.environ.get("BENCH_PILLOW_DRAFT", "0") == "1"
REDIS_SOCKET = os.environ.get("BENCH_REDIS_SOCKET", "")
UPLOADS = Path(os.environ.get("BENCH_UPLOADS", ""))


# What `make bench` leaves behind would override the settings of the `make serve` that the bench starts.
_MAKES_OWN = ("MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "MAKELEVEL")


def environment_with(values: dict[str, str]) -> dict[str, str]:
    """Return this process's environment with some values added, for a process to be started."""
    return {name: value for name, value in os.environ.items() if name not in _MAKES_OWN} | values
