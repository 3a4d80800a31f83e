"""Where Redis is, and the seam: one socket, whole packets out, replies in, the driver's exceptions turned into ours."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import Any, Final

import hiredis
import redis.connection
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as DriverTimeout
from redis.retry import Retry

from wire.errors import QueueUnavailable

# Whatever asks Redis on behalf of a waiting caller is over after this, so that "Redis is away" is told within 300 ms.
PATIENCE_S: Final = 0.25
SHORTEST_WAIT_S: Final = 0.001
FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0

# redis-py and hiredis are typed in parts only, and those parts wrongly in places: here they are used as untyped.
_tcp_socket: Any = redis.connection.Connection
_unix_socket: Any = redis.connection.UnixDomainSocketConnection
_pack_command: Any = hiredis.pack_command


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
    if isinstance(reply, Exception):
        message = f"Redis refused a command: {reply}"
        raise QueueUnavailable(message) from reply
    return reply


def is_out_of_memory(reply: Any) -> bool:
    """Whether Redis refused a command for want of memory; in 6.2 a script's error holds that of its command."""
    return isinstance(reply, Exception) and "'maxmemory'" in str(reply)


class Connection:
    """One socket, opened by its first exchange; a fault closes it, and the next exchange opens another.

    For one thread at a time. Nothing is ever sent twice behind the caller's back: redis-py's retries are off.
    """

    def __init__(self, address: Address, name: str) -> None:
        self._address = address
        self._name = name
        self._link: Any = None

    @property
    def is_open(self) -> bool:
        """Whether a socket stands; the other end may have gone all the same."""
        return self._link is not None

    def exchange(self, packet: bytes, replies: int, timeout_s: float = PATIENCE_S) -> list[Any]:
        """Send, and read that many replies within timeout_s in all, connecting included; raises QueueUnavailable.

        A command that Redis refused gives its exception in the list: see `checked`.
        """
        timeout_s = max(timeout_s, SHORTEST_WAIT_S)
        until = time.monotonic() + timeout_s
        try:
            link = self._link or self._open(timeout_s)
            link.send_packed_command((packet,), check_health=False)
            return [_read(link, until) for _ in range(replies)]
        except (RedisError, OSError) as error:
            self.close()
            message = f"Redis at {self._address} is not available: {error or type(error).__name__}"
            raise QueueUnavailable(message) from error
        except BaseException:
            # A greenlet killed half-way leaves replies in the socket that belong to nobody.
            self.close()
            raise

    def exchange_twice(self, packet: bytes, replies: int, timeout_s: float = PATIENCE_S) -> list[Any]:
        """Exchange, and do it once more where the time is not over and the socket was an old one.

        Redis may have closed that one long ago, which shows only now. For commands that may run twice.
        """
        until = time.monotonic() + timeout_s
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
            link.disconnect()

    def _open(self, timeout_s: float) -> Any:
        address = self._address
        options = {
            "db": address.db,
            "username": address.username or None,
            "password": address.password or None,
            "client_name": self._name,
            "socket_timeout": timeout_s,
            "socket_connect_timeout": timeout_s,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "driver_info": None,  # CLIENT SETINFO is unknown before Redis 7.2
        }
        if address.socket_path:
            link = _unix_socket(path=address.socket_path, **options)
        else:
            link = _tcp_socket(host=address.host, port=address.port, **options)
        link.connect()
        self._link = link
        return link


def _read(link: Any, until: float) -> Any:
    try:
        return _read_within(link, max(until - time.monotonic(), SHORTEST_WAIT_S))
    except DriverTimeout:
        # A process that was itself kept waiting for the CPU finds time-out and reply at once: look before giving up.
        return _read_within(link, 0)


def _read_within(link: Any, timeout_s: float) -> Any:
    try:
        return link.read_response(timeout=timeout_s, disconnect_on_error=False)
    except ResponseError as error:
        return error


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
