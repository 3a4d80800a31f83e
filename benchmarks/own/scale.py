"""What a job costs as model workers go from 1 to 8 on one host, and as api processes go from 1 to 4.

    .venv/bin/python -m benchmarks.own.scale [--workers 1,2,4,8] [--apis 1,2,4] [--seconds 5] [--repeats 3]

The api is the real one, with a Redis of its own and wrk, which keeps 32 requests of about 30 KB open (images of
`python -m benchmarks --only accuracy`). The workers have no model: each is a process that takes batches of up to
eight and sleeps for 5 ms a job. Printed are milliseconds of processor time a job, of each part, and what shows where
they contend: reads of workers, jobs in a batch, and context switches. Rows alternate; the median counts.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks import processes, settings
from benchmarks.load import image_folder, image_list, put_load
from benchmarks.own.many_workers import QUEUE, StubWorker, say
from sightline_testing.redis_server import RedisServer, free_port, redis_binaries
from sightline_testing.waiting import wait_until
from wire import Address

WORK_S, BATCH = 0.005, 8
CONNECTIONS = 32
COLUMNS = ("api", "workers", "redis", "all", "jobs/s", "reads/job", "jobs/batch", "switches/job")
_CALLS = re.compile(rb"cmdstat_([a-z|_]+):calls=(\d+)")

Row = dict[str, float]


def main() -> int:
    """Measure and print; return 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--workers", default="1,2,4,8")
    parser.add_argument("--apis", default="1,2,4")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    workers, apis = ([int(each) for each in text.split(",")] for text in (options.workers, options.apis))
    cells = list(dict.fromkeys([*((count, 1) for count in workers), *((max(workers), count) for count in apis)]))
    listing = image_list("scale", sorted(image_folder("30-kb").glob("*.jpg")))
    found: dict[tuple[int, int], list[Row]] = {cell: [] for cell in cells}
    for repeat in range(options.repeats):
        for cell in cells if repeat % 2 == 0 else reversed(cells):
            found[cell].append(measured(*cell, listing, options.seconds))
            say(f"{cell}: {found[cell][-1]}")
    say(f"| workers | api processes | {' | '.join(COLUMNS)} |\n|{'---|' * (2 + len(COLUMNS))}")
    for (count, api_count), rows in found.items():
        medians = (statistics.median(row[name] for row in rows) for name in COLUMNS)
        say(f"| {count} | {api_count} | {' | '.join(f'{value:.2f}' for value in medians)} |")
    return 0


def measured(workers: int, apis: int, listing: Path, seconds: float) -> Row:
    """Return what one setting costs."""
    with tempfile.TemporaryDirectory() as folder:
        redis = RedisServer(sorted(redis_binaries().values())[-1], Path(folder))
        redis.start()
        try:
            with _workers(redis.port, workers) as stubs, _api(Path(folder), redis.port, apis) as (url, api):
                put_load(url, listing, "raw", CONNECTIONS, 1)
                parts = {"api": [api], "workers": stubs, "redis": [redis_pid(redis)]}
                before, calls = _read(parts), _calls(redis)
                result = put_load(url, listing, "raw", CONNECTIONS, seconds)
                after, now = _read(parts), _calls(redis)
        finally:
            redis.close()
    if result.not_200:
        say(f"{result.not_200} of {result.answers} answers were not 200")
    costs = {part: 1000 * (after[part][0] - before[part][0]) / result.answers for part in parts}
    switches = sum(after[part][1] - before[part][1] for part in parts) / result.answers
    reads = (now["xreadgroup"] - calls["xreadgroup"]) / result.answers
    batches = max(1, now["xack"] - calls["xack"])
    return costs | {
        "all": sum(costs.values()),
        "jobs/s": result.images_per_s,
        "reads/job": reads,
        "jobs/batch": result.answers / batches,
        "switches/job": switches,
    }


def redis_pid(redis: RedisServer) -> int:
    """Return the process of a Redis."""
    [line] = [line for line in redis.command("INFO", "server").split(b"\r\n") if line.startswith(b"process_id:")]
    return int(line.partition(b":")[2])


def _read(parts: Mapping[str, list[int]]) -> dict[str, tuple[float, int]]:
    """Return the processor time of each part, and how often the system took a core from it or gave it one."""
    trees = {part: [pid for root in roots for pid in processes.tree(root)] for part, roots in parts.items()}
    return {part: (processes.cpu_seconds(pids), sum(map(_switches, pids))) for part, pids in trees.items()}


def _switches(pid: int) -> int:
    total = 0
    for task in Path(f"/proc/{pid}/task").glob("*/status"):
        lines = task.read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)
    return total


def _calls(redis: RedisServer) -> dict[str, int]:
    found = {name.decode(): int(count) for name, count in _CALLS.findall(redis.command("INFO", "commandstats"))}
    return {"xreadgroup": found.get("xreadgroup", 0), "xack": found.get("xack", 0)}


@contextmanager
def _workers(port: int, count: int) -> Iterator[list[int]]:
    words = [sys.executable, "-m", "benchmarks.own.scale", "worker", str(port)]
    stubs = [subprocess.Popen([*words, str(number)], stdin=subprocess.PIPE) for number in range(count)]
    try:
        yield [stub.pid for stub in stubs]
    finally:
        for stub in stubs:
            stub.communicate()  # the end of its input is the end of it


@contextmanager
def _api(folder: Path, redis_port: int, count: int) -> Iterator[tuple[str, int]]:
    port = free_port()
    told = {
        "PYTHONPATH": ".",
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "API_WORKERS": str(count),
        "REDIS_IP": "127.0.0.1",
        "REDIS_PORT": str(redis_port),
        "REDIS_QUEUE": QUEUE,
        "RESULT_CACHE": "0",
        "UPLOAD_FOLDER": str(folder / "uploads"),
        "FEEDBACK_FILEPATH": str(folder / "feedback" / "feedback"),
        "LOG_LEVEL": "error",
    }
    with (folder / "api.log").open("wb") as log:
        api = subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=settings.ROOT / "api",
            env=os.environ | told,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_until(lambda: _is_ready(port), "the api is ready", 120)
        yield f"http://127.0.0.1:{port}/predict", api.pid
    finally:
        api.send_signal(signal.SIGTERM)
        api.wait(60)


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
            return True
    except OSError:
        return False


def work(port: int, number: int) -> None:
    """Be a worker until the input ends."""
    stop = threading.Event()
    worker = StubWorker(Address(port=port), f"stub-{number}", stop, work_s=WORK_S, batch=BATCH)
    worker.start()
    sys.stdin.read()
    stop.set()
    worker.join()


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        work(int(sys.argv[2]), int(sys.argv[3]))
    else:
        sys.exit(main())
