"""Keeping the leases of what a worker has in progress, and clearing away the consumers of workers that went."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from wire.consumer.consumer import Lane
from wire.redis.connection import Address, Connection, checked, jittered, pack
from wire.redis.keys import GROUP
from wire.redis.loop import Loop

LONGEST_INTERVAL_S: Final = 1.0
REAP_EVERY_S: Final = 60.0
REAP_AFTER_MS: Final = 3_600_000
# Reading one's own pending entries above this id gives none and tells Redis that the consumer lives. One below the
# highest id there is, since Redis takes that one for ">" and would deliver a new job.
ABOVE_ALL: Final = "18446744073709551615-18446744073709551614"


class Leases:
    """A thread of the worker process that renews what its lanes have in progress, up to their max_batch_s.

    A batch that takes longer hangs: `on_stuck` gets the ids of its jobs, once, and is to end the process, since a
    thread cannot be killed. The jobs then return to the queue by their lease.
    """

    def __init__(self, address: Address, lanes: Sequence[Lane], on_stuck: Callable[[list[str]], None]) -> None:
        if not lanes:
            message = "a worker has at least one lane; got none"
            raise ValueError(message)
        self._connection = Connection(address, "sightline-leases")
        self._lanes = lanes
        self._on_stuck = on_stuck
        self._was_stuck = False
        self._reap_at = time.monotonic() + jittered(REAP_EVERY_S)
        # Renewed when a third has run, looked at as often: a lease is never older than two thirds while Redis answers.
        third_s = min(lane.lease_ms for lane in lanes) / 3000
        self._loop = Loop("leases", self._keep, min(third_s, LONGEST_INTERVAL_S))

    def start(self) -> None:
        """Begin to renew."""
        self._loop.ensure_running()

    def stop(self) -> None:
        """End the thread and close the connection."""
        self._loop.stop()
        self._connection.close()

    def _keep(self) -> None:
        now = time.monotonic()
        self._tell_of_stuck(now)
        self._renew(now)
        if now > self._reap_at:
            self._reap_at = now + jittered(REAP_EVERY_S)
            self._reap()

    def _tell_of_stuck(self, now: float) -> None:
        job_ids = [job_id for lane in self._lanes for job_id in lane.stuck(now)]
        if job_ids and not self._was_stuck:
            self._on_stuck(job_ids)
        self._was_stuck = bool(job_ids)

    def _renew(self, now: float) -> None:
        due = [(lane, lane.to_renew(now)) for lane in self._lanes]
        # JUSTID leaves the number of deliveries alone.
        claims = [
            pack("XCLAIM", lane.stream, GROUP, lane.consumer, 0, *entry_ids, "JUSTID")
            for lane, entry_ids in due
            if entry_ids
        ]
        if claims:
            # A lost group is made anew by the lanes; until then there is nothing to renew.
            self._connection.exchange(b"".join(claims), len(claims))

    def _reap(self) -> None:
        """Remove consumers that hold nothing and were not heard of for an hour; with pending jobs they must stay."""
        touches = [
            pack("XREADGROUP", "GROUP", GROUP, lane.consumer, "COUNT", 1, "STREAMS", lane.stream, ABOVE_ALL)
            for lane in self._lanes
        ]
        streams = sorted({lane.stream for lane in self._lanes})
        looks = [pack("XINFO", "CONSUMERS", stream, GROUP) for stream in streams]
        replies = self._connection.exchange(b"".join(touches + looks), len(touches) + len(looks))
        removals = [
            pack("XGROUP", "DELCONSUMER", stream, GROUP, name)
            for stream, consumers in zip(streams, replies[len(touches) :], strict=True)
            for name in map(_name_if_gone, checked(consumers))
            if name is not None
        ]
        if removals:
            self._connection.exchange(b"".join(removals), len(removals))


def _name_if_gone(consumer: list[Any]) -> bytes | None:
    facts = dict(zip(consumer[::2], consumer[1::2], strict=True))
    name: bytes = facts[b"name"]
    return name if facts[b"pending"] == 0 and facts[b"idle"] > REAP_AFTER_MS else None
