"""What the service costs and how full its queue is, sampled every two seconds while the load runs."""

import itertools
import os
import re
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from benchmarks import processes

from stress_test.targets import Target

INTERVAL_S = 2.0
# Memory is dearer to read than the clocks.
MEMORY_EVERY = 4
MB = 1_000_000
GENERATOR = "locust"
TIMEOUT_S = 1.5
_SAMPLE = re.compile(r"^([a-z_]+)(?:\{([^}]*)\})? ([0-9.e+-]+)$", re.MULTILINE)
_BUCKET = re.compile(r'le="([^"]+)"')


@dataclass(frozen=True)
class Sample:
    """One look: processor seconds so far, memory where it was read, the queue, and the batches so far by size."""

    at: float
    cpu_s: dict[str, float]
    machine_s: float
    memory_mb: dict[str, float] = field(default_factory=dict)
    depth: float | None = None
    batches: float = 0.0
    jobs: float = 0.0
    buckets: dict[str, float] = field(default_factory=dict)


class Sampler:
    """Sample the service in a thread of its own, while the block runs."""

    def __init__(self, target: Target, generator: int) -> None:
        self.samples: list[Sample] = []
        self._target, self._generator = target, generator
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler")

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.is_set():
            began = time.monotonic()
            self.samples.append(self._look(len(self.samples) % MEMORY_EVERY == 0))
            self._ended.wait(max(0.0, INTERVAL_S - (time.monotonic() - began)))

    def _look(self, with_memory: bool) -> Sample:
        pids = self._target.pids()
        # This process only measures; it is no part of the service either.
        pids[GENERATOR] = [*processes.tree(self._generator), os.getpid()]
        batches = [scrape(url) for url in self._target.metrics_urls]
        return Sample(
            at=time.time(),
            cpu_s={service: processes.cpu_seconds(found) for service, found in pids.items()},
            machine_s=processes.machine_cpu_seconds(),
            memory_mb={service: processes.memory_bytes(found) / MB for service, found in pids.items()}
            if with_memory
            else {},
            depth=scrape(f"{self._target.url}/metrics").get("sightline_queue_depth"),
            batches=sum(told.get("sightline_batch_size_count", 0.0) for told in batches),
            jobs=sum(told.get("sightline_batch_size_sum", 0.0) for told in batches),
            buckets=_buckets(batches),
        )


def scrape(url: str) -> dict[str, float]:
    """Read metrics by name (a histogram's buckets by name and bound); nothing without a response in time."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - an address of our own
            return parse(answer.read().decode())
    except OSError:
        return {}


def parse(text: str) -> dict[str, float]:
    """Parse a response of /metrics; series of one name that differ in other labels than `le` are added up."""
    found: dict[str, float] = {}
    for name, labels, value in _SAMPLE.findall(text):
        bound = _BUCKET.search(labels)
        key = f"{name} {bound.group(1)}" if bound else name
        found[key] = found.get(key, 0.0) + float(value)
    return found


def _buckets(told: list[dict[str, float]]) -> dict[str, float]:
    prefix = "sightline_batch_size_bucket "
    total: dict[str, float] = {}
    for metrics in told:
        for name, value in metrics.items():
            if name.startswith(prefix):
                bound = name.removeprefix(prefix)
                total[bound] = total.get(bound, 0.0) + value
    return total


def summarise(samples: list[Sample], begin: float, end: float) -> dict[str, Any]:
    """Return what the service cost between two moments, by the samples nearest to them."""
    chosen = [sample for sample in samples if begin - INTERVAL_S <= sample.at <= end + INTERVAL_S]
    if len(chosen) < 2 or chosen[-1].at <= chosen[0].at:
        return {}
    first, last = chosen[0], chosen[-1]
    seconds = last.at - first.at
    cpu = {service: round((last.cpu_s[service] - used) / seconds, 3) for service, used in first.cpu_s.items()}
    busy = (last.machine_s - first.machine_s) / seconds
    jobs, batches = last.jobs - first.jobs, last.batches - first.batches
    return {
        "cpu_cores": cpu,
        "busy_cores": round(busy, 3),
        "others_cores": round(max(0.0, busy - sum(cpu.values())), 3),
        "memory_mb": _largest_memory(chosen),
        "mean_batch": round(jobs / batches, 2) if batches > 0 else None,
        "batch_sizes": _sizes(first.buckets, last.buckets),
        "queue": [[round(sample.at - first.at, 1), sample.depth] for sample in chosen if sample.depth is not None],
        "batches": [
            [round(after.at - first.at, 1), round((after.jobs - before.jobs) / (after.batches - before.batches), 2)]
            for before, after in itertools.pairwise(chosen)
            if after.batches > before.batches
        ],
    }


def _largest_memory(samples: list[Sample]) -> dict[str, float]:
    largest: dict[str, float] = {}
    for sample in samples:
        for service, used in sample.memory_mb.items():
            largest[service] = max(largest.get(service, 0.0), round(used, 1))
    return largest


def _sizes(before: dict[str, float], after: dict[str, float]) -> dict[str, int]:
    """Return how many batches were of at most each size and above the one before."""
    bounds = sorted(after, key=float)
    counts = [after[bound] - before.get(bound, 0.0) for bound in bounds]
    own = [count - below for count, below in zip(counts, [0.0, *counts], strict=False)]
    return {bound.removesuffix(".0"): int(count) for bound, count in zip(bounds, own, strict=True) if count > 0}
