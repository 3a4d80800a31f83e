"""The state of the queue as one process knows it: depth, age, live workers, and whether Redis is there at all."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple, Self

from wire.errors import QueueUnavailable
from wire.redis.address import Address
from wire.redis.keys import Keys, entry_ms, time_ms
from wire.redis.pipeline import Pipeline, Script, Words
from wire.redis.resp import checked, pack
from wire.worker_registry import Served, WorkerInfo, decode_labels, live_workers

REFRESH_EVERY_S: Final = 0.1
# The list of workers is long; while it names no live one it is read each time.
WORKERS_EVERY_S: Final = 1.0
# With more workers than that it is read less often, up to this: the list of 200 takes 100 KB.
MANY_WORKERS: Final = 100
LONGEST_WORKERS_EVERY_S: Final = 2.0
STALE_AFTER_S: Final = 2.0
# Seconds that the refusal of an expensive job applies to similar ones; also their Retry-After.
REFUSAL_HOLDS_S: Final = 1.0
EXPENSIVE_SHARE: Final = 0.25
# Along with other work an expensive image is decoded at half speed.
USUAL_STRETCH: Final = 2.0
# Jobs a second and consumer, until any worker has measured its own.
NOMINAL_CONSUMER_RATE: Final = 50.0


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the live workers can do together.

    `rate` is in photographs a second, 0 while none is known; `consumer_rate` is that of one consumer, an estimate while
    none is known; `expensive_consumers` are the consumers that expensive jobs are guaranteed. `stretch` is how many
    times as long as estimated their images take to decode, `usual_stretch` those of the other jobs.
    """

    rate: float = 0.0
    consumer_rate: float = NOMINAL_CONSUMER_RATE
    in_hand: int = 0
    slowness: float = 1.0
    budget_s: float = math.inf
    expensive_consumers: float = EXPENSIVE_SHARE
    stretch: float = USUAL_STRETCH
    usual_stretch: float = 1.0

    @classmethod
    def of(cls, workers: Sequence[WorkerInfo]) -> Self:
        """Add up what workers publish; one that has not measured its rate counts as the others do."""
        known = [info for info in workers if info.rate > 0]
        consumer_rate = sum(info.rate for info in known) / sum(info.consumers for info in known) if known else 0.0
        slowness = [info.slowness for info in workers if info.slowness > 0]
        stretches = [info.stretch for info in workers if info.stretch > 0]
        usual_stretches = [info.usual_stretch for info in workers if info.usual_stretch > 0]
        # A worker of an earlier release has no budget, and does not read the stream of expensive jobs.
        takers = [info for info in workers if info.decode_budget_s > 0]
        return cls(
            rate=consumer_rate * sum(info.consumers for info in workers),
            consumer_rate=consumer_rate or NOMINAL_CONSUMER_RATE,
            in_hand=sum(info.consumers * info.max_batch for info in workers),
            slowness=sum(slowness) / len(slowness) if slowness else 1.0,
            budget_s=max((info.decode_budget_s for info in takers), default=math.inf),
            expensive_consumers=sum(min(info.consumers * EXPENSIVE_SHARE, 1.0) for info in takers)
            if workers
            else EXPENSIVE_SHARE,
            stretch=max([USUAL_STRETCH, *stretches]),
            # Not below 1: where images took less than estimated, others of the same estimate may take all of it.
            usual_stretch=max(sum(usual_stretches) / len(usual_stretches), 1.0) if usual_stretches else 1.0,
        )


@dataclass(frozen=True, slots=True)
class QueueSnapshot:
    """The queue at one moment; `as_of` is this process' monotonic clock in seconds.

    `depth` is what the usual jobs cost in photographs, as admission counts it (their number, for a reader that admits
    none), and `bound` the depth that a usual job with the usual timeout must not exceed; `expensive_depth` is the
    number of the others, `jobs` that of all. `rate` is the photographs a second that all live workers can do together.
    `model`, `version`, `preprocessing` and `labels` are what most live consumers serve, or served last where none is
    live; each worker's own is in `workers`.
    `served` is what every live worker serves, None while they differ; `startup_error` why one could not start lately.
    `standstill_s` is for how long neither the number nor the oldest of the usual jobs has changed, as far as this
    process knows.
    """

    depth: int
    oldest_age_s: float
    bound: int
    rate: float
    workers: tuple[WorkerInfo, ...]
    labels: tuple[str, ...]
    model: str
    version: str
    preprocessing: str
    as_of: float
    startup_error: str = ""
    standstill_s: float = 0.0
    expensive_depth: int = 0
    jobs: int = 0
    capacity: Capacity = field(default_factory=Capacity)
    served: Served | None = None


