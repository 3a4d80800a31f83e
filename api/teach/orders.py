"""The orders of the operator: placed here, done by the trainer. Each is a row of the audit log; so is its outcome."""

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

from flask import request

import settings
from problems import Problem
from reports import audit, idempotency
from wire.errors import MessageError, OrdersFull
from wire.orders import messages
from wire.orders.messages import Known, Order
from wire.orders.order_book import Book, Once, OrderBook
from wire.redis.address import Address, address_of

# What each kind of order names, and whether it has to; an import names files that were uploaded with it.
ARGUMENTS: Mapping[str, Mapping[str, bool]] = {
    messages.TRAIN: {"evaluate": False, "label": False, "only": False},
    messages.EVALUATE: {"version": True},
    messages.PROMOTE: {"version": True, "provisional": False, "force": False},
    messages.ROLL_BACK: {},
    messages.DISCARD: {"version": True},
    messages.SHADOW: {"version": False},
    messages.ERASE: {"image": True},
    messages.EXPORT: {},
    messages.SUGGEST: {},
}
MAX_ARGUMENT = 200
# Of the classes that a training takes, each on a line.
MAX_ONLY = 12_000


def book() -> Book:
    """Return all orders, and what the trainer has published; raise QueueUnavailable."""
    return _order_book(address_of(settings), settings.REDIS_QUEUE).read()


def find(order_id: str) -> Known:
    """Return an order; raise Problem where there is none of that id."""
    known = _order_book(address_of(settings), settings.REDIS_QUEUE).find(order_id)
    if known is None:
        raise Problem(404, "order_unknown", f"There is no order {order_id[:60]!r}; the audit log has the older ones.")
    return known


class Placed(NamedTuple):
    """An order, and whether it was placed now: it was there already where it came again under its key."""

    known: Known
    is_new: bool


def place(kind: str, given: Mapping[str, str], key: str) -> Placed:
    """Have the trainer do an order, once for each key that is not empty; raise Problem, OrderKeyReused
    or QueueUnavailable: then the trainer may do it or not, and under the same key it can be placed again.
    """
    arguments = _arguments(kind, given)
    return _place(kind, arguments, key, idempotency.digest(kind, *chain.from_iterable(sorted(arguments.items()))))


def place_import(arguments: Mapping[str, str], key: str, content: bytes) -> Placed:
    """Have the trainer import a network whose files are there; likewise. `content` is a digest of what is imported."""
    return _place(messages.IMPORT, arguments, key, content)


def _place(kind: str, arguments: Mapping[str, str], key: str, content: bytes) -> Placed:
    order = Order(kind, audit.who(), request.remote_addr or "", arguments)
    once = Once(idempotency.digest("sightline order", key or os.urandom(16)), content)
    try:
        order_id, is_new = _order_book(address_of(settings), settings.REDIS_QUEUE).place_once(order, once)
    except OrdersFull as refusal:
        raise Problem(409, "orders_full", f"{refusal}. Wait until the trainer has done some.") from None
    except MessageError as refusal:
        raise Problem(400, "invalid_order", f"The order is too long, {refusal}: name fewer classes.") from None
    # Where it is there already, the first answer was lost, and maybe its row with it.
    audit.note_done(kind, order.subject, "ordered" if is_new else "ordered again", order_id)
    # Redis is not queried for it: an error would have the order placed twice.
    return Placed(Known(replace(order, id=order_id)), is_new)


def _arguments(kind: str, given: Mapping[str, str]) -> dict[str, str]:
    allowed = ARGUMENTS.get(kind)
    if allowed is None:
        raise Problem(400, "invalid_order", f"kind={kind[:40]!r} is none of {', '.join(ARGUMENTS)}.")
    arguments = {name: given[name].strip() for name in allowed if given.get(name, "").strip()}
    for name, is_needed in allowed.items():
        if is_needed and name not in arguments:
            raise Problem(400, "invalid_order", f"The order to {kind} needs {name!r}.")
        at_most = MAX_ONLY if name == "only" else MAX_ARGUMENT
        if len(arguments.get(name, "")) > at_most:
            raise Problem(400, "invalid_order", f"{name!r} has more than {at_most} characters.")
    return arguments


@lru_cache(maxsize=4)
def _order_book(address: Address, queue: str) -> OrderBook:
    return OrderBook(address, queue)
