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


# Its default of 3 s would fail the largest images at 32 connections.
MOSEC_TIMEOUT_MS = 60_000


@dataclass(frozen=True)
class System:
    """One system under test. `module` is run in the peers' environment, or in `own_environment`; none: `make serve`."""

    name: str
    title: str
    pipeline: Pipeline
    route: str
    bodies: tuple[str, ...]
    module: str = ""
    own_environment: str = ""
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Tuning:
    """How one of the systems compared with is set up: batches up to a size, a wait for company, worker processes."""

    batch: int = 1
    wait_ms: int = 0
    workers: int = CORES
    draft: bool = False
    threads: int = 1


def _peer(name: str, title: str, tuning: Tuning) -> System:
    kind = name.partition("-")[0]
    module, route, body, own = PEERS[kind]
    told = {
        "BENCH_WORKERS": str(tuning.workers),
        "BENCH_MAX_BATCH_SIZE": str(tuning.batch),
        "BENCH_MAX_BATCH_WAIT_MS": str(tuning.wait_ms),
        "BENCH_PILLOW_DRAFT": str(int(tuning.draft)),
        "BENCH_THREADS": str(tuning.threads),
    }
    return System(name, title, Pipeline.PILLOW_ONNX, route, (body,), module, kind if own else "", told)


# The module, the path and the kind of body of each, and whether its requirements are so many that they stand alone.
PEERS = {
    "mosec": ("benchmarks.peers.mosec_server", "/inference", "raw", False),
    "litserve": ("benchmarks.peers.litserve_server", "/predict", "raw", False),
    "bentoml": ("benchmarks.peers.bentoml_server", "/predict", "raw", True),
    "pytriton": ("benchmarks.peers.pytriton_server", "/v2/models/classifier/infer", "kserve", True),
    "rayserve": ("benchmarks.peers.rayserve_server", "/predict", "raw", True),
}

SIGHTLINE = System(
    "sightline", "Sightline", Pipeline.OWN, "/predict", ("raw", "multipart"), environment={"RESULT_CACHE": "0"}
)
SIGHTLINE_CACHED = System(
    "sightline-cached", "Sightline, cache on", Pipeline.OWN, "/predict", ("raw",), environment={"RESULT_CACHE": "1"}
)
NAIVE = System("naive", "usual design", Pipeline.PILLOW_ONNX, "/predict", ("multipart",), "benchmarks.naive.serve")
# The best of TUNINGS: most images for a core second. Without batches Mosec answers a lone request soonest.
MOSEC = _peer("mosec", "Mosec", Tuning(8, 1))
MOSEC_SINGLE = _peer("mosec-single", "Mosec, no batches", Tuning())
MOSEC_WIDE = _peer("mosec-wide", "Mosec, one worker on all cores", Tuning(workers=1, threads=CORES))
MOSEC_DRAFT = _peer("mosec-draft", "Mosec, Pillow with draft", Tuning(8, 1, draft=True))
LITSERVE = _peer("litserve", "LitServe", Tuning(8, 1))
BENTOML = _peer("bentoml", "BentoML", Tuning(8, 1))
PYTRITON = _peer("pytriton", "PyTriton", Tuning(8, 1))
RAY_SERVE = _peer("rayserve", "Ray Serve", Tuning(8, 1))

# What the documentation of each proposes to try: workers for each core, batch sizes, waits. `--only tuning` runs them.
TUNINGS = (
    _peer("mosec-b1", "Mosec", Tuning()),
    _peer("mosec-b1-3w", "Mosec", Tuning(workers=CORES + 1)),
    _peer("mosec-b4-1ms", "Mosec", Tuning(4, 1)),
    _peer("mosec-b8-1ms", "Mosec", Tuning(8, 1)),
    _peer("mosec-b8-5ms", "Mosec", Tuning(8, 5)),
    _peer("mosec-b16-1ms", "Mosec", Tuning(16, 1)),
    _peer("litserve-b1", "LitServe", Tuning()),
    _peer("litserve-b4-1ms", "LitServe", Tuning(4, 1)),
    _peer("litserve-b8-1ms", "LitServe", Tuning(8, 1)),
    _peer("litserve-b16-2ms", "LitServe", Tuning(16, 2)),
)

ALL_PEERS = (BENTOML, PYTRITON, RAY_SERVE, LITSERVE, MOSEC)
COMPARED = (NAIVE, *ALL_PEERS, MOSEC_SINGLE, MOSEC_WIDE, MOSEC_DRAFT, SIGHTLINE, SIGHTLINE_CACHED)
SYSTEMS = {system.name: system for system in (*COMPARED, *TUNINGS)}


@dataclass(frozen=True)
class Setting:
    """How a system is to run: the bundle's precision, and the number of worker processes (0: the system's own)."""

    precision: str = "int8"
    workers: int = 0

    @property
    def bundle(self) -> Path:
        """Return the folder with the model file."""
        return settings.BUNDLES / f"1-{self.precision}"


def command_and_environment(
    system: System, setting: Setting, port: int, state: Path
) -> tuple[list[str], dict[str, str]]:
    """Return the command line that starts a system, to be run in the project's root, and its environment."""
    if not system.module:
        return ["make", "--silent", "serve"], system.environment | _sightline_environment(setting, port)
    told = system.environment | {
        "BENCH_BUNDLE": str(setting.bundle),
        "BENCH_PORT": str(port),
        "MOSEC_PORT": str(port),
        "MOSEC_ADDRESS": "127.0.0.1",
        "MOSEC_TIMEOUT": str(MOSEC_TIMEOUT_MS),
        "MOSEC_LOG_LEVEL": "warning",
        "BENCH_REDIS_SOCKET": str(state / "redis.sock"),
        "BENCH_UPLOADS": str(state / "uploads"),
    }
    if setting.workers:
        told["BENCH_WORKERS"] = str(setting.workers)
    return [str(settings.python_of(system.own_environment)), "-m", system.module], told


def _sightline_environment(setting: Setting, port: int) -> dict[str, str]:
    told = {
        "PORT": str(port),
        "STATE_DIR": str(settings.STATE),
        "PRECISION": setting.precision,
    }
    if setting.workers:
        told["MODEL_WORKERS"] = str(setting.workers)
    return told
