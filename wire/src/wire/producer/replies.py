"""The reply stream of one api process, and the one thread that reads it and wakes whoever waits."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from wire.errors import MessageError, QueueUnavailable
from wire.messages import Job, Reply, decode_reply
from wire.redis.clock import after
from wire.redis.connection import Address, Connection, checked, pack
from wire.redis.keys import Keys
from wire.redis.loop import Loop

log = logging.getLogger(__name__)

BLOCK_MS: Final = 1000
MAX_REPLIES: Final = 200
# Redis answers a blocked read after BLOCK_MS at the latest; a second more, and the connection is taken for dead.
READ_TIMEOUT_S: Final = BLOCK_MS / 1000 + 1.0


@dataclass(slots=True)
class Counts:
    """What a process' asker has seen since it began, for metrics."""

    replies: int = 0
    replies_dropped: int = 0
    replies_unreadable: int = 0
    resubmitted: int = 0


class Waiter:
    """A job that somebody waits for; `done` is set once `reply` is there."""

    __slots__ = (
        "done",
        "entry_id",
        "is_abandoned",
        "job",
        "looked_at",
        "missed",
        "reply",
        "resubmissions",
        "stream",
        "until",
        "was_abandoned",
    )

    def __init__(self, job: Job, until: float, is_abandoned: Callable[[], bool] | None = None) -> None:
        self.job = job
        self.until = until
        self.is_abandoned = is_abandoned
        self.was_abandoned = False
        self.done = threading.Event()
        self.reply: Reply | None = None
        self.entry_id: bytes | None = None
        self.stream = ""
        # For the search for jobs that Redis lost.
        self.looked_at = time.monotonic()
        self.missed = 0
        self.resubmissions = 0


class Replies:
    """Hands each reply to the one who waits for its id; second and unknown replies are counted and dropped."""

    def __init__(self, address: Address, keys: Keys, process: str, counts: Counts) -> None:
        self._connection = Connection(address, "sightline-replies")
        self._key = keys.replies(process)
        self._counts = counts
        self._waiters: dict[str, Waiter] = {}
        self._loop = Loop("replies", self._read, 0.0)
        # Reading from 0 each time, since what was delivered is trimmed: a reply is read again after a lost connection,
        # and none is missed when Redis lost the stream or its clock was set back.
        self._read_packet = pack("XREAD", "COUNT", MAX_REPLIES, "BLOCK", BLOCK_MS, "STREAMS", self._key, "0")
        self._trim_packet = b""

    def ensure_running(self) -> None:
        """Start the reader, or start it again should it have died."""
        self._loop.ensure_running()

    @property
    def is_connected(self) -> bool:
        """Whether replies can arrive at this moment."""
        return self._connection.is_open

    def expect(self, waiter: Waiter) -> None:
        """Have the reply to this job handed over; raises ValueError where its id is already waited for."""
        if self._waiters.setdefault(waiter.job.id, waiter) is not waiter:
            message = f"job id {waiter.job.id!r} is in use: give each job an id of its own"
            raise ValueError(message)

    def forget(self, waiter: Waiter) -> None:
        """Stop waiting; a later reply is dropped."""
        self._waiters.pop(waiter.job.id, None)

    def __len__(self) -> int:
        return len(self._waiters)

    def in_queue(self) -> int:
        """Give how many wait for a job that is in the queue."""
        return sum(waiter.entry_id is not None for waiter in self.waiting())

    def waiting(self) -> list[Waiter]:
        """Give those that wait now."""
        return list(self._waiters.values())

    def release_abandoned(self) -> None:
        """Wake those whose callers have gone; one look at all of them costs less than a timer for each."""
        for waiter in self.waiting():
            if waiter.is_abandoned is not None and waiter.is_abandoned():
                waiter.was_abandoned = True
                waiter.done.set()

    def close(self, exchange: Callable[[bytes, int], list[Any]]) -> None:
        """End the reader, wake whoever waits, and remove the stream by a connection that is not blocked in a read."""
        self._loop.ask_to_stop()
        for waiter in self.waiting():
            waiter.done.set()
        try:
            # Any entry wakes the blocked reader.
            exchange(pack("XADD", self._key, "*", "closing", b""), 1)
            self._loop.stop()
            exchange(pack("DEL", self._key), 1)
        except QueueUnavailable as error:
            log.info("the reply stream expires by itself: %s", error)
            self._loop.stop()

    def drop(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _read(self) -> None:
        packet = self._trim_packet + self._read_packet
        replies = self._connection.exchange(packet, 2 if self._trim_packet else 1, READ_TIMEOUT_S)
        streams = [checked(reply) for reply in replies][-1]
        self._trim_packet = b""
        if streams and not self._loop.is_stopping:
            [[_, entries]] = streams
            for _, fields in entries:
                self._deliver(fields)
            self._trim_packet = pack("XTRIM", self._key, "MINID", after(entries[-1][0]))

    def _deliver(self, fields: list[bytes]) -> None:
        self._counts.replies += 1
        try:
            reply = decode_reply(fields[0], fields[1])
        except MessageError as error:
            self._counts.replies_unreadable += 1
            log.warning("dropped an unreadable reply: %s", error)
            return
        waiter = self._waiters.pop(reply.id, None)
        if waiter is None:
            self._counts.replies_dropped += 1
            return
        waiter.reply = reply
        waiter.done.set()
