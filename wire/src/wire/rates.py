"""How much one client may ask in a time: a token bucket for each, kept in Redis, shared by all api processes."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Final

from wire.connection import Address, Connection, checked, pack
from wire.errors import QueueUnavailable
from wire.keys import Keys
from wire.link import RedisRefusal

log = logging.getLogger(__name__)

# The bucket is one number: the moment, by Redis' clock, at which it is full again. Each request moves it on by one
# interval; a request that would move it further ahead than the whole period is refused, and told for how long.
TAKE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now) + ARGV[1]
if full_at - now > tonumber(ARGV[2]) then
  return full_at - now - ARGV[2]
end
redis.call('SET', KEYS[1], string.format('%d', full_at), 'PX', math.ceil((full_at - now) / 1000))
return 0
"""
TAKE_SHA: Final = hashlib.sha1(TAKE.encode(), usedforsecurity=False).hexdigest()
# After a fault nobody is counted for as long: one request in a while finds out whether Redis is back, the others go on.
PAUSE_S: Final = 1.0
PATIENCE_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests in so many seconds, at once or spread."""

    count: int
    period_s: float


@dataclass(slots=True)
class _Door:
    """What one process has open."""

    connection: Connection
    lock: threading.Lock = field(default_factory=threading.Lock)
    closed_until: float = 0.0


class RateLimiter:
    """Counts requests; opens nothing until it is used, and begins anew in a child after a fork.

    Where Redis does not answer, everybody is let in: what a request wants will hardly work then anyway.
    """

    def __init__(self, address: Address, queue: str, *, patience_s: float = PATIENCE_S) -> None:
        self._address = address
        self._patience_s = patience_s
        self._keys = Keys(queue)
        self._doors: dict[int, _Door] = {}

    def wait_s(self, who: str, rate: Rate) -> float:
        """Count a request of `who`: 0 where it is let in, else in how many seconds the next one would be."""
        door = self._door()
        with door.lock:
            if time.monotonic() < door.closed_until:
                return 0.0
            try:
                waiting_us: int = checked(self._take(door.connection, who, rate))
            except QueueUnavailable as fault:
                log.warning("requests are not counted for a moment: %s", fault)
                door.closed_until = time.monotonic() + PAUSE_S
                return 0.0
        return waiting_us / 1_000_000

    def close(self) -> None:
        """Close the connection."""
        door = self._doors.pop(os.getpid(), None)
        if door is not None:
            door.connection.close()

    def _door(self) -> _Door:
        pid = os.getpid()
        if pid not in self._doors:
            self._doors = {pid: self._doors.get(pid, _Door(Connection(self._address, "sightline-rates")))}
        return self._doors[pid]

    def _take(self, connection: Connection, who: str, rate: Rate) -> Any:
        period_us = int(rate.period_s * 1_000_000)
        arguments = (1, self._keys.rate(who), max(period_us // rate.count, 1), period_us)
        [reply] = connection.exchange_twice(pack("EVALSHA", TAKE_SHA, *arguments), 1, self._patience_s)
        if isinstance(reply, RedisRefusal) and str(reply).startswith("NOSCRIPT"):
            [reply] = connection.exchange(pack("EVAL", TAKE, *arguments), 1, self._patience_s)
        return reply
