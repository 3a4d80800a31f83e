"""The systems under test: how each is started, what bodies it takes, whose direct inference its answers must equal."""

import os
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from benchmarks import settings

CORES = len(os.sched_getaffinity(0))


class Pipeline(StrEnum):
    """The two ways from image bytes to a label: what users of serving systems write, and the project's own."""

    PILLOW_ONNX = "pillow-onnx"
    OWN = "own"


@dataclass(frozen=True)
class System:
    """One system under test. `module` is run in the peers' environment; none means `make serve`."""

    name: str
    title: str
    pipeline: Pipeline
    route: str
    bodies: tuple[str, ...]
    module: str = ""
    environment: dict[str, str] = field(default_factory=dict)


# Chosen by trying what each documentation proposes for CPUs; benchmarks/README.md has the table.
ONE_WORKER_EACH_CORE = {"BENCH_WORKERS": str(CORES)}

SIGHTLINE = System("sightline", "Sightline", Pipeline.OWN, "/predict", ("raw", "multipart"))
MOSEC = System(
    "mosec",
    "Mosec",
    Pipeline.PILLOW_ONNX,
    "/inference",
    ("raw",),
    "benchmarks.peers.mosec_server",
    ONE_WORKER_EACH_CORE,
)
MOSEC_DRAFT = System(
    "mosec-draft",
    "Mosec, Pillow with draft",
    Pipeline.PILLOW_ONNX,
    "/inference",
    ("raw",),
    "benchmarks.peers.mosec_server",
    ONE_WORKER_EACH_CORE | {"BENCH_PILLOW_DRAFT": "1"},
)
LITSERVE = System(
    "litserve",
    "LitServe",
    Pipeline.PILLOW_ONNX,
    "/predict",
    ("raw",),
    "benchmarks.peers.litserve_server",
    ONE_WORKER_EACH_CORE,
)
NAIVE = System("naive", "usual design", Pipeline.PILLOW_ONNX, "/predict", ("multipart",), "benchmarks.naive.serve")

SYSTEMS = {system.name: system for system in (NAIVE, LITSERVE, MOSEC, MOSEC_DRAFT, SIGHTLINE)}


@dataclass(frozen=True)
class Setting:
    """How a system is to run: the bundle's precision, and the number of worker processes (0: the system's own)."""

    precision: str = "int8"
    workers: int = 0
    cache: bool = False

    @property
    def bundle(self) -> Path:
        """The folder with the model file."""
        return settings.BUNDLES / f"1-{self.precision}"


def command_and_environment(
    system: System, setting: Setting, port: int, state: Path
) -> tuple[list[str], dict[str, str]]:
    """Return the command line that starts a system, to be run in the project's root, and what it is told."""
    if not system.module:
        return ["make", "--silent", "serve"], _sightline_environment(setting, port)
    told = system.environment | {
        "BENCH_BUNDLE": str(setting.bundle),
        "BENCH_PORT": str(port),
        "MOSEC_PORT": str(port),
        "MOSEC_ADDRESS": "127.0.0.1",
        "MOSEC_LOG_LEVEL": "warning",
        "BENCH_REDIS_SOCKET": str(state / "redis.sock"),
        "BENCH_UPLOADS": str(state / "uploads"),
    }
    if setting.workers:
        told["BENCH_WORKERS"] = str(setting.workers)
    return [str(settings.PEER_PYTHON), "-m", system.module], told


def _sightline_environment(setting: Setting, port: int) -> dict[str, str]:
    told = {
        "PORT": str(port),
        "STATE_DIR": str(settings.STATE),
        "PRECISION": setting.precision,
    }
    if setting.workers:
        told["MODEL_WORKERS"] = str(setting.workers)
    return told
