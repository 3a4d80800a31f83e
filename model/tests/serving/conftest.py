from collections.abc import Iterator
from pathlib import Path

import pytest

from sightline_testing.redis_server import RedisServer
from tests.worker_processes import Process, Start, patient_producer, started, write_images
from wire import Producer


@pytest.fixture
def folder(uploads: Path) -> Path:
    return write_images(uploads)


@pytest.fixture
def producer(redis_server: RedisServer) -> Iterator[Producer]:
    producer = patient_producer(redis_server.port)
    yield producer
    producer.close()


@pytest.fixture
def start(redis_server: RedisServer, folder: Path, bundles: Path, tmp_path: Path) -> Iterator[Start]:
    processes: list[Process] = []

    def start_one(*arguments: str, **changes: str) -> Process:
        log = tmp_path / f"worker{len(processes)}.log"
        processes.append(started(log, redis_server, folder, bundles, *arguments, **changes))
        return processes[-1]

    yield start_one
    for process in processes:
        process.kill()
        process.wait()
