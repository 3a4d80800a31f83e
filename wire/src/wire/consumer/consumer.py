"""The model's side of the queue: take jobs, return answers, and measure the throughput."""

from __future__ import annotations

import logging
import math
import secrets
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

from wire.consumer.triage import Acknowledgement, Delivery, Entry, acknowledge, triage
from wire.decode_cost import PHOTOGRAPH_MS, extra_ms
from wire.errors import QueueUnavailable
from wire.messages import Answer, Failure, Job
from wire.redis.address import Address
from wire.redis.clock import RedisClock
from wire.redis.connection import Connection
from wire.redis.faults import RedisRefusal
from wire.redis.keys import GROUP, Keys
from wire.redis.loop import Backoff, jittered
from wire.redis.resp import checked, pack

log = logging.getLogger(__name__)

# A blocked read is answered at its end; this much later the connection is taken for dead.
READ_TIMEOUT_S: Final = 2.0
# Others claim at the same time, and entries may be withdrawn: try a few before going on to new jobs.
MAX_CLAIMS: Final = 16
# However much longer than estimated decoding seems to take.
MAX_STRETCH: Final = 10.0
# Long enough to be calm, short enough to follow a machine that becomes slower.
MEMORY_S: Final = 5.0
# However much of the time decoding seems to take, so much was something else.
MIN_SHARE: Final = 0.02


