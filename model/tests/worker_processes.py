"""Workers as processes of their own, with a real Redis and a real model."""

import subprocess
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from sightline_testing.redis_server import RedisServer
from sightline_testing.waiting import wait_until
from wire import Answer, Producer, QueueSnapshot, QueueUnavailable
from wire.redis.keys import GROUP

MODEL = Path(__file__).resolve().parents[1]
QUEUE = "worker-test"
TIMEOUT_S = 60.0
Process = subprocess.Popen[str]
Start = Callable[..., Process]


def workers(producer: Producer) -> int:
    try:
        return len(producer.refresh().workers)
    except QueueUnavailable:
        return 0


def wait_for_workers(producer: Producer, count: int) -> None:
    wait_until(lambda: workers(producer) == count, f"{count} workers are registered", TIMEOUT_S)


def model_of(named: Answer | QueueSnapshot) -> str:
    return f"{named.model}/{named.version}"


def is_announced(producer: Producer, version: str) -> bool:
    return model_of(producer.refresh()) == version


def ask_all(pool: ThreadPoolExecutor, producer: Producer, images: list[str]) -> list[Future[Answer]]:
    return [pool.submit(producer.submit, image, timeout_s=TIMEOUT_S) for image in images]


def is_queue_empty(redis_server: RedisServer) -> bool:
    jobs = f"{{{QUEUE}}}:jobs"
    pending = redis_server.command("XPENDING", jobs, GROUP)
    return redis_server.command("XLEN", jobs) == b":0\r\n" and pending.startswith(b"*4\r\n:0\r\n")
