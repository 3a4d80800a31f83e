"""The jobs that an api process waits for: the one thread that reads their replies, and what becomes of lost ones."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from wire.errors import MessageError, QueueFull, QueueUnavailable
from wire.messages import Job, Reply, decode_reply
from wire.producer.admission import Terms, admitted
from wire.redis.address import Address
from wire.redis.connection import Connection
from wire.redis.keys import Keys, after
from wire.redis.loop import Loop
from wire.redis.pipeline import Words
from wire.redis.resp import checked, pack

log = logging.getLogger(__name__)

BLOCK_MS: Final = 1000
MAX_REPLIES: Final = 200
# Redis answers a blocked read after BLOCK_MS at the latest; a second more, and the connection is taken for dead.
READ_TIMEOUT_S: Final = BLOCK_MS / 1000 + 1.0
# Answers are read immediately, so a job that waits this long is checked, and again after each interval.
LOOK_AFTER_S: Final = 0.5
# A reply may be in transit while its entry is already deleted: only what is missed twice, a round apart, is lost.
MISSED_ROUNDS: Final = 2
# A job that keeps vanishing without a reply is being removed by someone: do not resubmit it for ever.
MAX_RESUBMISSIONS: Final = 3
MAX_LOOKS: Final = 200
MAX_WITHDRAWN: Final = 10_000


@dataclass(slots=True)
class Counts:
    """What a process' producer has seen since it began, for metrics."""

    replies: int = 0
    replies_dropped: int = 0
    replies_unreadable: int = 0
    resubmitted: int = 0


@dataclass(slots=True, eq=False)
class Waiter:
    """A job that someone waits for until a moment (monotonic); `done` is set once `reply` is there."""

    job: Job
    until: float
    is_abandoned: Callable[[], bool] | None = None
    was_abandoned: bool = False
    done: threading.Event = field(default_factory=threading.Event)
    reply: Reply | None = None
    entry_id: bytes | None = None
    stream: str = ""
    # For the search for jobs that Redis lost.
    looked_at: float = field(default_factory=time.monotonic)
    missed: int = 0
    resubmissions: int = 0


class Replies(Loop):
    """Delivers each reply to its waiter; other replies are counted and dropped. `waiters` are by job id."""

    def __init__(self, address: Address, keys: Keys, process: str, counts: Counts) -> None:
        self._connection = Connection(address, "sightline-replies")
        self._key = keys.replies(process)
        self._counts = counts
        self.waiters: dict[str, Waiter] = {}
        super().__init__("replies", self._read)
        # Reading from 0 each time, since what was delivered is trimmed: a reply is read again after a lost connection,
        # and none is missed when Redis lost the stream or its clock was set back.
        self._read_packet = pack("XREAD", "COUNT", MAX_REPLIES, "BLOCK", BLOCK_MS, "STREAMS", self._key, "0")
        self._trim_packet = b""

    @property
    def is_connected(self) -> bool:
        """Return whether replies can arrive at this moment."""
        return self._connection.is_open

    def in_queue(self) -> int:
        """Return how many wait for a job that is in the queue."""
        return sum(waiter.entry_id is not None for waiter in self.waiting())

    def waiting(self) -> list[Waiter]:
        """Return those that wait now."""
        return list(self.waiters.values())

    def release_abandoned(self) -> None:
        """Wake those whose callers have gone; one look at all of them costs less than a timer for each."""
        for waiter in self.waiting():
            if waiter.is_abandoned is not None and waiter.is_abandoned():
                waiter.was_abandoned = True
                waiter.done.set()

    def close(self, exchange: Callable[[bytes, int], list[Any]]) -> None:
        """End the reader, wake all waiting callers, and remove the stream by another connection than the reader's."""
        self.ask_to_stop()
        for waiter in self.waiting():
            waiter.done.set()
        try:
            # Any entry wakes the blocked reader.
            exchange(pack("XADD", self._key, "*", "closing", b""), 1)
            self.stop()
            exchange(pack("DEL", self._key), 1)
        except QueueUnavailable as error:
            log.info("the reply stream expires by itself: %s", error)
            self.stop()
        self._connection.close()

    def _read(self) -> None:
        packet = self._trim_packet + self._read_packet
        replies = self._connection.exchange(packet, 2 if self._trim_packet else 1, READ_TIMEOUT_S)
        streams = [checked(reply) for reply in replies][-1]
        self._trim_packet = b""
        if streams and not self.is_stopping:
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
        waiter = self.waiters.pop(reply.id, None)
        if waiter is None:
            self._counts.replies_dropped += 1
            return
        waiter.reply = reply
        waiter.done.set()


