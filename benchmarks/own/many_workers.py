"""How well 1 to 200 workers share one queue, and what Redis sends while there are no requests.

    .venv/bin/python -m benchmarks.own.many_workers [--workers 1,8,32,100,200] [--seconds 10]

The workers have no model: each takes one job at a time and sleeps for half a second, so that 200 of them do at most 400
jobs a second. Efficiency is what was answered, divided by what as many single workers answer. Then 50 producers and 200
workers are idle, and the bytes are counted that Redis sends.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from sightline_testing.redis_server import RedisServer, redis_binaries
from sightline_testing.waiting import wait_until
from sightline_testing.workers import answer_for
from wire import Address, Consumer, Heartbeat, Producer, QueueUnavailable, WorkerInfo
from wire.consumer.maintenance import Leases, Maintenance
from wire.queue_stats import QueueStats

QUEUE = "benchmark"
WORK_S = 0.5
JOBS_A_SECOND = 1 / WORK_S
IN_A_PROCESS = 50
PRODUCERS, IDLE_WORKERS = 50, 200
TIMEOUT_S = 60.0
LABELS = tuple(f"class {number}" for number in range(1000))


def main() -> int:
    """Measure and print; return 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--workers", default="1,8,32,100,200")
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(sorted(redis_binaries().values())[-1], Path(folder))
        server.start()
        try:
            for count in map(int, options.workers.split(",")):
                say(f"{count:4} workers: efficiency {efficiency(server, count, options.seconds):.3f}")
                server.command("FLUSHALL")
            say(f"idle, {PRODUCERS} producers, {IDLE_WORKERS} workers: {idle_mb_a_second(server, options.seconds)}")
        finally:
            server.close()
    return 0


def efficiency(server: RedisServer, count: int, seconds: float) -> float:
    """Return what so many workers answer, as a share of what they would answer if none knew of the others."""
    with Workers(server, count):
        producer = Producer(Address(port=server.port), QUEUE, max_queue_size=10_000, redis_timeout_s=TIMEOUT_S)
        wait_until(lambda: len(producer.refresh().workers) == count, "all workers are known", 120)
        answered: list[float] = []
        stop = threading.Event()
        # As many as the workers do in 1.5 times as long as one job takes: none of them ever waits for a job.
        callers = [threading.Thread(target=call, args=(producer, answered, stop)) for _ in range(count * 3 // 2 + 1)]
        for caller in callers:
            caller.start()
        time.sleep(2 * WORK_S)
        begin, before = time.monotonic(), len(answered)
        time.sleep(seconds)
        rate = (len(answered) - before) / (time.monotonic() - begin)
        stop.set()
        for caller in callers:
            caller.join()
        producer.close()
    return rate / (count * JOBS_A_SECOND)


def idle_mb_a_second(server: RedisServer, seconds: float) -> str:
    """Return what Redis sends while producers and workers have nothing to do, to which of them."""
    with Workers(server, IDLE_WORKERS):
        stats = QueueStats(Address(port=server.port), QUEUE, timeout_s=TIMEOUT_S)
        wait_until(lambda: len(stats.refresh().workers) == IDLE_WORKERS, "all workers are known", 120)
        time.sleep(2)  # the first beats are over
        of_workers = sent_mb_a_second(server, seconds)
        producers = [Producer(Address(port=server.port), QUEUE, redis_timeout_s=TIMEOUT_S) for _ in range(PRODUCERS)]
        for producer in producers:
            producer.snapshot()
        time.sleep(2)
        of_all = sent_mb_a_second(server, seconds)
        for producer in producers:
            producer.close()
    return f"{of_all:.2f} MB/s, {of_workers:.2f} of them to the workers"


def sent_mb_a_second(server: RedisServer, seconds: float) -> float:
    """Return how much Redis sends from now on."""
    begin, before = time.monotonic(), sent(server)
    time.sleep(seconds)
    return (sent(server) - before) / (time.monotonic() - begin) / 1e6


def sent(server: RedisServer) -> int:
    """Return how many bytes Redis has sent."""
    lines = server.command("INFO", "stats").split(b"\r\n")
    return int(next(line.partition(b":")[2] for line in lines if line.startswith(b"total_net_output_bytes:")))


def call(producer: Producer, answered: list[float], stop: threading.Event) -> None:
    """Ask for one answer after the other."""
    while not stop.is_set():
        producer.submit("some.jpg", timeout_s=TIMEOUT_S)
        answered.append(time.monotonic())


class Workers:
    """Workers of several processes, which end with the block."""

    def __init__(self, server: RedisServer, count: int) -> None:
        self._port = server.port
        self._counts = [min(IN_A_PROCESS, count - begin) for begin in range(0, count, IN_A_PROCESS)]
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> None:
        for number, count in enumerate(self._counts):
            words = [sys.executable, "-m", "benchmarks.own.many_workers", f"{self._port}", f"{number}", f"{count}"]
            self._processes.append(subprocess.Popen(words, stdin=subprocess.PIPE))

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.communicate()  # the end of its input is the end of it


def work(port: int, process: int, count: int) -> None:
    """Be so many workers until the input ends."""
    address, stop = Address(port=port), threading.Event()
    workers = [StubWorker(address, f"stub-{process}-{number}", stop) for number in range(count)]
    for worker in workers:
        worker.start()
    sys.stdin.read()
    stop.set()
    for worker in workers:
        worker.join()


class StubWorker(threading.Thread):
    """All that a worker process has but a model, and the stream of expensive jobs."""

    def __init__(
        self, address: Address, name: str, stop: threading.Event, *, work_s: float = WORK_S, batch: int = 1
    ) -> None:
        super().__init__(name=name)
        self._ended = stop
        self._work_s, self._batch = work_s, batch
        self._consumer = Consumer(address, QUEUE, name, lease_ms=1000, max_batch_s=10)
        info = WorkerInfo(name, "bench.example", "efficientnet-lite0", "1-int8", "0123456789abcdef", max_batch=batch)
        self._loops = (
            Heartbeat(address, QUEUE, info, LABELS, speed=lambda: {"rate": 1 / work_s}),
            Leases(address, [self._consumer], lambda _: None),
            Maintenance(address, QUEUE, self._consumer.name, lease_ms=1000, max_batch_s=10),
        )

    def run(self) -> None:
        """Serve jobs."""
        for loop in self._loops:
            loop.start()
        while not self._ended.is_set():
            try:
                batch = self._consumer.receive(self._batch, 250)
                if batch:
                    time.sleep(self._work_s * len(batch))
                self._consumer.answer([(delivery, answer_for(delivery.job)) for delivery in batch])
            except QueueUnavailable:
                continue
        for loop in self._loops:
            loop.ask_to_stop()


def say(line: str) -> None:
    """Print without buffering."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def run(arguments: Sequence[str]) -> int:
    """Be the workers of a process, or measure."""
    if len(arguments) == 3 and all(word.isdigit() for word in arguments):
        work(*map(int, arguments))
        return 0
    return main()


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
