"""One socket to Redis: whole packets out, parsed replies in."""

from __future__ import annotations

import os
import random
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, cast

import hiredis

from wire.errors import QueueUnavailable

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


# Whatever asks Redis on behalf of a waiting caller is over after this, so that "Redis is away" is told within 300 ms.
CALLER_TIMEOUT_S: Final = 0.25
# Nobody waits for a worker's housekeeping, and on a busy machine Redis may be slow without being away.
WORKER_TIMEOUT_S: Final = 2.0
FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0

_pack_command: Any = hiredis.pack_command  # typed too narrowly


@dataclass(frozen=True, slots=True)
class Address:
    """Where Redis is and as whom to enter; a socket path wins over host and port."""

    host: str = "127.0.0.1"
    port: int = 6379
    db: int = 0
    socket_path: str = ""
    username: str = ""
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        place = self.socket_path or f"{self.host}:{self.port}"
        return f"{place}/{self.db}"


# Without a seed that processes forked from one another would share.
_random = random.SystemRandom()


def pack(*words: str | bytes | int) -> bytes:
    """Give one command's bytes; packets are made by joining them."""
    packed: bytes = _pack_command(words)
    return packed


def checked(reply: Any) -> Any:
    """Give a reply back, or raise QueueUnavailable where it is an error."""
    if isinstance(reply, RedisRefusal):
        message = f"Redis refused a command: {reply}"
        raise QueueUnavailable(message) from reply
    return reply


def is_out_of_memory(reply: Any) -> bool:
    """Whether Redis refused a command for want of memory; in 6.2 a script's error holds that of its command."""
    return isinstance(reply, RedisRefusal) and "'maxmemory'" in str(reply)


class Connection:
    """One socket, opened by its first exchange; a fault closes it, and the next exchange opens another.

    For one thread at a time. Nothing is ever sent twice behind the caller's back.
    """

    def __init__(self, address: Address, name: str, timeout_s: float = WORKER_TIMEOUT_S) -> None:
        self._address = address
        self._name = name
        self._timeout_s = timeout_s
        self._link: Link | None = None

    @property
    def is_open(self) -> bool:
        """Whether a socket stands; the other end may have gone all the same."""
        return self._link is not None

    def exchange(self, packet: bytes, replies: int, timeout_s: float | None = None) -> list[Any]:
        """Send, and read that many replies within timeout_s in all, connecting included; raises QueueUnavailable.

        A command that Redis refused gives its exception in the list: see `checked`.
        """
        timeout_s = max(self._timeout_s if timeout_s is None else timeout_s, SHORTEST_WAIT_S)
        until = time.monotonic() + timeout_s
        try:
            self._link = link = self._link or opened(self._address, self._name, until)
            link.send(packet, until - time.monotonic())
            return [link.read(until) for _ in range(replies)]
        except (RedisRefusal, OSError) as error:
            self.close()
            message = f"Redis at {self._address} is not available: {error or type(error).__name__}"
            raise QueueUnavailable(message) from error
        except BaseException:
            # A greenlet killed half-way leaves replies in the socket that belong to nobody.
            self.close()
            raise

    def exchange_twice(self, packet: bytes, replies: int, timeout_s: float | None = None) -> list[Any]:
        """Exchange, and do it once more where the time is not over and the socket was an old one.

        Redis may have closed that one long ago, which shows only now. For commands that may run twice.
        """
        until = time.monotonic() + (self._timeout_s if timeout_s is None else timeout_s)
        was_open = self.is_open
        try:
            return self.exchange(packet, replies, timeout_s)
        except QueueUnavailable:
            remaining_s = until - time.monotonic()
            if not was_open or remaining_s <= 0:
                raise
            return self.exchange(packet, replies, remaining_s)

    def close(self) -> None:
        """Close the socket; in a child that inherited it, the parent's stays as it is."""
        link, self._link = self._link, None
        if link is not None:
            link.close()


def opened(address: Address, name: str, until: float) -> Link:
    """Return a link on which this process is known by name and let in; raises OSError or RedisRefusal."""
    place = address.socket_path or (address.host, address.port)
    link = Link(place, max(until - time.monotonic(), SHORTEST_WAIT_S))
    greeting = [pack("CLIENT", "SETNAME", name)]
    if address.db:
        greeting.insert(0, pack("SELECT", address.db))
    if address.password:
        greeting.insert(0, pack("AUTH", *filter(None, [address.username]), address.password))
    try:
        link.send(b"".join(greeting), until - time.monotonic())
        for reply in [link.read(until) for _ in greeting]:
            if isinstance(reply, RedisRefusal):
                raise reply
    except BaseException:
        link.close()
        raise
    return link


class Backoff:
    """How long to wait before the next attempt: 50 ms doubling to 1 s, jittered so that nobody marches in step."""

    def __init__(self) -> None:
        self._ceiling_s = FIRST_PAUSE_S

    def next_pause_s(self) -> float:
        """Give the pause and make the next one longer."""
        ceiling_s, self._ceiling_s = self._ceiling_s, min(self._ceiling_s * 2, LONGEST_PAUSE_S)
        return jittered(ceiling_s)

    def reset(self) -> None:
        """Begin again with short pauses: something worked."""
        self._ceiling_s = FIRST_PAUSE_S


def jittered(ceiling_s: float) -> float:
    """Give a random time between half the ceiling and the ceiling."""
    return ceiling_s * _random.uniform(0.5, 1.0)
