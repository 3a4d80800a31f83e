"""The api's side of orders: place one, and read the state of each."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from wire.errors import MessageError, OrderKeyReused, OrdersFull
from wire.orders.messages import MAX_ORDER_BYTES, MAX_VERSIONS_BYTES, Known, Order, Outcome, Progress
from wire.redis.address import Address
from wire.redis.connection import CALLER_TIMEOUT_S
from wire.redis.keys import Keys
from wire.redis.pipeline import Pipeline, Script
from wire.redis.resp import checked, pack

# Orders that wait or run; more are not ordered by hand.
MAX_WAITING: Final = 20
# What place_order.lua returns of an order whose key has come with another one.
OTHER_CONTENT: Final = -1
PLACE_ORDER: Final = Script("place_order")


class Once(NamedTuple):
    """The key under which an order counts once, and a digest of its content: of another one it is refused."""

    key: bytes
    content: bytes = b""


class Placed(NamedTuple):
    """The id of an order, and whether it was placed now; else it was there already."""

    order_id: str
    is_new: bool


class Book(NamedTuple):
    """All orders, newest first; whether a trainer is there to do them, and the versions that it has published."""

    orders: Sequence[Known]
    has_trainer: bool
    versions: Sequence[Mapping[str, Any]]


class OrderBook:
    """The orders of one queue; every method raises QueueUnavailable where Redis does not serve."""

    def __init__(self, address: Address, queue: str, timeout_s: float = CALLER_TIMEOUT_S) -> None:
        self._pipeline = Pipeline.to(address)
        self._keys = Keys(queue)
        self._timeout_s = timeout_s

    def place(self, order: Order) -> str:
        """Have an order done and return its id; raise OrdersFull, or MessageError where it is too large."""
        # The pipeline may send it twice.
        return self.place_once(order, Once(os.urandom(16))).order_id

    def place_once(self, order: Order, once: Once) -> Placed:
        """Have an order done, once for each key as long as the order is remembered.

        Raise OrdersFull, OrderKeyReused, or MessageError where it is too large.
        """
        data, keys = order.encode(), self._keys
        if len(data) > MAX_ORDER_BYTES:
            raise MessageError(f"an order of {len(data)} bytes, where {MAX_ORDER_BYTES} are the limit")
        words = (2, keys.orders, keys.order_outcomes, MAX_WAITING, data, *once)
        [reply] = self._pipeline.run(PLACE_ORDER, [words], self._timeout_s)
        if (placed := checked(reply)) is None:
            raise OrdersFull(MAX_WAITING)
        entry_id, added = placed
        if added == OTHER_CONTENT:
            raise OrderKeyReused
        return Placed(entry_id.decode(), bool(added))

    def find(self, order_id: str) -> Known | None:
        """Return an order; None where there is none of that id, or it is forgotten."""
        keys = self._keys
        packet = pack("XRANGE", keys.orders, order_id, order_id) + pack("HGET", keys.order_outcomes, order_id)
        entries, outcome, running = map(checked, self._exchange(packet + pack("GET", keys.running_order), 3))
        return _known(entries[0][0], entries[0][1], outcome, running) if entries else None

    def read(self) -> Book:
        """Return everything."""
        keys = self._keys
        packet = pack("XRANGE", keys.orders, "-", "+") + pack("HGETALL", keys.order_outcomes)
        packet += b"".join(pack("GET", key) for key in (keys.running_order, keys.trainer, keys.versions))
        entries, pairs, running, trainer, versions = map(checked, self._exchange(packet, 5))
        outcomes = dict(zip(pairs[::2], pairs[1::2], strict=True))
        found = [_known(entry_id, fields, outcomes.get(entry_id), running) for entry_id, fields in entries]
        known = [each for each in reversed(found) if each is not None]
        return Book(known, trainer is not None, _versions(versions))

    def _exchange(self, packet: bytes, replies: int) -> list[Any]:
        return self._pipeline.exchange(packet, replies, self._timeout_s)


def _known(entry_id: bytes, fields: Sequence[bytes], outcome: bytes | None, running: bytes | None) -> Known | None:
    """Return an order; None where its entry cannot be read."""
    try:
        order = Order.decode(fields[1], entry_id.decode())
        if outcome is not None:
            return Known(order, None, Outcome.decode(outcome))
        progress = None if running is None else Progress.decode(running)
    except MessageError:
        return None
    return Known(order, progress if progress is not None and progress.order_id == order.id else None)


def _versions(data: bytes | None) -> list[dict[str, Any]]:
    """Read what the trainer has published; none where it cannot be read."""
    try:
        found = json.loads((data or b"[]")[:MAX_VERSIONS_BYTES])
    except (ValueError, RecursionError):
        return []
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
