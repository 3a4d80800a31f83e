"""Putting jobs into the queue: admission and XADD in one atomic step, many callers in one packet."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from wire.errors import QueueFull, QueueUnavailable
from wire.producer.admission import ADMIT_ONE, ADMIT_ONE_SHA, Terms, retry_after_s
from wire.redis.connection import Address, Connection, RedisRefusal, checked, is_out_of_memory, pack
from wire.redis.keys import Keys

MAX_TICKETS: Final = 256
LEAST_PATIENCE_S: Final = 0.03


class Ticket:
    """One job on its way into the queue, and what Redis said to it."""

    __slots__ = ("job", "reply", "terms")

    def __init__(self, job: bytes, terms: Terms) -> None:
        self.job = job
        self.terms = terms
        self.reply: Any = None

    def entry_id(self, rate: float = 0.0) -> bytes:
        """Give the entry's id; raises QueueUnavailable, or QueueFull with a time to wait that fits the rate."""
        reply = self.reply
        if isinstance(reply, QueueUnavailable):
            # Many tickets may share one fault, and each of their callers raises it.
            raise QueueUnavailable(str(reply)) from reply
        if is_out_of_memory(reply):
            raise QueueFull(0, round(self.terms.bound), retry_after_s(0, rate)) from reply
        depth, *entry_ids = checked(reply)
        if not entry_ids:
            raise QueueFull(depth, round(self.terms.bound), retry_after_s(depth, rate))
        entry_id: bytes = entry_ids[0]
        return entry_id


class Submitter:
    """One connection for all callers of a process: whoever gets it sends for everybody who waits for it."""

    def __init__(self, address: Address, keys: Keys, timeout_s: float) -> None:
        self._connection = Connection(address, "sightline-submitter")
        self._timeout_s = timeout_s
        self._keys = keys
        self._waiting: deque[Ticket] = deque()
        self._lock = threading.Lock()

    def submit(self, tickets: Sequence[Ticket]) -> None:
        """Come back once each ticket has its reply, be it an error, within the patience and a little."""
        give_up_at = time.monotonic() + self._timeout_s
        self._waiting.extend(tickets)
        for ticket in tickets:
            if ticket.reply is None:
                self._take_turn(ticket, give_up_at)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _take_turn(self, ticket: Ticket, give_up_at: float) -> None:
        with self._lock:
            until = max(give_up_at, time.monotonic() + LEAST_PATIENCE_S)
            while ticket.reply is None and self._waiting:
                self._send(self._take_waiting(MAX_TICKETS), until)

    def _take_waiting(self, count: int) -> list[Ticket]:
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), count))]

    def _send(self, tickets: list[Ticket], until: float) -> None:
        try:
            for ticket, reply in zip(tickets, self._evaluate(tickets, until), strict=True):
                ticket.reply = reply
        except QueueUnavailable as fault:
            # Those that came meanwhile would wait as long again, only to learn the same.
            for ticket in [*tickets, *self._take_waiting(len(self._waiting))]:
                ticket.reply = fault
        finally:
            # A greenlet may be killed in here; those it sent for must not wait for it.
            for ticket in tickets:
                ticket.reply = ticket.reply or QueueUnavailable("the submission was broken off")

    def _evaluate(self, tickets: list[Ticket], until: float) -> list[Any]:
        replies = self._exchange("EVALSHA", ADMIT_ONE_SHA, tickets, until)
        unknown = [index for index, reply in enumerate(replies) if _is_unknown_script(reply)]
        if unknown:
            again = self._exchange("EVAL", ADMIT_ONE, [tickets[index] for index in unknown], until)
            for index, reply in zip(unknown, again, strict=True):
                replies[index] = reply
        return replies

    def _exchange(self, command: str, script: str, tickets: list[Ticket], until: float) -> list[Any]:
        packet = b"".join(
            pack(command, script, 4, *ticket.terms.keys(self._keys), *ticket.terms.arguments(ticket.job))
            for ticket in tickets
        )
        # Where the connection broke it is unknown whether the jobs went in, so the same ids go again: a job that runs
        # twice does no harm, and its second reply is dropped.
        return self._connection.exchange_twice(packet, len(tickets), until - time.monotonic())


def _is_unknown_script(reply: Any) -> bool:
    return isinstance(reply, RedisRefusal) and str(reply).startswith("NOSCRIPT")