class Memory(NamedTuple):
    """The bytes that Redis uses, and its `maxmemory`; 0 where it has no limit."""

    used: int
    limit: int

    @classmethod
    def read(cls, reply: bytes) -> Self:
        """Return the figures of a reply to INFO."""
        figures = dict(line.split(":", 1) for line in reply.decode("utf-8", "replace").splitlines() if ":" in line)
        return cls(int(figures.get("used_memory", 0)), int(figures.get("maxmemory", 0)))


def served_by_all(workers: Sequence[WorkerInfo]) -> Served | None:
    """Return what every worker serves; None while they differ, as in a roll-out, or where there is none."""
    served = {info.served for info in workers}
    return served.pop() if len(served) == 1 else None


class Admission(NamedTuple):
    """The side of a producer: its bounds, without and with expensive jobs; how many jobs it waits for; its script.

    `probe` runs the script without a job, for the depth as it counts it.
    """

    bounds: Callable[[Capacity], tuple[int, int]] = lambda capacity: (0, 0)
    own: Callable[[], int] = lambda: 0
    script: Script | None = None
    probe: Callable[[Capacity], Words] = lambda capacity: ()


NO_ADMISSION: Final = Admission()


EMPTY: Final = QueueSnapshot(0, 0.0, 0, 0.0, (), (), "", "", "", -math.inf)


