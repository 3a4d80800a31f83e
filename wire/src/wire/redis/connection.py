"""Where Redis is, and one socket to it: packets go out, replies come in, and every fault is QueueUnavailable."""

from __future__ import annotations

import os
import socket
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, cast

import hiredis

from wire.errors import QueueUnavailable

READ_BYTES: Final = 64 * 1024
SHORTEST_WAIT_S: Final = 0.001
# Every call on behalf of a waiting caller ends after this, so that "Redis is away" is reported within 300 ms.
CALLER_TIMEOUT_S: Final = 0.25
# Nobody waits for a worker's housekeeping, and on a busy machine Redis may be slow without being away.
WORKER_TIMEOUT_S: Final = 2.0

_INCOMPLETE: Final = object()
# Returns the bytes of one command, given as a tuple of words.
pack_command: Any = hiredis.pack_command  # typed too narrowly


@dataclass(frozen=True, slots=True)
class Address:
    """Where Redis is, and the user to log in as; a socket path wins over host and port."""

    host: str = "127.0.0.1"
    port: int = 6379
    db: int = 0
    socket_path: str = ""
    username: str = ""
    password: str = field(default="", repr=False)

    def __str__(self) -> str:
        place = self.socket_path or f"{self.host}:{self.port}"
        return f"{place}/{self.db}"


class RedisRefusal(Exception):  # noqa: N818  Redis' own word, a reply like any other
    """Redis answered a command with an error; its text begins with Redis' code for it, such as NOGROUP."""


def pack(*words: str | bytes | int) -> bytes:
    """Return one command's bytes; packets are made by joining them."""
    packed: bytes = pack_command(words)
    return packed


def checked(reply: Any) -> Any:
    """Return a reply, or raise QueueUnavailable where it is an error."""
    if isinstance(reply, RedisRefusal):
        raise QueueUnavailable(f"Redis refused a command: {reply}") from reply
    return reply


def is_out_of_memory(reply: Any) -> bool:
    """Return whether Redis refused a command for want of memory; in 6.2 a script's error holds that of its command."""
    return isinstance(reply, RedisRefusal) and "'maxmemory'" in str(reply)


_renewables: weakref.WeakSet[Any] = weakref.WeakSet()


def renew_after_fork(renewable: Any) -> None:
    """Register an object whose `renew` is called in every forked child; it must not wait for anything."""
    _renewables.add(renewable)


def _renew_all() -> None:
    for renewable in list(_renewables):
        renewable.renew()


os.register_at_fork(after_in_child=_renew_all)


class Link:
    """A connected socket that is logged in, with the parser of its replies.

    Any exception but a time-out leaves it unusable. redis-py would do the same at the price of 30 MB and a quarter of a
    second for each process (decision 0001).
    """

    def __init__(self, address: Address, name: str, until: float) -> None:
        """Connect before `until` (monotonic) and name the connection; raise OSError or RedisRefusal."""
        self._reader = hiredis.Reader(
            protocolError=ConnectionError, replyError=RedisRefusal, notEnoughData=cast(Any, _INCOMPLETE)
        )
        self._socket = _connected(address, max(until - time.monotonic(), SHORTEST_WAIT_S))
        self.fileno = self._socket.fileno
        renew_after_fork(self)
        try:
            self._greet(address, name, until)
        except BaseException:
            self.close()
            raise

    def send(self, packet: bytes, timeout_s: float) -> None:
        """Send all of it; raise OSError."""
        self._socket.settimeout(max(timeout_s, SHORTEST_WAIT_S))
        self._socket.sendall(packet)

    def read(self, until: float) -> Any:
        """Return the next reply, which may be a RedisRefusal; raise TimeoutError past `until`, or another OSError."""
        while (reply := self._reader.gets()) is _INCOMPLETE:
            # At least a moment even when it is late: a process that was itself kept waiting for the CPU finds the time
            # over and the reply there.
            self._socket.settimeout(max(until - time.monotonic(), SHORTEST_WAIT_S))
            self._feed()
        return reply

    def receive(self) -> list[Any]:
        """Return the replies that have come, after a wait for some bytes of them; raise OSError."""
        self._feed()
        return list(iter(self._reader.gets, _INCOMPLETE))

    def wait_at_most(self, seconds: float) -> None:
        """Set the time after which `receive` raises TimeoutError."""
        self._socket.settimeout(seconds)

    def shutdown(self) -> None:
        """End the conversation, which wakes another thread that reads; that one is to close it."""
        with suppress(OSError):  # the other end was first
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket."""
        self.shutdown()
        self._socket.close()

    def renew(self) -> None:
        """Cut the inherited socket off in a forked child: the parent goes on using it."""
        if self._socket.fileno() < 0:
            return
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, self._socket.fileno(), inheritable=False)
        os.close(nothing)

    def _feed(self) -> None:
        piece = self._socket.recv(READ_BYTES)
        if not piece:
            raise ConnectionResetError("it closed the connection")
        self._reader.feed(piece)

    def _greet(self, address: Address, name: str, until: float) -> None:
        greeting = [pack("CLIENT", "SETNAME", name)]
        if address.db:
            greeting.insert(0, pack("SELECT", address.db))
        if address.password:
            greeting.insert(0, pack("AUTH", *filter(None, [address.username]), address.password))
        self.send(b"".join(greeting), until - time.monotonic())
        for reply in [self.read(until) for _ in greeting]:
            if isinstance(reply, RedisRefusal):
                raise reply


def _connected(address: Address, timeout_s: float) -> socket.socket:
    if not address.socket_path:
        opened = socket.create_connection((address.host, address.port), timeout_s)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return opened
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        opened.settimeout(timeout_s)
        opened.connect(address.socket_path)
    except BaseException:
        opened.close()
        raise
    return opened


class Connection:
    """A connection for reads that block, opened by its first exchange; a fault closes it, the next opens another.

    For one thread at a time. Nothing is ever sent twice. Everything else goes through wire.redis.pipeline.
    """

    def __init__(self, address: Address, name: str, timeout_s: float = WORKER_TIMEOUT_S) -> None:
        self._address = address
        self._name = name
        self._timeout_s = timeout_s
        self._link: Link | None = None

    @property
    def is_open(self) -> bool:
        """Return whether a socket stands; the other end may have gone all the same."""
        return self._link is not None

    def exchange(self, packet: bytes, replies: int, timeout_s: float | None = None) -> list[Any]:
        """Send, and read that many replies within timeout_s in all, connecting included; raise QueueUnavailable.

        A command that Redis refused gives its exception in the list: see `checked`.
        """
        timeout_s = max(self._timeout_s if timeout_s is None else timeout_s, SHORTEST_WAIT_S)
        until = time.monotonic() + timeout_s
        try:
            self._link = link = self._link or Link(self._address, self._name, until)
            link.send(packet, until - time.monotonic())
            return [link.read(until) for _ in range(replies)]
        except (RedisRefusal, OSError) as error:
            self.close()
            raise QueueUnavailable(
                f"Redis at {self._address} is not available: {error or type(error).__name__}"
            ) from error
        except BaseException:
            # A greenlet killed half-way leaves replies in the socket that belong to nobody.
            self.close()
            raise

    def close(self) -> None:
        """Close the socket."""
        link, self._link = self._link, None
        if link is not None:
            link.close()
