"""One socket to Redis: whole packets out, parsed replies in."""

from __future__ import annotations

import os
import socket
import time
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

    def close(self) -> None:
        """Close; in a child that inherited the socket, the parent's stays as it is."""
        try:
            if os.getpid() == self._pid:
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes another thread that reads
        except OSError:
            pass  # the other end was first
        finally:
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
