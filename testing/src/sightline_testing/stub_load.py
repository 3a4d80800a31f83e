"""Callers and workers of a queue in one process, without HTTP and without a model: what became of each job."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import Final

from sightline_testing.waiting import wait_until
from sightline_testing.workers import StandInWorker, answer_for
from wire import Answer, AsyncJobs, Delivery, Producer, QueueFull, QueueUnavailable, WireError
from wire.consumer.maintenance import Leases, Maintenance
from wire.errors import NotReplicated, NoWorker
from wire.redis.address import Address

REFUSALS: Final = (QueueUnavailable, QueueFull, NoWorker, NotReplicated)
# So long that a caller times out only if its job is lost.
TIMEOUT_S: Final = 100.0
PAUSE_S: Final = 0.02


@dataclass
class Outcomes:
    """The outcomes of the requests; times are of the monotonic clock."""

    answered: int = 0
    refused: list[float] = field(default_factory=list)
    right: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    handles: list[str] = field(default_factory=list)
    runs: Counter[str] = field(default_factory=Counter)

    @property
    def done_twice(self) -> int:
        """How many jobs a worker ran again."""
        return sum(times - 1 for times in self.runs.values())

    def refused_s(self, begin: float, end: float) -> float:
        """The longest time without any right answer in this while."""
        moments = [begin, *sorted(at for at in self.right if begin <= at <= end), end]
        return max(after - before for before, after in pairwise(moments))

    def __str__(self) -> str:
        twice = f"{self.done_twice} done twice of {len(self.runs)}"
        return f"{self.answered} answered, {len(self.refused)} refused, {len(self.lost)} lost, {twice}: {self.lost[:3]}"


class StubLoad:
    """Waiting callers in a closed loop, and async jobs at a rate; the outcomes are complete once the block ends."""

    def __init__(  # noqa: PLR0913  all but the address go by keyword
        self,
        address: Address,
        queue: str = "test",
        *,
        callers: int = 4,
        workers: int = 2,
        async_rate: float = 25.0,
        work_s: float = 0.02,
        lease_ms: int = 1000,
        wait_replicas: int = 0,
        more_workers: Sequence[Address] = (),
    ) -> None:
        self.outcomes = Outcomes()
        # Why each async job has no answer yet; empty where it has.
        self.left: dict[str, str] = {}
        self._queue, self._lease_ms, self._work_s = queue, lease_ms, work_s
        self.producer = Producer(address, queue, timeout_s=TIMEOUT_S, worker_grace_s=TIMEOUT_S)
        self.jobs = AsyncJobs(self.producer, max_jobs=100_000, wait_replicas=wait_replicas)
        self._stop = threading.Event()
        self._numbers = count(1)
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(callers)]
        if async_rate:
            self._threads.append(threading.Thread(target=self._enqueue, args=(1 / async_rate,), daemon=True))
            self._threads.append(threading.Thread(target=self._collect, daemon=True))
        self._workers = [*[address] * workers, *more_workers]
        self._stack = ExitStack()

    def __enter__(self) -> StubLoad:
        for address in self._workers:
            self._stack.enter_context(self._worker(address))
        wait_until(lambda: bool(self.producer.refresh().workers), "a worker is known")
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * TIMEOUT_S)
        self.producer.close()
        self._stack.close()

    def wait_for_answers(self, number: int = 20) -> float:
        """Come back when so many more were answered that are asked from now on; return when that was the first time."""
        begin = time.monotonic()
        wait_until(lambda: sum(at > begin for at in self.outcomes.right) >= number, "answers come")
        return time.monotonic()

    def _call(self) -> None:
        while not self._stop.is_set():
            name, begin = f"{next(self._numbers)}.jpg", time.monotonic()
            try:
                answer = self.producer.submit(name, timeout_s=TIMEOUT_S)
            except REFUSALS:
                self.outcomes.refused.append(time.monotonic())
                time.sleep(PAUSE_S)
            except WireError as error:
                self.outcomes.lost.append(f"{name}: {error!r}")
            else:
                if answer.predictions[0][0] != name:
                    self.outcomes.lost.append(f"{name}: the answer of {answer.predictions[0][0]}")
                self.outcomes.answered += 1
                self.outcomes.right.append(time.monotonic())
                self.outcomes.seconds.append(time.monotonic() - begin)

    def _enqueue(self, pause_s: float) -> None:
        while not self._stop.is_set():
            try:
                handle = self.jobs.enqueue(f"{next(self._numbers)}.jpg", timeout_s=120.0)
                self.outcomes.handles.append(handle)
            except REFUSALS:
                self.outcomes.refused.append(time.monotonic())
            time.sleep(pause_s)

    def _collect(self) -> None:
        """Look for the answers of async jobs, which are kept for two minutes, until a while after the end."""
        until = math.inf
        while time.monotonic() < until and not (self._stop.is_set() and self._is_all_collected()):
            until = min(until, time.monotonic() + TIMEOUT_S) if self._stop.is_set() else until
            for handle in self.outcomes.handles[:]:
                if self.left.get(handle) != "":
                    self.left[handle] = self._fault_of(handle)
            time.sleep(PAUSE_S)
        self.outcomes.lost += [f"{handle}: {fault}" for handle, fault in self.left.items() if fault]

    def _fault_of(self, handle: str) -> str:
        """Return why an async job has no answer; empty where it has one."""
        try:
            return "" if self.jobs.find(handle).reply is not None else "no answer"
        except WireError as error:
            return repr(error)

    def _is_all_collected(self) -> bool:
        return all(self.left.get(handle) == "" for handle in self.outcomes.handles)

    @contextmanager
    def _worker(self, address: Address) -> Iterator[None]:
        with StandInWorker(address, self._queue, self._respond, lease_ms=self._lease_ms) as worker:
            leases = Leases(address, [worker.consumer], lambda _: None)
            name = worker.consumer.name
            sweeps = Maintenance(address, self._queue, name, lease_ms=self._lease_ms, max_batch_s=10)
            leases.start()
            sweeps.start()
            yield
            sweeps.stop()
            leases.stop()

    def _respond(self, delivery: Delivery) -> Answer:
        self.outcomes.runs[delivery.job.id] += 1
        time.sleep(self._work_s)
        return answer_for(delivery.job)
