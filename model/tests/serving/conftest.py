import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sightline_testing import sample_images
from sightline_testing.redis_server import RedisServer
from tests.worker_processes import MODEL, QUEUE, Process, Start, patient_producer
from wire import Producer


@pytest.fixture
def folder(uploads: Path) -> Path:
    for seed in range(4):
        (uploads / f"{seed}.jpg").write_bytes(sample_images.jpeg(seed=seed))
    (uploads / "camera.png").write_bytes(sample_images.encode(sample_images.photograph(), "PNG"))
    (uploads / "broken.jpg").write_bytes(sample_images.bad("truncated.jpg").content)
    return uploads


@pytest.fixture
def producer(redis_server: RedisServer) -> Iterator[Producer]:
    producer = patient_producer(redis_server.port)
    yield producer
    producer.close()


@pytest.fixture
def start(redis_server: RedisServer, folder: Path, bundles: Path, tmp_path: Path) -> Iterator[Start]:
    processes: list[Process] = []

    def start_one(*arguments: str, **changes: str) -> Process:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": ".",
            "UPLOAD_FOLDER": str(folder),
            "BUNDLES_FOLDER": str(bundles),
            "REDIS_PORT": str(redis_server.port),
            "REDIS_QUEUE": QUEUE,
            "CONSUMERS": "2",
            **changes,
        }
        with (tmp_path / f"worker{len(processes)}.log").open("w") as log:
            command = [sys.executable, *(arguments or ("ml_service.py",))]
            processes.append(subprocess.Popen(command, cwd=MODEL, env=environment, stderr=log, text=True))
        return processes[-1]

    yield start_one
    for process in processes:
        process.kill()
        process.wait()
