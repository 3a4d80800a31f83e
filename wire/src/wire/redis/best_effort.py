"""Redis for what the service can do without: never waited for long, and left alone for a while where it fails."""

from __future__ import annotations

import logging
import time
from typing import Any, Final

from wire.errors import QueueUnavailable
from wire.redis.connection import Address
from wire.redis.pipeline import Pipeline

log = logging.getLogger(__name__)

PATIENCE_S: Final = 0.1
# After a fault nobody waits for Redis for as long; then one caller finds out whether it is back, and the others go on.
OPEN_S: Final = 1.0


class BestEffort:
    """A pipeline behind a circuit breaker, for any number of threads; opens nothing until it is used."""

    def __init__(self, address: Address, name: str, patience_s: float = PATIENCE_S) -> None:
        self._pipeline = Pipeline(address, name)
        self._name = name
        self._patience_s = patience_s
        self._open_until = 0.0

    def exchange(self, packet: bytes, replies: int, patience_s: float | None = None) -> list[Any] | None:
        """Send commands that may run twice; None where Redis is away or too slow, or was a moment ago."""
        if self._is_open():
            return None
        try:
            found = self._pipeline.exchange(packet, replies, self._patience_s if patience_s is None else patience_s)
        except QueueUnavailable as fault:
            self.trip(fault)
            return None
        self._open_until = 0.0
        return found

    def send(self, packet: bytes, replies: int) -> None:
        """Send commands without waiting, before all that is sent later; their replies are dropped."""
        if time.monotonic() < self._open_until:
            return
        try:
            self._pipeline.send(packet, replies)
        except QueueUnavailable as fault:
            self.trip(fault)

    def trip(self, fault: QueueUnavailable) -> None:
        """Do without Redis for a while; callers that fail together log it once."""
        now = time.monotonic()
        is_first, self._open_until = now >= self._open_until, now + OPEN_S
        if is_first:
            log.warning("%s: doing without Redis for a moment: %s", self._name, fault)

    def close(self) -> None:
        """Close the connection; the next exchange opens another."""
        self._pipeline.close()

    def _is_open(self) -> bool:
        """Say whether to do without; after a while one caller is let through, and the others wait for what it finds."""
        now = time.monotonic()
        if now < self._open_until:
            return True
        if self._open_until:
            self._open_until = now + OPEN_S
        return False
