"""What an api process does for its jobs beyond waiting: take back those nobody wants, send again those Redis lost."""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import replace
from typing import Final

from wire.errors import QueueFull, QueueUnavailable
from wire.messages import Job
from wire.producer.admission import Terms
from wire.producer.replies import Counts, Replies, Waiter
from wire.producer.submission import Submitter, Ticket
from wire.queue_stats import Watcher
from wire.redis.connection import checked, pack
from wire.redis.keys import Keys

log = logging.getLogger(__name__)

# An answer leaves the reply stream at once, so a job that waits this long is looked after, and again each time.
LOOK_AFTER_S: Final = 0.5
# A reply may be under way while its entry is gone already: only what is missed twice, a round apart, is lost.
MISSED_ROUNDS: Final = 2
# A job that keeps vanishing without a reply is removed by somebody: do not fight for it for ever.
MAX_RESUBMISSIONS: Final = 3
MAX_LOOKS: Final = 200
MAX_WITHDRAWN: Final = 10_000


class Recovery:
    """Runs after each look of the watcher, over its connection."""

    def __init__(self, keys: Keys, watcher: Watcher, replies: Replies, submitter: Submitter, counts: Counts) -> None:
        self._keys = keys
        self._watcher = watcher
        self._replies = replies
        self._submitter = submitter
        self._counts = counts
        self._withdrawn: deque[tuple[str, bytes]] = deque(maxlen=MAX_WITHDRAWN)

    def withdraw(self, stream: str, entry_id: bytes) -> None:
        """Have an entry deleted that nobody waits for any more; costs its caller nothing."""
        self._withdrawn.append((stream, entry_id))

    def run(self) -> None:
        """Delete what was withdrawn, and submit again what was lost; raises QueueUnavailable."""
        self._delete_withdrawn()
        self._resubmit(self._find_lost())

    def _delete_withdrawn(self) -> None:
        withdrawn = list(self._withdrawn)
        streams = {stream: [entry_id for of, entry_id in withdrawn if of == stream] for stream, _ in withdrawn}
        if streams:
            packet = b"".join(pack("XDEL", stream, *entry_ids) for stream, entry_ids in streams.items())
            self._watcher.exchange(packet, len(streams))
            for _ in withdrawn:
                self._withdrawn.popleft()

    def _find_lost(self) -> list[Waiter]:
        """Give those whose entry is gone without a reply; an answer and the end of its entry are one transaction."""
        due = self._due(time.monotonic())
        looks = [pack("XRANGE", waiter.stream, entry_id, entry_id) for waiter, entry_id in due]
        found = map(checked, self._watcher.exchange(b"".join(looks), len(looks)) if looks else [])
        for (waiter, _), entries in zip(due, found, strict=True):
            waiter.looked_at = time.monotonic()
            waiter.missed = 0 if entries else waiter.missed + 1
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
        tickets = [Ticket(_with_remaining_time(waiter, now).encode(), self._terms(waiter)) for waiter in again]
        self._submitter.submit(tickets)
        for waiter, ticket in zip(again, tickets, strict=True):
            self._note_resubmission(waiter, ticket)

    def _terms(self, waiter: Waiter) -> Terms:
        """Return the terms of a job that was admitted before: no bound."""
        keys = self._keys
        return Terms(waiter.stream, keys.jobs if waiter.stream == keys.expensive else keys.expensive)

    def _note_resubmission(self, waiter: Waiter, ticket: Ticket) -> None:
        try:
            waiter.entry_id = ticket.entry_id()
        except (QueueFull, QueueUnavailable) as error:
            log.warning("job %s could not be submitted again yet: %s", waiter.job.id, error)
            return
        waiter.missed = 0
        waiter.resubmissions += 1
        self._counts.resubmitted += 1


def _with_remaining_time(waiter: Waiter, now: float) -> Job:
    return replace(waiter.job, ttl_ms=max(int((waiter.until - now) * 1000), 1))
