"""A connection for reads that block: packets go out, replies come in, and every fault is QueueUnavailable."""

from __future__ import annotations

import time
from typing import Any, Final

from wire.redis.address import Address
from wire.redis.faults import RedisRefusal, WrongServer, unavailable
from wire.redis.link import Link
from wire.redis.routes import route_to
from wire.redis.sockets import SHORTEST_WAIT_S

# Every call on behalf of a waiting caller ends after this, so that "Redis is away" is reported within 300 ms.
CALLER_TIMEOUT_S: Final = 0.25
# No one waits for a worker's housekeeping, and on a busy machine Redis may be slow without being away.
WORKER_TIMEOUT_S: Final = 2.0


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

        A command that Redis refused gives its exception in the list: see wire.redis.resp.checked.
        """
        timeout_s = max(self._timeout_s if timeout_s is None else timeout_s, SHORTEST_WAIT_S)
        until = time.monotonic() + timeout_s
        try:
            self._link = link = self._link or route_to(self._address).open(self._name, until)
            link.send(packet, until - time.monotonic())
            return [link.read(until) for _ in range(replies)]
        except (RedisRefusal, OSError) as error:
            self._leave(error)
            raise unavailable(self._address, error) from error
        except BaseException:
            # A greenlet killed half-way leaves replies in the socket that belong to no one.
            self.close()
            raise

    def close(self) -> None:
        """Close the socket."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _leave(self, fault: BaseException) -> None:
        link = self._link
        self.close()
        if link is not None and isinstance(fault, WrongServer):
            route_to(self._address).leave(link.place, fault)
