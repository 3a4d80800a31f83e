"""A loop on every core without network or queue: what the machine gives at most for a piece of work."""

import multiprocessing
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any

# Does one portion of work, given its running number, and returns the number of images done.
Work = Callable[[int], int]
# Makes the named pieces of work inside each process; must be a function of a module, so that it can be sent there.
MakeWork = Callable[[], Mapping[str, Work]]

WARM_UP_PORTIONS = 5


@dataclass(frozen=True)
class _Order:
    make_work: MakeWork
    names: list[str]
    seconds: float
    barrier: Barrier
    counts: "Queue[tuple[str, int, float]]"


def loop_on_every_core(make_work: MakeWork, names: list[str], seconds: float, cores: int) -> list[dict[str, Any]]:
    """Run each named piece of work alone, on all cores at once; return its rate and processor time for an image."""
    # Engines keep threads of their own, which a fork would lose.
    context = multiprocessing.get_context("spawn")
    order = _Order(make_work, names, seconds, context.Barrier(cores), context.Queue())
    children = [context.Process(target=_loop, args=(order, core)) for core in range(cores)]
    for child in children:
        child.start()
    # A child that fails breaks the barrier for the others, whose timeout then ends this wait too.
    outcomes = [order.counts.get(timeout=60 + len(names) * (seconds + 10)) for _ in range(cores * len(names))]
    for child in children:
        child.join()
    return [_summary(name, seconds, [outcome for outcome in outcomes if outcome[0] == name]) for name in names]


def _loop(order: _Order, core: int) -> None:
    works = order.make_work()
    # Each core begins at other images.
    first = core * 1000
    for name in order.names:
        for number in range(first, first + WARM_UP_PORTIONS):
            works[name](number)
        order.barrier.wait(timeout=60)
        order.counts.put((name, *_count(works[name], first, order.seconds)))


def _count(work: Work, first: int, seconds: float) -> tuple[int, float]:
    images, number = 0, first
    cpu_at_start = time.process_time()
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        images += work(number)
        number += 1
    return images, time.process_time() - cpu_at_start


def _summary(name: str, seconds: float, outcomes: list[tuple[str, int, float]]) -> dict[str, Any]:
    images = sum(outcome[1] for outcome in outcomes)
    cpu_s = sum(outcome[2] for outcome in outcomes)
    return {"part": name, "images_per_s": images / seconds, "cpu_ms": 1000 * cpu_s / images}
