"""Record the depth of a real queue under load that comes and goes: what benchmarks.own.autoscaling is held against.

python -m benchmarks.own.queue_depth > benchmarks/own/queue_depth.csv     about three minutes, little processor time

Redis, admission and the consumers are the real ones; the workers sleep in place of an engine, so that what they can do
does not depend on the machine. Requests come at random times (Poisson), regardless of those before.
"""

import csv
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sightline_testing.redis_server import RedisServer, redis_binaries
from sightline_testing.workers import LABELS, answer_for
from wire import Address, Consumer, Heartbeat, Producer, QueueFull, WireError, WorkerInfo

QUEUE, WORKERS, JOB_S, MAX_BATCH, TIMEOUT_S = "depth", 4, 0.025, 8, 5.0
# Shares of what the workers can do, and for how many seconds.
PHASES = ((0.3, 30), (0.6, 30), (0.8, 30), (0.9, 30), (0.3, 15), (1.5, 30))
SAMPLE_S = 0.5
COLUMNS = ("seconds", "workers", "capacity_per_s", "offered_per_s", "depth", "answered", "refused")


def work(address: Address, number: int, ends: threading.Event) -> None:
    """Answer jobs as a worker with one consumer does, asleep for as long as an engine would compute."""
    consumer = Consumer(address, QUEUE, f"worker:{number}", lease_ms=10_000, max_batch_s=60)
    while not ends.is_set():
        batch = consumer.receive(MAX_BATCH, 100)
        time.sleep(JOB_S * len(batch))
        consumer.answer([(delivery, answer_for(delivery.job)) for delivery in batch])
    consumer.close()


def submit(producer: Producer, counts: Counter[str]) -> None:
    """Ask for one image and count what came of it."""
    try:
        producer.submit("a.jpg", timeout_s=TIMEOUT_S)
        counts["answered"] += 1
    except QueueFull:
        counts["refused"] += 1
    except WireError as fault:
        counts[type(fault).__name__] += 1


def record(address: Address, writer: "csv.writer") -> Counter[str]:  # type: ignore[valid-type]
    """Send the requests of all phases, and write the depth twice a second."""
    producer, counts, capacity = Producer(address, QUEUE, timeout_s=TIMEOUT_S), Counter[str](), WORKERS / JOB_S
    draw, begin = random.Random(19), time.monotonic()
    due, sample_at, phase_ends = begin, begin, begin
    with ThreadPoolExecutor(600) as pool:
        for share, seconds in PHASES:
            phase_ends += seconds
            while due < phase_ends:
                now = time.monotonic()
                if now >= sample_at:
                    depth = producer.refresh().jobs
                    row = (
                        now - begin,
                        WORKERS,
                        capacity,
                        share * capacity,
                        depth,
                        counts["answered"],
                        counts["refused"],
                    )
                    writer.writerow([f"{each:.6g}" for each in row])  # type: ignore[attr-defined]
                    sample_at += SAMPLE_S
                if now >= due:
                    pool.submit(submit, producer, counts)
                    due += draw.expovariate(share * capacity)
                time.sleep(max(min(due, sample_at) - time.monotonic(), 0))
    producer.close()
    return counts


def main() -> None:
    """Record once."""
    ends = threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(next(iter(redis_binaries().values())), Path(folder))
        server.start()
        address = Address(port=server.port)
        threads = [threading.Thread(target=work, args=(address, number, ends)) for number in range(WORKERS)]
        info = WorkerInfo("worker", "here", "m", "1", "p", consumers=WORKERS, max_batch=MAX_BATCH, rate=WORKERS / JOB_S)
        heartbeat = Heartbeat(address, QUEUE, info, LABELS)
        heartbeat.start()
        for thread in threads:
            thread.start()
        writer = csv.writer(sys.stdout)
        writer.writerow(COLUMNS)
        try:
            sys.stderr.write(f"{record(address, writer)}\n")
        finally:
            ends.set()
            for thread in threads:
                thread.join()
            heartbeat.stop()
            server.close()


if __name__ == "__main__":
    main()
