"""The background work of a worker process: renew leases, return orphans, remove consumers of ended workers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from wire.consumer.consumer import Consumer
from wire.consumer.triage import Acknowledgement, Entry, acknowledge, triage
from wire.redis.address import Address
from wire.redis.clock import RedisClock
from wire.redis.faults import RedisRefusal
from wire.redis.keys import GROUP, Keys, after, entry_ms
from wire.redis.loop import Loop, jittered
from wire.redis.pipeline import Pipeline
from wire.redis.resp import checked, pack

log = logging.getLogger(__name__)

LONGEST_INTERVAL_S: Final = 1.0
REAP_EVERY_S: Final = 60.0
REAP_AFTER_MS: Final = 3_600_000
# Reading one's own pending entries above this id gives none and shows Redis that the consumer lives. One below the
# highest id there is, since Redis takes that one for ">" and would deliver a new job.
ABOVE_ALL: Final = "18446744073709551615-18446744073709551614"
SWEEP_EVERY_S: Final = 5.0
PAGE: Final = 100
# More than any bound of the queue, so that a sweep reads all of it; a stream that is longer takes several.
MAX_PAGES: Final = 100
# A held entry outlives its deadline by a batch that hangs until its worker exits, and by leases until it is claimed.
LEASES_OF_GRACE: Final = 5


class Leases(Loop):
    """A thread of the worker process that renews what its consumers have in progress, up to their max_batch_s.

    A batch that takes longer hangs: `on_stuck` gets the ids of its jobs, once, and is to end the process, since a
    thread cannot be killed. The jobs then return to the queue by their lease.
    """

    def __init__(self, address: Address, consumers: Sequence[Consumer], on_stuck: Callable[[list[str]], None]) -> None:
        if not consumers:
            raise ValueError("a worker has at least one consumer; got none")
        self._exchange = Pipeline.to(address).exchange
        self._consumers = consumers
        self._on_stuck = on_stuck
        self._was_stuck = False
        self._reap_at = time.monotonic() + jittered(REAP_EVERY_S)
        # Renewed when a third has run, checked as often: a lease is never older than two thirds while Redis answers.
        third_s = min(consumer.lease_ms for consumer in consumers) / 3000
        super().__init__("leases", self._keep, min(third_s, LONGEST_INTERVAL_S))

    def _keep(self) -> None:
        now = time.monotonic()
        self._report_stuck(now)
        self._renew(now)
        if now > self._reap_at:
            self._reap_at = now + jittered(REAP_EVERY_S)
            self._reap()

    def _report_stuck(self, now: float) -> None:
        job_ids = [job_id for consumer in self._consumers for job_id in consumer.stuck(now)]
        if job_ids and not self._was_stuck:
            self._on_stuck(job_ids)
        self._was_stuck = bool(job_ids)

    def _renew(self, now: float) -> None:
        due = [(consumer, consumer.to_renew(now)) for consumer in self._consumers]
        # JUSTID leaves the number of deliveries alone.
        claims = [
            pack("XCLAIM", consumer.stream, GROUP, consumer.name, 0, *entry_ids, "JUSTID")
            for consumer, entry_ids in due
            if entry_ids
        ]
        if claims:
            # A lost group is created again by the consumers; until then there is nothing to renew.
            self._exchange(b"".join(claims), len(claims))

    def _reap(self) -> None:
        """Remove consumers that hold nothing and were not seen for an hour; with pending jobs they must stay."""
        touches = [
            pack("XREADGROUP", "GROUP", GROUP, consumer.name, "COUNT", 1, "STREAMS", consumer.stream, ABOVE_ALL)
            for consumer in self._consumers
        ]
        streams = sorted({consumer.stream for consumer in self._consumers})
        looks = [pack("XINFO", "CONSUMERS", stream, GROUP) for stream in streams]
        replies = self._exchange(b"".join(touches + looks), len(touches) + len(looks))
        removals = [
            pack("XGROUP", "DELCONSUMER", stream, GROUP, name)
            for stream, consumers in zip(streams, replies[len(touches) :], strict=True)
            for name in map(_name_if_gone, checked(consumers))
            if name is not None
        ]
        if removals:
            self._exchange(b"".join(removals), len(removals))


def _name_if_gone(consumer: list[Any]) -> bytes | None:
    facts = dict(zip(consumer[::2], consumer[1::2], strict=True))
    name: bytes = facts[b"name"]
    return name if facts[b"pending"] == 0 and facts[b"idle"] > REAP_AFTER_MS else None


class _Seen(NamedTuple):
    """An entry that was delivered once; by this process' monotonic clock it was first seen at `since`, `for_ms` ago."""

    id: bytes
    fields: list[bytes]
    is_pending: bool
    since: float
    for_ms: int


