"""Sockets that are opened within a time, name look-ups included."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import Any, ClassVar, Final

from wire.redis.address import Place

SHORTEST_WAIT_S: Final = 0.001
# A process that wakes so long after its time-out was held up. Redis may have been held up with it, as everything is on
# a machine that was suspended: it gets its time again.
HELD_UP_S: Final = 0.1


def connected(place: Place, until: float) -> socket.socket:
    """Connect to a place before `until` (monotonic); raise OSError."""
    if not place.port:
        return _opened(socket.AF_UNIX, place.host, until - time.monotonic())
    found = _look_up(place.host, place.port, until - time.monotonic())
    for number, (family, *_, target) in enumerate(found):
        try:
            # Each address gets its part of the time that is left: the first may swallow what is sent to it.
            opened = _opened(family, target, (until - time.monotonic()) / (len(found) - number))
        except OSError as error:
            fault = error
        else:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return opened
    raise fault


def _opened(family: int, place: Any, timeout_s: float) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.settimeout(max(timeout_s, SHORTEST_WAIT_S))
        opened.connect(place)
    except BaseException:
        opened.close()
        raise
    return opened


class _LookUp(threading.Thread):
    """One look-up of a name, which has no time-out of its own: a name server that is away holds it for half a minute.

    All connections to a name wait for the same one.
    """

    _latest: ClassVar[dict[tuple[str, int], _LookUp]] = {}

    def __init__(self, host: str, port: int) -> None:
        super().__init__(name="look-up", daemon=True)
        self._host, self._port = host, port
        self.found: list[Any] = []
        self.fault: OSError | None = None

    @classmethod
    def of(cls, host: str, port: int) -> _LookUp:
        """Return the attempt in progress, also that of another thread, or a new one."""
        latest = cls._latest.get((host, port))
        if latest is None or not latest.is_alive():
            latest = cls(host, port)
            latest.start()
            cls._latest[host, port] = latest
        return latest

    def run(self) -> None:
        try:
            self.found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError as fault:
            self.fault = fault


def _look_up(host: str, port: int, timeout_s: float) -> list[Any]:
    with suppress(socket.gaierror):
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    look_up = _LookUp.of(host, port)
    look_up.join(max(timeout_s, SHORTEST_WAIT_S))
    if look_up.is_alive():
        raise TimeoutError(f"no name server has answered what the address of {host!r} is")
    if look_up.fault is not None:
        raise look_up.fault
    return look_up.found
