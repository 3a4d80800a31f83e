"""How long 64 look-ups of cached answers, and 64 predictions, take in parallel if Redis takes 30 ms to answer.

    .venv/bin/python -m benchmarks.own.slow_redis [--delay-ms 30 --callers 64]

Runs them from greenlets, as the api does, with a real Redis behind a relay that delays its replies, and a worker
without a model. A prediction takes two replies: that of its submission and its answer.
"""

from gevent import monkey

monkey.patch_all()

import argparse  # noqa: E402  after the patch
import statistics  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402

import gevent  # noqa: E402

from sightline_testing.redis_server import RedisServer, redis_binaries  # noqa: E402
from sightline_testing.slow_redis import SlowRedis  # noqa: E402
from sightline_testing.workers import StandInWorker  # noqa: E402
from wire import Address, Producer, ResultCache  # noqa: E402
from wire.result_cache import Question  # noqa: E402
from wire.worker_registry import Served  # noqa: E402

QUEUE = "benchmark"
TIMEOUT_S = 30.0


def main() -> int:
    """Measure both and print the medians; return 0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--delay-ms", type=float, default=30.0)
    parser.add_argument("--callers", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(sorted(redis_binaries().values())[-1], Path(folder))
        server.start()
        worker = Address(port=server.port)
        with SlowRedis(server.port, options.delay_ms / 1000) as slow, StandInWorker(worker, QUEUE):
            words = [sys.executable, "-m", "benchmarks.own.slow_redis", str(slow.port), str(options.callers)]
            finished = subprocess.run(words, check=False)
        server.close()
    return finished.returncode


def measure(port: int, callers: int) -> None:
    """Print the figures of one process of callers."""
    address = Address(port=port)
    cache = ResultCache(address, QUEUE, max_entries=1000, ttl_s=60, timeout_s=TIMEOUT_S)
    producer = Producer(address, QUEUE, redis_timeout_s=TIMEOUT_S)
    served = Served("stand-in", "1", "none", "none")
    producer.submit("warm-up.jpg", timeout_s=TIMEOUT_S)
    report("look-ups", callers, lambda number: cache.find(Question(f"{number:064x}", served), 5))
    report("predictions", callers, lambda number: producer.submit(f"{number}.jpg", timeout_s=TIMEOUT_S))
    producer.close()


def report(what: str, callers: int, call: Callable[[int], object]) -> None:
    """Run a call for each caller in parallel, and print how long they took."""

    def timed(number: int) -> float:
        begin = time.monotonic()
        call(number)
        return (time.monotonic() - begin) * 1000

    jobs = [gevent.spawn(timed, number) for number in range(callers)]
    gevent.joinall(jobs, raise_error=True)
    taken = [job.value for job in jobs]
    sys.stdout.write(
        f"{callers} {what} in parallel: median {statistics.median(taken):.1f} ms, max {max(taken):.1f} ms\n"
    )


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1].isdigit():
        measure(int(sys.argv[1]), int(sys.argv[2]))
    else:
        sys.exit(main())