class Maintenance(Loop):
    """A thread of the worker process that scans the delivered entries, immediately and then every few seconds.

    An orphan before its deadline is made pending under `consumer` with an expired lease, so that it is claimed as the
    jobs of a dead worker are. One that is past its deadline or cannot be read is ended, with a reply. The
    deadline is judged by Redis' clock and by this process' own, whichever is later, since Redis' may be set back; a
    pending entry whose idle time that has made wrong is ended as well once it is long past its deadline.
    """

    def __init__(self, address: Address, queue: str, consumer: str, *, lease_ms: int, max_batch_s: float) -> None:
        self._exchange = Pipeline.to(address).exchange
        self._keys = Keys(queue)
        self._consumer = consumer
        self._lease_ms = lease_ms
        self._grace_ms = int(max_batch_s * 1000) + LEASES_OF_GRACE * lease_ms
        self._clock = RedisClock()
        self._first_seen: dict[str, dict[bytes, float]] = {}
        super().__init__("maintenance", self.sweep, jittered(SWEEP_EVERY_S))

    def sweep(self) -> None:
        """Look through all entries that were delivered; raise QueueUnavailable."""
        for stream in (self._keys.jobs, self._keys.expensive):
            self._first_seen[stream] = self._sweep(stream, self._first_seen.get(stream, {}))

    def _sweep(self, stream: str, known: Mapping[bytes, float]) -> dict[bytes, float]:
        """Look through one stream; return since when each entry has been seen there."""
        last = self._last_delivered(stream)
        first_seen: dict[bytes, float] = {}
        begin = "-"
        for _ in range(MAX_PAGES if last else 0):
            seen = self._page(stream, begin, last, known)
            first_seen.update((each.id, each.since) for each in seen)
            self._mend(stream, [each for each in seen if not each.is_pending])
            self._end_stuck(stream, [each for each in seen if each.is_pending])
            if len(seen) < PAGE:
                break
            begin = after(seen[-1].id)
        return first_seen

    def _last_delivered(self, stream: str) -> bytes:
        """Return the id of the last entry that the group delivered; empty where there is no group."""
        [groups] = self._exchange(pack("XINFO", "GROUPS", stream), 1)
        if isinstance(groups, RedisRefusal) and str(groups).startswith("ERR no such key"):
            return b""
        facts = [dict(zip(group[::2], group[1::2], strict=True)) for group in checked(groups)]
        return next((each[b"last-delivered-id"] for each in facts if each[b"name"] == GROUP.encode()), b"")

    def _page(self, stream: str, begin: str, last: bytes, known: Mapping[bytes, float]) -> list[_Seen]:
        sent_at = time.monotonic()
        packet = pack("XRANGE", stream, begin, last, "COUNT", PAGE) + pack("TIME")
        entries, now = map(checked, self._exchange(packet, 2))
        self._clock.read(now, sent_at)
        moment = time.monotonic()
        pending = self._pending(stream, [entry_id for entry_id, _ in entries])
        seen = []
        for (entry_id, fields), is_pending in zip(entries, pending, strict=True):
            since = known.get(entry_id, moment)
            seen.append(_Seen(entry_id, fields, is_pending, since, int((moment - since) * 1000)))
        return seen

    def _pending(self, stream: str, entry_ids: Sequence[bytes]) -> list[bool]:
        looks = [pack("XPENDING", stream, GROUP, each, each, 1) for each in entry_ids]
        return [bool(checked(reply)) for reply in self._exchange(b"".join(looks), len(looks))]

    def _mend(self, stream: str, unheld: Sequence[_Seen]) -> None:
        """Return orphans to the workers, or end them."""
        orphans = self._still_there(stream, unheld)
        acknowledgements = [ending for each in orphans if (ending := self._ending(each)) is not None]
        ended = {each.entry_id.encode() for each in acknowledgements}
        returned = [each.id for each in orphans if each.id not in ended]
        if orphans:
            log.warning("no worker held %d jobs: %d returned, %d ended", len(orphans), len(returned), len(ended))
        if acknowledgements:
            acknowledge(self._exchange, self._keys, stream, acknowledgements)
        if returned:
            options = ("IDLE", self._lease_ms, "FORCE", "JUSTID")
            claim = pack("XCLAIM", stream, GROUP, self._consumer, self._lease_ms, *returned, *options)
            checked(self._exchange(claim, 1)[0])

    def _still_there(self, stream: str, unheld: Sequence[_Seen]) -> list[_Seen]:
        """Leave out what was answered between the look at the entry and the look at who holds it."""
        looks = [pack("XRANGE", stream, each.id, each.id) for each in unheld]
        found: list[Any] = self._exchange(b"".join(looks), len(looks)) if looks else []
        return [each for each, entries in zip(unheld, found, strict=True) if checked(entries)]

    def _end_stuck(self, stream: str, held: Sequence[_Seen]) -> None:
        """End what is pending long after its deadline, which happens where Redis' clock was set back."""
        watched = [each for each in held if each.for_ms > self._grace_ms]
        endings = [self._ending(each, self._grace_ms) for each in watched]
        acknowledgements = [ending for ending in endings if ending is not None]
        if acknowledgements:
            log.warning("ending %d jobs that are pending long after their deadline", len(acknowledgements))
            acknowledge(self._exchange, self._keys, stream, acknowledgements)

    def _ending(self, seen: _Seen, grace_ms: int = 0) -> Acknowledgement | None:
        """Return how an entry that is past its deadline, or unreadable, is to end; None while it may be run."""
        moment_ms = max(self._clock.now_ms(seen.id), entry_ms(seen.id) + seen.for_ms)
        verdict = triage(Entry(seen.id, seen.fields), moment_ms - grace_ms, max_deliveries=1)
        return verdict if isinstance(verdict, Acknowledgement) else None
