"""The trainer's side of orders: the one trainer of a queue runs them in turn and records the result of each.

The trainer holds a lease, which it renews each second. Its writes are refused once another one has the lease.
An order that was running when its trainer died is still the first without an outcome, and is taken up again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, NamedTuple

from wire.errors import MessageError, QueueUnavailable
from wire.orders.messages import DONE, FAILED, SUGGEST, Order, Outcome, Progress
from wire.redis.address import Address
from wire.redis.connection import WORKER_TIMEOUT_S, Connection
from wire.redis.keys import Keys, time_ms
from wire.redis.resp import checked, pack
from wire.redis.scripts import text_of

LEASE_MS: Final = 3000
BEAT_EVERY_S: Final = 1.0
# Orders with an outcome that are remembered.
KEPT: Final = 30


class Taken(NamedTuple):
    """An order that is to be done, and which attempt at it this is; `note` is that of the attempt before."""

    order_id: str
    attempt: int
    note: str = ""


class TrainerDesk:
    """The trainer of one queue, under a name of its own; for one thread. Raise QueueUnavailable.

    Scripts go as text: a trainer at rest shall hold as little as possible, and sends one a second.
    """

    def __init__(self, address: Address, queue: str, name: str, *, lease_ms: int = LEASE_MS) -> None:
        self._connection = Connection(address, "sightline-trainer")
        self._keys = Keys(queue)
        self._name = name
        self._lease_ms = lease_ms
        # The last entry that is known; None while it is not known what waits.
        self._last: bytes | None = None

    def lead(self) -> bool:
        """Take or renew the lease; return whether this is the trainer of the queue."""
        return bool(self._run("lead", (self._keys.trainer,), self._lease_ms))

    def take(self, wait_s: float) -> Taken | None:
        """Return the first order without an outcome, one that comes within `wait_s` included; None without any."""
        if self._last is None:
            return self._first()
        block = pack("XREAD", "COUNT", 1, "BLOCK", int(wait_s * 1000), "STREAMS", self._keys.orders, self._last)
        [reply] = self._connection.exchange(block, 1, wait_s + WORKER_TIMEOUT_S)
        if checked(reply) is None:
            return None
        self._last = None
        return self._first()

    def order_search(self, every_s: int) -> bool:
        """Order a search for images to review, unless one was ordered here less than `every_s` ago."""
        keys = self._keys
        if self._ask(pack("SET", keys.last_search, self._name, "NX", "EX", every_s)) is None:
            return False
        words = (2, keys.orders, keys.order_outcomes, 1, Order(SUGGEST, "trainer").encode(), os.urandom(16), b"")
        return self._ask(pack("EVAL", text_of("place_order"), *words)) is not None

    def begin(self, taken: Taken) -> bool:
        """Note that an order is being done; return False where another trainer has the lease."""
        return self.report(Progress(taken.order_id, taken.attempt, note=taken.note))

    def report(self, progress: Progress) -> bool:
        """Publish how far the running order is; return False where another trainer has the lease."""
        return bool(self._run("report_order", (self._keys.trainer, self._keys.running_order), progress.encode()))

    def find(self, order_id: str) -> Order:
        """Return an order; raise MessageError where it cannot be read or is gone."""
        entries = self._ask(pack("XRANGE", self._keys.orders, order_id, order_id))
        if not entries:
            raise MessageError(f"order {order_id} is gone")
        return Order.decode(entries[0][1][1], order_id)

    def last_results(self) -> list[tuple[Order, Mapping[str, Any]]]:
        """Return the orders that were done and are remembered, with their results, newest first."""
        keys = self._keys
        replies = self._connection.exchange(
            pack("XRANGE", keys.orders, "-", "+") + pack("HGETALL", keys.order_outcomes), 2
        )
        entries, pairs = map(checked, replies)
        outcomes = dict(zip(pairs[::2], pairs[1::2], strict=True))
        found = []
        for entry_id, fields in reversed(entries):
            with suppress(MessageError):  # of another release
                outcome = Outcome.decode(outcomes.get(entry_id, b""))
                if outcome.state == DONE:
                    found.append((Order.decode(fields[1], entry_id.decode()), outcome.result))
        return found

    def finish(self, order_id: str, outcome: Outcome) -> bool:
        """Keep what came of an order; return False where another trainer has the lease."""
        keys, ended_ms = self._keys, time_ms(self._ask(pack("TIME")))
        data = replace(outcome, ended_ms=ended_ms).encode()
        self._last = None
        names = (keys.trainer, keys.orders, keys.order_outcomes, keys.running_order)
        return bool(self._run("finish_order", names, order_id, data, KEPT))

    def done(self, order_id: str, result: Mapping[str, Any]) -> bool:
        """Keep the result of an order."""
        return self.finish(order_id, Outcome(DONE, result=result))

    def failed(self, order_id: str, reason: str) -> bool:
        """Keep why an order failed."""
        return self.finish(order_id, Outcome(FAILED, reason=reason))

    def has_outcome(self, order_id: str) -> bool:
        """Return whether it is known what came of an order."""
        return self._ask(pack("HGET", self._keys.order_outcomes, order_id)) is not None

    def publish_versions(self, versions: Sequence[Mapping[str, Any]]) -> None:
        """Publish which versions there are, for those who have no folder of bundles."""
        self._ask(pack("SET", self._keys.versions, json.dumps(versions, separators=(",", ":"))))

    def leave(self) -> None:
        """Give the lease back, so that another trainer need not wait for its end."""
        with suppress(QueueUnavailable):  # it ends by itself
            self._run("leave", (self._keys.trainer,))
        self._connection.close()

    def _first(self) -> Taken | None:
        """Return the oldest order without an outcome."""
        keys = self._keys
        packet = pack("XRANGE", keys.orders, "-", "+") + pack("HKEYS", keys.order_outcomes)
        replies = self._connection.exchange(packet + pack("GET", keys.running_order), 3)
        entries, ended, running = map(checked, replies)
        waiting = [entry_id for entry_id, _ in entries if entry_id not in set(ended)]
        if not waiting:
            self._last = entries[-1][0] if entries else b"0-0"
            return None
        order_id = waiting[0].decode()
        before = _progress(running)
        if before is None or before.order_id != order_id:
            return Taken(order_id, 1)
        return Taken(order_id, before.attempt + 1, before.note)

    def _run(self, script: str, keys: Sequence[str], *arguments: str | bytes | int) -> Any:
        return self._ask(pack("EVAL", text_of(script), len(keys), *keys, self._name, *arguments))

    def _ask(self, packet: bytes) -> Any:
        return checked(self._connection.exchange(packet, 1)[0])


def _progress(data: bytes | None) -> Progress | None:
    try:
        return None if data is None else Progress.decode(data)
    except MessageError:
        return None
