"""How much one client may ask in a time: a token bucket for each, kept in Redis, shared by all api processes."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import Any, Final

from wire.errors import QueueUnavailable
from wire.redis.connection import Address, RedisRefusal, pack
from wire.redis.keys import Keys
from wire.redis.pipeline import BEST_EFFORT_TIMEOUT_S, BestEffort

# About 130 bytes each.
MAX_CLIENTS: Final = 100_000
# Who it is stays unsaid, and no name takes more room than another.
MEMBER_BYTES: Final = 16

# The bucket is one number: the moment, by Redis' clock, at which it is full again. Each request moves it on by one
# interval; a request that would move it further ahead than the whole period is refused, and told for how long.
# A moment that is more than the period ahead is from before the clock was set back, and counts as none.
# All buckets are one sorted set: those that are full again go, and beyond the bound those that are full soonest. Many
# addresses cannot fill Redis, and to have a used-up bucket forgotten takes using up as many others.
TAKE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full_at = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[3]) or 0)
if full_at - now > tonumber(ARGV[2]) then
  full_at = now
end
full_at = math.max(full_at, now) + ARGV[1]
if full_at - now > tonumber(ARGV[2]) then
  return full_at - now - ARGV[2]
end
redis.call('ZADD', KEYS[1], string.format('%d', full_at), ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%d', now))
local surplus = redis.call('ZCARD', KEYS[1]) - ARGV[4]
if surplus > 0 then
  redis.call('ZREMRANGEBYRANK', KEYS[1], 0, surplus - 1)
end
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
redis.call('PEXPIRE', KEYS[1], math.ceil((last - now) / 1000))
return 0
"""
TAKE_SHA: Final = hashlib.sha1(TAKE.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests in so many seconds, at once or spread."""

    count: int
    period_s: float


class RateLimiter:
    """Counts requests; opens nothing until it is used, and begins anew in a child after a fork.

    Where Redis does not answer, everybody is let in: what a request wants will hardly work then anyway.
    """

    def __init__(
        self, address: Address, queue: str, *, timeout_s: float = BEST_EFFORT_TIMEOUT_S, max_clients: int = MAX_CLIENTS
    ) -> None:
        self._redis = BestEffort(address, "sightline-rates", timeout_s)
        self._timeout_s = timeout_s
        self._key = Keys(queue).rates
        self._max_clients = max_clients

    def wait_s(self, who: str, rate: Rate) -> float:
        """Count a request of `who`: 0 where it is let in, else in how many seconds the next one would be."""
        reply = self._take(who, rate)
        if isinstance(reply, RedisRefusal):
            self._redis.trip(QueueUnavailable(f"Redis refused a command: {reply}"))
            return 0.0
        waiting_us = reply or 0
        return float(waiting_us / 1_000_000)

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def _take(self, who: str, rate: Rate) -> Any:
        """Return the script's reply; None while nobody is counted."""
        until = time.monotonic() + self._timeout_s
        period_us = int(rate.period_s * 1_000_000)
        member = hashlib.sha256(who.encode(errors="replace")).digest()[:MEMBER_BYTES]
        arguments = (1, self._key, max(period_us // rate.count, 1), period_us, member, self._max_clients)
        [reply] = self._redis.exchange(pack("EVALSHA", TAKE_SHA, *arguments), 1) or [None]
        if isinstance(reply, RedisRefusal) and str(reply).startswith("NOSCRIPT"):
            [reply] = self._redis.exchange(pack("EVAL", TAKE, *arguments), 1, until - time.monotonic()) or [None]
        return reply
