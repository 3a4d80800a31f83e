"""A connection for what the service can do without: it never takes long, and where Redis does not answer it rests."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any, Final

from wire.connection import Address, Connection
from wire.errors import QueueUnavailable

log = logging.getLogger(__name__)

PATIENCE_S: Final = 0.1
# After a fault nobody waits for Redis for as long; then one caller finds out whether it is back, and the others go on.
REST_S: Final = 1.0


class Aside:
    """One connection for each process, for any number of threads; opens nothing until it is used."""

    def __init__(self, address: Address, name: str, patience_s: float = PATIENCE_S) -> None:
        self._address = address
        self._name = name
        self._patience_s = patience_s
        self._seats: dict[int, _Seat] = {}

    def exchange(self, packet: bytes, replies: int) -> list[Any] | None:
        """Send commands that may run twice; None where Redis is away, or was a moment ago."""
        seat = self._seat()
        with seat.lock:
            if time.monotonic() < seat.rests_until:
                return None
            try:
                return seat.connection.exchange_twice(packet, replies, self._patience_s)
            except QueueUnavailable as fault:
                log.warning("%s: doing without Redis for a moment: %s", self._name, fault)
                seat.rests_until = time.monotonic() + REST_S
                return None

    def close(self) -> None:
        """Close the connection; the next exchange opens another."""
        seat = self._seats.pop(os.getpid(), None)
        if seat is not None:
            seat.connection.close()

    def _seat(self) -> _Seat:
        pid = os.getpid()
        seat = self._seats.get(pid)
        if seat is None:
            # After a fork the parent's socket and lock are not for the child.
            seat = self._seats.setdefault(pid, _Seat(Connection(self._address, self._name)))
            for inherited in set(self._seats) - {pid}:
                self._seats.pop(inherited, None)
        return seat


class _Seat:
    """What one process has open."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.lock = threading.Lock()
        self.rests_until = float("-inf")
