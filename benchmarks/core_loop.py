"""A loop on every core without network or queue: what the machine gives at most for a piece of work."""

import multiprocessing
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any, NamedTuple

# Does one portion of work, given its running number, and returns the number of images done.
Work = Callable[[int], int]
# Makes the named pieces of work inside each process; must be a function of a module, so that it can be sent there.
MakeWork = Callable[[], Mapping[str, Work]]

WARM_UP_PORTIONS = 5
PARTS = ["decode + inference", "decode", "inference"]
# As many images together as the servers put together at most, or one by one.
BATCHES = (1, 8)


class Form(NamedTuple):
    """How a pipeline computes: by which engine, and so many images together."""

    engine: str
    batch: int


def limit(
    make_parts: Callable[[Form], Mapping[str, Work]], forms: list[Form], seconds: float, cores: int
) -> list[dict[str, Any]]:
    """Return a row for the inference of each form, and one for each part in the form that takes least."""
    tried = {}
    for form in forms:
        [row] = loop_on_every_core(partial(make_parts, form), ["inference"], seconds / len(forms), cores)
        tried[form] = row | {"part": f"inference, {form.engine} by {form.batch}"}
    best = min(forms, key=lambda form: float(tried[form]["cpu_ms"]))
    return [*loop_on_every_core(partial(make_parts, best), PARTS, seconds, cores), *tried.values()]


@dataclass(frozen=True)
class _Order:
    make_work: MakeWork
    names: list[str]
    seconds: float
    barrier: Barrier
    counts: "Queue[tuple[str, int, float]]"


def loop_on_every_core(make_work: MakeWork, names: list[str], seconds: float, cores: int) -> list[dict[str, Any]]:
    """Run each named piece of work alone, on all cores in parallel; return its rate and processor time for an image."""
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
