"""The routes of this process: one for each address, and for Sentinels one that queries them."""

from __future__ import annotations

from typing import Final

from wire.redis.address import Address
from wire.redis.route import Route

_known: Final[dict[Address, Route]] = {}


def route_to(address: Address) -> Route:
    """Return the one route of this process to this address."""
    # No lock: one that another thread held at the moment of a fork would stay locked in the child for ever.
    return _known.get(address) or _known.setdefault(address, _new(address))


def _new(address: Address) -> Route:
    if address.sentinels is None:
        return Route(address)
    from wire.redis.sentinels import SentinelRoute  # noqa: PLC0415  for those who use it

    return SentinelRoute(address, address.sentinels)