class Consumer:
    """Takes jobs of one stream, that of expensive ones or the other, and answers them under a consumer name of its own.

    One thread receives and answers. All consumers of a process share one `isolation` lock: a job that may have killed a
    worker is then the only such job in the process, so that no other job fails with it repeatedly and is taken
    for poison too.

    `first_rate` is the assumed rate until it has worked, `slowness` that of worker_registry.WorkerInfo.
    """

    def __init__(  # noqa: PLR0913  the limits go by keyword
        self,
        address: Address,
        queue: str,
        name: str,
        *,
        lease_ms: int,
        max_batch_s: float,
        max_deliveries: int = 3,
        isolation: threading.Lock | None = None,
        is_expensive: bool = False,
        first_rate: float = 0.0,
        slowness: float = 1.0,
    ) -> None:
        self.name = f"{name}:{secrets.token_hex(4)}"
        self.lease_ms = lease_ms
        self._max_batch_s = max_batch_s
        self._max_deliveries = max_deliveries
        self._isolation = isolation or threading.Lock()
        self._keys = Keys(queue)
        self.stream = self._keys.expensive if is_expensive else self._keys.jobs
        # Runs after a read, without a further round trip: Redis' clock, which judges deadlines, and the depth.
        self._after_read = pack("TIME") + pack("XLEN", self._keys.jobs) + pack("XLEN", self._keys.expensive)
        self._connection = Connection(address, "sightline-consumer")
        self._clock = RedisClock()
        self._backoff = Backoff()
        self._claim_at = 0.0
        self._has_lost_touch = False
        self._held: dict[str, Delivery] = {}
        self._answering: set[str] = set()
        self._isolated = ""
        self._throughput = Throughput(first_rate)
        self._slowness = slowness
        self._busy_since = 0.0
        self._progress_at = 0.0

    @property
    def rate(self) -> float:
        """Photographs a second while busy, `first_rate` until something was answered."""
        return self._throughput.rate

    @property
    def stretch(self) -> float:
        """Return how many times as long as estimated images took to decode lately; 0 while all were photographs."""
        return self._throughput.stretch

    def receive(self, max_jobs: int, block_ms: int) -> list[Delivery]:
        """Take up to max_jobs, oldest first, waiting up to block_ms for the first; a reclaimed job comes alone.

        Return none when none came, which may be sooner than block_ms. Raise QueueUnavailable after a pause of its own:
        the caller may simply call again.
        """
        try:
            reclaimed = self._next_reclaimed()
            jobs = [reclaimed] if reclaimed is not None else self._read_new(max_jobs, block_ms)
        except QueueUnavailable:
            self._has_lost_touch = True
            time.sleep(self._backoff.next_pause_s())
            raise
        self._backoff.reset()
        return self._hold(jobs)

    def answer(
        self, outcomes: Sequence[tuple[Delivery, Answer | Failure]], decode_s: float = 0.0, waited_s: float = 0.0
    ) -> None:
        """Reply, acknowledge and delete in one transaction, again and again while Redis is away and a caller waits.

        `decode_s` is how long decoding the images took, each once; as long as estimated if not given. `waited_s` is for
        how long nothing was done for them, which does not count as busy.
        Raise QueueUnavailable once all deadlines have passed; the jobs then return to the queue by their lease.
        """
        acknowledgements = [Acknowledgement(each.entry_id, each.job.reply_to, reply) for each, reply in outcomes]
        entry_ids = [each.entry_id for each in acknowledgements]
        self._answering.update(entry_ids)
        try:
            self._acknowledge_until(acknowledgements, max((each.deadline for each, _ in outcomes), default=0.0))
            self._record([each.job for each, _ in outcomes], decode_s, waited_s)
        finally:
            self._let_go(entry_ids)

    def to_renew(self, now: float) -> list[str]:
        """Return the entries whose lease has run for a third, and that are not stuck."""
        held = list(self._held.values())
        return [
            each.entry_id
            for each in held
            if now - each.received_at > self.lease_ms / 3000 and not self._is_stuck(each, now)
        ]

    def stuck(self, now: float) -> list[str]:
        """Return the ids of the held jobs, where none has ended for longer than any batch may take."""
        return [each.job.id for each in list(self._held.values()) if self._is_stuck(each, now)]

    def close(self) -> None:
        """Close the connections; the consumer goes where it holds nothing, else its jobs return by their lease."""
        try:
            mine = pack("XPENDING", self.stream, GROUP, "-", "+", 1, self.name)
            if self._connection.exchange(mine, 1) == [[]]:
                self._connection.exchange(pack("XGROUP", "DELCONSUMER", self.stream, GROUP, self.name), 1)
        except QueueUnavailable as error:
            log.info("consumer %s stays until it is reaped: %s", self.name, error)
        self._let_go(list(self._held))
        self._connection.close()

    def _next_reclaimed(self) -> Delivery | None:
        if self._has_lost_touch:
            # Redis may have given this consumer jobs in a reply that never arrived.
            stranded = self._claim(0, self.name)
            self._has_lost_touch = stranded is not None
            return stranded
        if time.monotonic() < self._claim_at:
            return None
        if not self._isolation.acquire(blocking=False):
            self._pause_claims()
            return None
        reclaimed = None
        try:
            reclaimed = self._claim(self.lease_ms)
        finally:
            if reclaimed is None:
                self._isolation.release()
        self._isolated = "" if reclaimed is None else reclaimed.entry_id
        return reclaimed

    def _pause_claims(self) -> None:
        self._claim_at = time.monotonic() + jittered(self.lease_ms / 2000)

    def _claim(self, idle_ms: int, *owner: str) -> Delivery | None:
        """Take over one job that has been pending for so long; what is not to be run is ended on the way."""
        idle = ("IDLE", idle_ms) if idle_ms else ()
        for _ in range(MAX_CLAIMS):
            look = pack("XPENDING", self.stream, GROUP, *idle, "-", "+", len(self._held) + 1, *owner)
            [pending] = self._connection.exchange(look, 1)
            if self._is_group_lost(pending):
                self._pause_claims()
                return None
            candidates = [each for each in checked(pending) if each[0].decode() not in self._held]
            if not candidates:
                self._pause_claims()
                return None
            delivery = self._take_over(candidates[0], idle_ms)
            if delivery is not None:
                return delivery
        return None

    def _take_over(self, pending: list[Any], idle_ms: int) -> Delivery | None:
        entry_id, last_owner, _, deliveries = pending
        packet = pack("XCLAIM", self.stream, GROUP, self.name, idle_ms, entry_id) + self._after_read
        begin = time.monotonic()
        claimed, *after = map(checked, self._connection.exchange(packet, 4))
        # Redis 6.2 gives a nil for an entry that was deleted while pending, 7.0 nothing.
        entries = [
            Entry(entry_id, claim[1] if claim else None, deliveries + 1, last_owner.decode()) for claim in claimed
        ]
        return next(iter(self._sort(entries, after, begin)), None)

    def _read_new(self, max_jobs: int, block_ms: int) -> list[Delivery]:
        # Not beyond the time of the next claim.
        block_ms = min(block_ms, int((self._claim_at - time.monotonic()) * 1000) + 1)
        block = ("BLOCK", block_ms) if block_ms > 0 else ()
        read = pack("XREADGROUP", "GROUP", GROUP, self.name, "COUNT", max_jobs, *block, "STREAMS", self.stream, ">")
        timeout_s = max(block_ms, 0) / 1000 + READ_TIMEOUT_S
        begin = time.monotonic()
        streams, *after = self._connection.exchange(read + self._after_read, 4, timeout_s)
        if self._is_group_lost(streams):
            return []
        entries = checked(streams)[0][1] if checked(streams) else []
        return self._sort([Entry(entry_id, fields) for entry_id, fields in entries], list(map(checked, after)), begin)

    def _is_group_lost(self, reply: Any) -> bool:
        if not isinstance(reply, RedisRefusal) or not str(reply).startswith(("NOGROUP", "UNBLOCKED")):
            return False
        # At 0, not at $: jobs that came in while there was no group are to be done as well.
        self._connection.exchange(pack("XGROUP", "CREATE", self.stream, GROUP, "0", "MKSTREAM"), 1)
        return True

    def _sort(self, entries: Sequence[Entry], after: Sequence[Any], begin: float) -> list[Delivery]:
        now, *lengths = after
        self._clock.read(now, begin)
        depth = sum(lengths)
        verdicts = [triage(entry, self._clock.now_ms(entry.id), self._max_deliveries, depth) for entry in entries]
        acknowledgements = [verdict for verdict in verdicts if isinstance(verdict, Acknowledgement)]
        if acknowledgements:
            acknowledge(self._connection.exchange, self._keys, self.stream, acknowledgements)
        return [verdict for verdict in verdicts if isinstance(verdict, Delivery)]

    def _hold(self, jobs: list[Delivery]) -> list[Delivery]:
        if jobs and not self._held:
            self._busy_since = time.monotonic()
        self._held.update((each.entry_id, each) for each in jobs)
        return jobs

    def _acknowledge_until(self, acknowledgements: Sequence[Acknowledgement], until: float) -> None:
        backoff = Backoff()
        while acknowledgements:
            try:
                acknowledge(self._connection.exchange, self._keys, self.stream, acknowledgements)
                return
            except QueueUnavailable:
                if time.monotonic() > until:
                    raise
                time.sleep(backoff.next_pause_s())

    def _record(self, jobs: Sequence[Job], decode_s: float, waited_s: float) -> None:
        now, ms = time.monotonic(), self._slowness / 1000
        extra_s, stretch = ms * sum(map(extra_ms, jobs)), 1.0
        if extra_s and decode_s:
            stretch = decode_s / (ms * sum(max(job.decode_ms, PHOTOGRAPH_MS) for job in jobs))
        self._throughput.record(len(jobs), now - self._busy_since - waited_s, extra_s, stretch)
        self._busy_since = now

    def _let_go(self, entry_ids: Sequence[str]) -> None:
        self._progress_at = time.monotonic()
        for entry_id in entry_ids:
            self._held.pop(entry_id, None)
            self._answering.discard(entry_id)
            if entry_id == self._isolated:
                self._isolated = ""
                self._claim_at = 0.0
                self._isolation.release()

    def _is_stuck(self, delivery: Delivery, now: float) -> bool:
        # Waiting for Redis with an answer is not hanging.
        since = max(delivery.received_at, self._progress_at)
        return now - since > self._max_batch_s and delivery.entry_id not in self._answering