class Recovery:
    """Cancels jobs that no one waits for any more, and resubmits those that Redis lost."""

    def __init__(
        self,
        keys: Keys,
        exchange: Callable[[bytes, int], list[Any]],
        submit: Callable[[Sequence[Words]], list[Any]],
        replies: Replies,
        counts: Counts,
    ) -> None:
        self._keys = keys
        self._exchange = exchange
        self._submit = submit
        self._replies = replies
        self._counts = counts
        self._withdrawn: deque[tuple[str, bytes]] = deque(maxlen=MAX_WITHDRAWN)

    def withdraw(self, stream: str, entry_id: bytes) -> None:
        """Mark an entry that no one waits for any more, to be deleted in the next round."""
        self._withdrawn.append((stream, entry_id))

    def run(self) -> None:
        """Delete what was withdrawn, and submit again what was lost; raise QueueUnavailable."""
        self._delete_withdrawn()
        self._resubmit(self._find_lost())

    def _delete_withdrawn(self) -> None:
        withdrawn = list(self._withdrawn)
        streams = {stream: [entry_id for of, entry_id in withdrawn if of == stream] for stream, _ in withdrawn}
        if streams:
            packet = b"".join(pack("XDEL", stream, *entry_ids) for stream, entry_ids in streams.items())
            self._exchange(packet, len(streams))
            for _ in withdrawn:
                self._withdrawn.popleft()

    def _find_lost(self) -> list[Waiter]:
        """Return those whose entry is gone without a reply; an answer and the end of its entry are one transaction."""
        due = self._due(time.monotonic())
        looks = [pack("XRANGE", waiter.stream, entry_id, entry_id) for waiter, entry_id in due]
        found = map(checked, self._exchange(b"".join(looks), len(looks)))
        for (waiter, _), entries in zip(due, found, strict=True):
            waiter.looked_at = time.monotonic()
            waiter.missed = 0 if _is_of(waiter, entries) else waiter.missed + 1
        return [waiter for waiter, _ in due if waiter.missed >= MISSED_ROUNDS and not waiter.done.is_set()]

    def _due(self, now: float) -> list[tuple[Waiter, bytes]]:
        if not self._replies.is_connected:
            # The replies may well be there, unread.
            return []
        waiters = [
            (waiter, waiter.entry_id)
            for waiter in self._replies.waiting()
            if waiter.entry_id is not None and (waiter.missed or now - waiter.looked_at > LOOK_AFTER_S)
        ]
        return waiters[:MAX_LOOKS]

    def _resubmit(self, lost: list[Waiter]) -> None:
        now = time.monotonic()
        again = [waiter for waiter in lost if waiter.until > now and waiter.resubmissions < MAX_RESUBMISSIONS]
        if not again:
            return
        log.warning("Redis lost %d jobs that wait for an answer: submitting them again", len(again))
        terms = [self._terms(waiter) for waiter in again]
        calls = [each.words(self._keys, _encoded(waiter, now)) for waiter, each in zip(again, terms, strict=True)]
        for waiter, each, reply in zip(again, terms, self._submit(calls), strict=True):
            self._note_resubmission(waiter, each, reply)

    def _terms(self, waiter: Waiter) -> Terms:
        """Return the terms of a job that was admitted before: no bound."""
        keys = self._keys
        return Terms(waiter.stream, keys.jobs if waiter.stream == keys.expensive else keys.expensive)

    def _note_resubmission(self, waiter: Waiter, terms: Terms, reply: Any) -> None:
        try:
            _, waiter.entry_id = admitted(reply, terms, 0.0)
        except (QueueFull, QueueUnavailable) as error:
            log.warning("job %s could not be submitted again yet: %s", waiter.job.id, error)
            return
        waiter.missed = 0
        waiter.resubmissions += 1
        self._counts.resubmitted += 1


def _is_of(waiter: Waiter, entries: Sequence[Any]) -> bool:
    """Return whether an entry is this job's: a Redis that has taken over may give the same id to another one."""
    return bool(entries) and waiter.job.id.encode() in entries[0][1][-1]


def _encoded(waiter: Waiter, now: float) -> bytes:
    """Return a job's bytes with the time that it has left."""
    return replace(waiter.job, ttl_ms=max(int((waiter.until - now) * 1000), 1)).encode()