class QueueStats:
    """Holds the last snapshot, and the depth as every submission since then has found it."""

    def __init__(self, address: Address, queue: str, *, timeout_s: float, admission: Admission = NO_ADMISSION) -> None:
        self._pipeline = Pipeline.to(address)
        self._timeout_s = timeout_s
        self._keys = keys = Keys(queue)
        self._admission = admission
        self.latest: QueueSnapshot | None = None
        # Why Redis is known to be away, for every submission until it answers again.
        self.fault: QueueUnavailable | None = None
        # The depth as the last submission or look has found it, and how many own jobs it includes.
        self.found = (0, 0)
        # What the last read of the list of workers gave, and when that was.
        self._listed, self._labels_digest, self._bounds = EMPTY, "", (0, 0)
        # When the last reads began to find no live worker; None where the last one found some.
        self._workerless_since: float | None = -math.inf
        # The number of usual jobs and the oldest of them, and since when they are these.
        self._front = (0, b"", -math.inf)
        self._refusal = (0.0, -math.inf)
        self._depth_packet = pack("TIME")
        for stream in (keys.jobs, keys.expensive):
            self._depth_packet += pack("XLEN", stream) + pack("XRANGE", stream, "-", "+", "COUNT", 1)
        # With a command that writes nothing, and that a Redis refuses which cannot be written to.
        self._workers_packet = pack("HGETALL", keys.workers) + pack("GET", keys.startup_error)
        self._workers_packet += pack("XDEL", keys.jobs, "0-0")

    def depth(self) -> int:
        """Return the depth by now: the jobs of others when it was last found, and the own ones of this moment."""
        depth, own = self.found
        # A caller who has not yet received its answer counts for a job that the queue has no more: never below none.
        return max(depth - own, 0) + self._admission.own()

    def report_expensive_refusal(self, depth: int) -> None:
        """Note at which depth, in photographs, an expensive job was refused just now."""
        self._refusal = depth, time.monotonic()

    def refused_depth(self, rate_per_s: float) -> float:
        """Return what is left of that depth, had the workers done that rate since then; 0 once it no longer holds."""
        depth, at = self._refusal
        past_s = time.monotonic() - at
        return depth - rate_per_s * past_s if past_s <= REFUSAL_HOLDS_S else 0.0

    def has_workers_within(self, seconds: float) -> bool:
        """Return whether there is a live worker, or there has been none for less than these seconds.

        They begin with the first read that finds none. After the machine stood still, none has been seen for long.
        """
        return self._workerless_since is None or time.monotonic() - self._workerless_since < seconds

    def refresh(self, *, workers: bool = True) -> QueueSnapshot:
        """Read the depth, and the list of workers if asked to or once a second; raise QueueUnavailable."""
        try:
            latest = self._read(with_workers=workers or self._are_workers_due())
        except QueueUnavailable as fault:
            self.latest, self.fault = None, fault
            raise
        if self.latest is not None and latest.expensive_depth < self.latest.expensive_depth:
            self._refusal = 0.0, -math.inf  # one has ended, and no other has taken its place
        self.latest, self.fault = latest, None
        return latest

    def _are_workers_due(self) -> bool:
        count = len(self._listed.workers)
        every_s = min(WORKERS_EVERY_S * max(count / MANY_WORKERS, 1), LONGEST_WORKERS_EVERY_S)
        return not count or time.monotonic() - self._listed.as_of >= every_s

    def _read(self, *, with_workers: bool) -> QueueSnapshot:
        # Redis answers immediately, but this thread may receive the reply late: what changes meanwhile is newer.
        as_of, own = time.monotonic(), self._admission.own()
        packet, count = self._depth_packet, 5
        if with_workers:
            packet, count = packet + self._workers_packet, 8
        replies, depth = self._exchange(packet, count)
        now, jobs, oldest, expensive, oldest_expensive, *listed = replies
        now_ms = time_ms(now)
        if listed:
            self._listed = self._with_workers(listed[0], listed[1], now_ms, as_of)
        depth = jobs if depth is None else depth
        self.found = depth, own
        return replace(
            self._listed,
            depth=depth,
            oldest_age_s=max([0, *(now_ms - entry_ms(each) for each, _ in [*oldest, *oldest_expensive])]) / 1000,
            bound=self._bounds[expensive > 0],
            as_of=as_of,
            standstill_s=self._standstill_s(jobs, oldest[0][0] if oldest else b"", as_of),
            expensive_depth=expensive,
            jobs=jobs + expensive,
        )

    def _exchange(self, packet: bytes, count: int) -> tuple[list[Any], int | None]:
        """Return the replies to a packet, and the depth as the script counts it."""
        script, probe = self._admission.script, self._admission.probe
        if script is None:
            return [*map(checked, self._pipeline.exchange(packet, count, self._timeout_s))], None
        found = self._pipeline.run(script, [probe(self._listed.capacity)], self._timeout_s, before=(packet, count))
        *replies, [depth] = map(checked, found)
        return replies, depth

    def _with_workers(
        self, published: Sequence[bytes], startup_error: bytes | None, now_ms: int, now: float
    ) -> QueueSnapshot:
        live = live_workers(published, now_ms)
        if live:
            self._workerless_since = None
        elif self._workerless_since is None:
            self._workerless_since = now
        capacity = Capacity.of(live)
        self._bounds = self._admission.bounds(capacity)
        return replace(
            self._with_served(_most_served(live)) if live else self._listed,
            rate=capacity.rate,
            workers=live,
            as_of=now,
            startup_error=(startup_error or b"").decode(errors="replace"),
            capacity=capacity,
            served=served_by_all(live),
        )

    def _with_served(self, served: Served) -> QueueSnapshot:
        return replace(
            EMPTY,
            labels=self._labels_of(served.labels_digest),
            model=served.model,
            version=served.version,
            preprocessing=served.preprocessing,
        )

    def _standstill_s(self, count: int, oldest: bytes, now: float) -> float:
        if (count, oldest) != self._front[:2]:
            self._front = (count, oldest, now)
        return now - self._front[2]

    def _labels_of(self, digest: str) -> tuple[str, ...]:
        if digest == self._labels_digest and self._listed.labels:
            return self._listed.labels
        [published] = self._pipeline.exchange(pack("GET", self._keys.labels(digest)), 1, self._timeout_s)
        self._labels_digest = digest
        return decode_labels(checked(published), digest)


def _most_served(workers: Sequence[WorkerInfo]) -> Served:
    """Return what most consumers serve; of equals the one whose name is last, so that it stays."""
    consumers: Counter[Served] = Counter()
    for info in workers:
        consumers[info.served] += info.consumers
    return max(consumers, key=lambda served: (consumers[served], served))
