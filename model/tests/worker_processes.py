"""Workers as processes of their own, with a real Redis and a real model."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path

from sightline_testing import sample_images
from sightline_testing.redis_server import RedisServer
from sightline_testing.waiting import wait_until
from wire import Address, Answer, JobFailed, Producer, QueueSnapshot, QueueUnavailable, WorkerInfo
from wire.redis.keys import GROUP

MODEL = Path(__file__).resolve().parents[1]
QUEUE = "worker-test"
TIMEOUT_S = 120.0
GOOD_AND_BAD = ["0.jpg", "broken.jpg", "nowhere.jpg", "camera.png"]  # of write_images(), and none
CODES = ["", "image_broken", "image_missing", ""]  # that they fail with
Process = subprocess.Popen[str]
Start = Callable[..., Process]


def write_images(folder: Path) -> Path:
    """Write images that have an answer, and one that has none, into a folder; return it."""
    for name, content in _images().items():
        (folder / name).write_bytes(content)
    return folder


@cache
def _images() -> dict[str, bytes]:
    drawn = {f"{seed}.jpg": sample_images.jpeg(seed=seed) for seed in range(4)}
    camera = sample_images.encode(sample_images.photograph(), "PNG")
    return drawn | {"camera.png": camera, "broken.jpg": sample_images.bad("truncated.jpg").content}


def started(
    log: Path, redis: RedisServer, uploads: Path, bundles: Path, *arguments: str, **changes: str
) -> subprocess.Popen[str]:
    """Start a worker, or Python with other arguments, with these changes of its settings."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": ".",
        "UPLOAD_FOLDER": str(uploads),
        "BUNDLES_FOLDER": str(bundles),
        "REDIS_PORT": str(redis.port),
        "REDIS_QUEUE": QUEUE,
        "CONSUMERS": "2",
        **changes,
    }
    with log.open("w") as file:
        command = [sys.executable, *(arguments or ("ml_service.py",))]
        return subprocess.Popen(command, cwd=MODEL, env=environment, stderr=file, text=True)


def patient_producer(port: int, queue: str = QUEUE) -> Producer:
    """Return a producer that waits for a slow Redis, and for workers that take long to start or stand still."""
    return Producer(
        Address(port=port), queue, max_queue_size=10_000, redis_timeout_s=TIMEOUT_S, worker_grace_s=10 * TIMEOUT_S
    )


def workers(producer: Producer) -> int:
    try:
        return len(producer.refresh().workers)
    except QueueUnavailable:
        return 0


def state_of(producer: Producer) -> QueueSnapshot:
    """Return the state of the queue once it names a live worker: one that stood still is missing for a moment."""
    states: list[QueueSnapshot] = []

    def names_a_worker() -> bool:
        states.append(producer.refresh())
        return bool(states[-1].workers)

    wait_until(names_a_worker, "a worker is registered", TIMEOUT_S)
    return states[-1]


def wait_for_workers(producer: Producer, count: int) -> None:
    wait_until(lambda: workers(producer) == count, f"{count} workers are registered", TIMEOUT_S)


def model_of(named: Answer | QueueSnapshot | WorkerInfo) -> str:
    return f"{named.model}/{named.version}"


def is_announced(producer: Producer, version: str) -> bool:
    """Return whether the live workers serve this version; of one that stands still, the last known is no news."""
    return any(model_of(worker) == version for worker in state_of(producer).workers)


def ask_all(pool: ThreadPoolExecutor, producer: Producer, images: list[str]) -> list[Future[Answer]]:
    return [pool.submit(producer.submit, image, timeout_s=TIMEOUT_S) for image in images]


def codes_of(producer: Producer, images: list[str]) -> list[str]:
    """Return the code that each image fails with, empty for an answer; all are requested together."""
    with ThreadPoolExecutor(8) as pool:
        faults = [future.exception() for future in ask_all(pool, producer, images)]
    return [
        "" if fault is None else fault.failure.code if isinstance(fault, JobFailed) else repr(fault) for fault in faults
    ]


def is_queue_empty(redis_server: RedisServer) -> bool:
    jobs = f"{{{QUEUE}}}:jobs"
    pending = redis_server.command("XPENDING", jobs, GROUP)
    return redis_server.command("XLEN", jobs) == b":0\r\n" and pending.startswith(b"*4\r\n:0\r\n")
