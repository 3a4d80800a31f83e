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
# Replies that nobody has read yet must never fill the socket.
MAX_UNREAD: Final = 64


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
                return seat.exchange(packet, replies, self._patience_s)
            except QueueUnavailable as fault:
                self._rest(seat, fault)
                return None

    def tell(self, packet: bytes, replies: int) -> None:
        """Send without waiting: what is exchanged from now on comes after it, and nobody hears of its replies."""
        seat = self._seat()
        with seat.lock:
            if time.monotonic() < seat.rests_until or seat.unread + replies > MAX_UNREAD:
                return
            try:
                seat.connection.exchange(packet, 0, self._patience_s)
                seat.unread += replies
            except QueueUnavailable as fault:
                self._rest(seat, fault)

    def _rest(self, seat: _Seat, fault: QueueUnavailable) -> None:
        log.warning("%s: doing without Redis for a moment: %s", self._name, fault)
        seat.rests_until = time.monotonic() + REST_S
        seat.unread = 0

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
        self.unread = 0

    def exchange(self, packet: bytes, replies: int, patience_s: float) -> list[Any]:
        """Send, and once more over a new socket where the old one turns out to be closed; raises QueueUnavailable."""
        until = time.monotonic() + patience_s
        was_open, unread = self.connection.is_open, self.unread
        self.unread = 0
        try:
            return self.connection.exchange(packet, unread + replies, patience_s)[unread:]
        except QueueUnavailable:
            remaining_s = until - time.monotonic()
            if not was_open or remaining_s <= 0:
                raise
            return self.connection.exchange(packet, replies, remaining_s)
