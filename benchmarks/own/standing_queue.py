"""What a job costs while a given number of others stand in the queue.

Run while Sightline runs in the bench's state folder, with deploy/ on the import path:
python -m benchmarks.own.standing_queue ROOT_PID SECONDS DEPTH [DEPTH ...]     print one row for each depth as JSON

Each of DEPTH greenlets requests one image after the other, so the queue keeps its depth. The processor time is that
of the running system (workers, Redis, and the api, which has nothing to do) over a window in which the queue stands.
"""

import gevent.monkey

gevent.monkey.patch_all()

import json  # noqa: E402 - gevent must patch before anything else is imported
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from itertools import count  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402

from benchmarks import processes, settings  # noqa: E402
from launcher import state  # noqa: E402
from wire import Address, Producer  # noqa: E402

QUEUE_NAME = "sightline"
# No job may expire: the last of 10,000 waits for all the others.
PATIENCE_S = 300.0
LARGEST_DEPTH = 20_000
# The share of the depth from which on the queue counts as standing; the rest is in the consumers' hands.
STANDING = 0.9
# What the workers may have taken already: two consumers' batches.
JOBS_IN_HAND = 16


class Crowd:
    """Several producers, each with one open job at any time."""

    def __init__(self, producer: Producer, depth: int, images: list[str]) -> None:
        self.answers = 0
        self._producer = producer
        self._images = images
        self._numbers = count()
        self._greenlets = [gevent.spawn(self._ask_on) for _ in range(depth)]

    def _ask_on(self) -> None:
        while True:
            self._producer.submit(self._images[next(self._numbers) % len(self._images)], timeout_s=PATIENCE_S)
            self.answers += 1

    def wait_until_standing(self) -> None:
        """Wait until nearly every job is in the queue."""
        wanted = STANDING * len(self._greenlets) - JOBS_IN_HAND
        self._wait_for_depth(lambda depth: depth >= wanted)

    def leave(self) -> None:
        """Stop asking, and wait until what is in the queue has been taken back."""
        gevent.killall(self._greenlets)
        self._wait_for_depth(lambda depth: depth == 0)

    def _wait_for_depth(self, is_right: Callable[[int], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not is_right(self._producer.refresh().depth):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the queue did not get to the depth wanted in {PATIENCE_S:g} s")
            gevent.sleep(0.05)


def measure(depth: int, root: int, seconds: float) -> dict[str, Any]:
    """Return the rate and the cost of a job at one depth."""
    producer = Producer(
        Address(socket_path=str(state.socket_path(settings.STATE))), QUEUE_NAME, max_queue_size=LARGEST_DEPTH
    )
    crowd = Crowd(producer, depth, sorted(path.name for path in (settings.STATE / "uploads").iterdir()))
    crowd.wait_until_standing()
    tree = processes.tree(root)
    redis = [pid for pid in tree if processes.name(pid) == "redis-server"]
    answers, started_at = crowd.answers, time.monotonic()
    cpu, redis_cpu, own_cpu = processes.cpu_seconds(tree), processes.cpu_seconds(redis), time.process_time()
    gevent.sleep(seconds)
    jobs = max(1, crowd.answers - answers)
    row = {
        "depth": depth,
        "images_per_s": jobs / (time.monotonic() - started_at),
        "cpu_ms": 1000 * (processes.cpu_seconds(tree) - cpu) / jobs,
        "redis_cpu_ms": 1000 * (processes.cpu_seconds(redis) - redis_cpu) / jobs,
        "asker_cpu_ms": 1000 * (time.process_time() - own_cpu) / jobs,
    }
    crowd.leave()
    producer.close()
    return row


if __name__ == "__main__":
    root_pid, window_s, *depths = sys.argv[1:]
    print(json.dumps([measure(int(depth), int(root_pid), float(window_s)) for depth in depths]))
