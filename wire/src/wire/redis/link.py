"""One socket to Redis: whole packets out, parsed replies in."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from typing import Any, Final, cast

import hiredis

READ_BYTES: Final = 64 * 1024
SHORTEST_WAIT_S: Final = 0.001

_INCOMPLETE: Final = object()


class RedisRefusal(Exception):  # noqa: N818  Redis' own word, a reply like any other
    """Redis answered a command with an error; its text begins with Redis' code for it, such as NOGROUP."""


class Link:
    """A connected socket with the parser of what comes from it; any exception but a time-out leaves it unusable.

    redis-py would do the same at the price of 30 MB and a quarter of a second for each process (decision 0001).
    """

    def __init__(self, address: str | tuple[str, int], timeout_s: float) -> None:
        self._pid = os.getpid()
        self._reader = hiredis.Reader(
            protocolError=ConnectionError, replyError=RedisRefusal, notEnoughData=cast(Any, _INCOMPLETE)
        )
        self._socket = _connected(address, timeout_s)

    def send(self, packet: bytes, timeout_s: float) -> None:
        """Send all of it; raises OSError."""
        self._socket.settimeout(max(timeout_s, SHORTEST_WAIT_S))
        self._socket.sendall(packet)

    def read(self, until: float) -> Any:
        """Give the next reply, a RedisRefusal among them; raises TimeoutError past `until`, or another OSError."""
        while (reply := self._reader.gets()) is _INCOMPLETE:
            # At least a moment even when it is late: a process that was itself kept waiting for the CPU finds the time
            # over and the reply there.
            self._socket.settimeout(max(until - time.monotonic(), SHORTEST_WAIT_S))
            piece = self._socket.recv(READ_BYTES)
            if not piece:
                message = "it closed the connection"
                raise ConnectionResetError(message)
            self._reader.feed(piece)
        return reply

    def send_now(self, packet: bytes | bytearray) -> int:
        """Send as much as there is room for, without waiting, and return how much that was; raises OSError."""
        try:
            # The socket's own methods would wait for room until its time-out.
            return os.write(self._socket.fileno(), packet)
        except BlockingIOError:
            return 0

    def receive(self) -> list[Any]:
        """Return the replies that have come, after a wait for some bytes of them; raises OSError."""
        piece = self._socket.recv(READ_BYTES)
        if not piece:
            message = "it closed the connection"
            raise ConnectionResetError(message)
        self._reader.feed(piece)
        return list(iter(self._reader.gets, _INCOMPLETE))

    def wait_at_most(self, seconds: float) -> None:
        """Set the time after which `receive` raises TimeoutError."""
        self._socket.settimeout(seconds)

    def shutdown(self) -> None:
        """End the conversation, which wakes another thread that reads; that one is to close it."""
        with suppress(OSError):  # the other end was first
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close; in a child that inherited the socket, the parent's stays as it is."""
        if os.getpid() == self._pid:
            self.shutdown()
        self._socket.close()


def _connected(address: str | tuple[str, int], timeout_s: float) -> socket.socket:
    if not isinstance(address, str):
        opened = socket.create_connection(address, timeout_s)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return opened
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        opened.settimeout(timeout_s)
        opened.connect(address)
    except BaseException:
        opened.close()
        raise
    return opened