class Throughput:
    """Photographs per busy second, and how long decoding takes beyond them, over the last busy seconds.

    The two are measured apart: on a busy machine, or together with expensive images, decoding takes longer than
    estimated, which does not represent photographs. `rate` is what it was measured at before any work.
    """

    def __init__(self, rate: float = 0.0) -> None:
        self._first_rate = rate
        self._jobs = self._busy_s = 0.0
        self._estimated_s = self._decode_s = 0.0

    @property
    def rate(self) -> float:
        """Jobs a second; 0 while nothing is known."""
        return self._jobs / self._busy_s if self._busy_s > 0 else self._first_rate

    @property
    def stretch(self) -> float:
        """How many times as long as estimated decoding took; 0 while nothing is known."""
        return min(self._decode_s / self._estimated_s, MAX_STRETCH) if self._estimated_s > 0 else 0.0

    def record(self, jobs: int, busy_s: float, estimated_s: float = 0.0, stretch: float = 1.0) -> None:
        """Add a piece of work and let older ones fade.

        `estimated_s` is what its images were to take to decode beyond photographs; they took `stretch` times that.
        """
        if estimated_s:
            fade = math.exp(-busy_s / MEMORY_S)
            self._decode_s = self._decode_s * fade + estimated_s * stretch
            self._estimated_s = self._estimated_s * fade + estimated_s
        busy_s = max(busy_s - estimated_s * stretch, MIN_SHARE * busy_s)
        fade = math.exp(-busy_s / MEMORY_S)
        self._jobs = self._jobs * fade + jobs
        self._busy_s = self._busy_s * fade + busy_s
