"""How much one client may ask in a time: a token bucket for each, kept in Redis, shared by all api processes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final

from wire.errors import QueueUnavailable
from wire.redis.address import Address
from wire.redis.faults import RedisRefusal, advice_on
from wire.redis.keys import Keys
from wire.redis.pipeline import BEST_EFFORT_TIMEOUT_S, BestEffort, Script

# About 130 bytes each.
MAX_CLIENTS: Final = 100_000
# Who it is stays unsaid, and no name takes more room than another.
MEMBER_BYTES: Final = 16

TAKE_TOKEN: Final = Script("take_token")


@dataclass(frozen=True, slots=True)
class Rate:
    """A number of requests in a number of seconds, in a burst or evenly spread."""

    count: int
    period_s: float


class RateLimiter:
    """Counts requests; opens nothing until it is used, and is reset in a child process after a fork.

    Where Redis does not answer, every request is admitted: most of them fail then anyway.
    """

    def __init__(
        self, address: Address, queue: str, *, timeout_s: float = BEST_EFFORT_TIMEOUT_S, max_clients: int = MAX_CLIENTS
    ) -> None:
        self._redis = BestEffort(address, "sightline-rates", timeout_s)
        self._key = Keys(queue).rates
        self._max_clients = max_clients

    def wait_s(self, who: str, rate: Rate, count: int = 1) -> float:
        """Count requests of `who`: 0 where all are let in, else in how many seconds they would be."""
        reply = self._take(who, rate, count)
        if isinstance(reply, RedisRefusal):
            self._redis.trip(QueueUnavailable(f"Redis refused a command: {reply}", advice_on(reply)))
            return 0.0
        waiting_us = reply or 0
        return float(waiting_us / 1_000_000)

    def _take(self, who: str, rate: Rate, count: int) -> Any:
        """Return the script's reply; None while nothing is counted."""
        period_us = int(rate.period_s * 1_000_000)
        member = hashlib.sha256(who.encode(errors="replace")).digest()[:MEMBER_BYTES]
        arguments = (max(period_us // rate.count, 1) * count, period_us, member, self._max_clients)
        return self._redis.run(TAKE_TOKEN, (1, self._key, *arguments))
