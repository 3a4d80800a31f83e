"""One socket to Redis: packets go out, replies come in, and what ends it is an exception."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

import hiredis

from wire.process.fork import renew_after_fork
from wire.redis.address import Address, Place
from wire.redis.faults import ClosedAtOnce, ProtocolFault, RedisRefusal, WrongServer, is_of_wrong_server
from wire.redis.resp import pack
from wire.redis.sockets import HELD_UP_S, SHORTEST_WAIT_S, connected

if TYPE_CHECKING:
    from wire.redis.tls import TlsSession

READ_BYTES: Final = 64 * 1024
# What a read that was held up gets in addition.
AGAIN_S: Final = 1.0
_INCOMPLETE: Final = object()


class _Refusals:
    """Makes the error of each reply that is one, wherever in a reply it is, and keeps the first that ends the link."""

    __slots__ = ("of_wrong_server",)

    def __init__(self) -> None:
        self.of_wrong_server: RedisRefusal | None = None

    def __call__(self, text: str) -> RedisRefusal:
        refusal = RedisRefusal(text)
        if self.of_wrong_server is None and is_of_wrong_server(refusal):
            self.of_wrong_server = refusal
        return refusal

    def check(self) -> None:
        """Raise WrongServer where one has come."""
        if self.of_wrong_server is not None:
            raise WrongServer(self.of_wrong_server)


class Link:
    """A connected socket that is logged in, with the parser of its replies; `place` is what it is connected to.

    Any exception but a time-out leaves it unusable. redis-py would do the same at the price of 30 MB and a quarter of a
    second for each process (decision 0001).
    """

    def __init__(self, address: Address, place: Place, name: str, until: float) -> None:
        """Connect before `until` (monotonic) and name the connection; raise OSError or RedisRefusal."""
        self.place = place
        self._refusals = _Refusals()
        self._reader = hiredis.Reader(
            protocolError=ProtocolFault, replyError=cast(Any, self._refusals), notEnoughData=cast(Any, _INCOMPLETE)
        )
        self._socket = connected(place, until)
        self.fileno = self._socket.fileno
        self.is_sealed = address.tls is not None
        self._tls: TlsSession | None = None
        renew_after_fork(self)
        try:
            if address.tls is not None:
                self._tls = self._session(address, until)
            self._greet(address, name, until)
        except (ConnectionResetError, BrokenPipeError) as error:
            self.close()
            raise (ClosedAtOnce(str(error)) if self._tls is None else self._tls.refusal(error)) from error
        except BaseException:
            self.close()
            raise

    @property
    def is_open(self) -> bool:
        """Return whether it was not closed at this end."""
        return self.fileno() >= 0

    def sealed(self, packet: bytes) -> bytes:
        """Return the bytes to write for a packet, in the order of the calls, where `is_sealed`; else it is those."""
        return packet if self._tls is None else self._tls.seal(packet)

    def send(self, packet: bytes, timeout_s: float) -> None:
        """Send all of it; raise OSError."""
        self._socket.settimeout(max(timeout_s, SHORTEST_WAIT_S))
        self._socket.sendall(self.sealed(packet))

    def read(self, until: float) -> Any:
        """Return the next reply, which may be a RedisRefusal; raise TimeoutError past `until`, or another OSError."""
        was_held_up = False
        while (reply := self._reader.gets()) is _INCOMPLETE:
            # At least a moment even when it is late: a process that was itself kept waiting for the CPU finds the time
            # over and the reply there.
            self._socket.settimeout(max(until - time.monotonic(), SHORTEST_WAIT_S))
            try:
                self._feed()
            except TimeoutError:
                now = time.monotonic()
                if was_held_up or now < until + HELD_UP_S:
                    raise
                was_held_up, until = True, now + AGAIN_S
        self._refusals.check()
        return reply

    def receive(self) -> list[Any]:
        """Return the replies that have come, after a wait for some bytes of them; raise OSError."""
        self._refusals.check()
        self._feed()
        replies = []
        while (reply := self._reader.gets()) is not _INCOMPLETE and self._refusals.of_wrong_server is None:
            replies.append(reply)
        return replies

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
        """Close the inherited socket in a forked child: the parent continues to use it."""
        if self._socket.fileno() < 0:
            return
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, self._socket.fileno(), inheritable=False)
        os.close(nothing)

    def _feed(self) -> None:
        piece = self._socket.recv(READ_BYTES)
        if not piece:
            raise ConnectionResetError("it closed the connection")
        self._reader.feed(piece if self._tls is None else self._tls.open(piece))

    def _session(self, address: Address, until: float) -> TlsSession:
        from wire.redis.tls import TlsSession  # noqa: PLC0415  for those who use it

        session = TlsSession(cast(Any, address.tls), self.place)
        session.shake_hands(self._socket, until)
        return session

    def _greet(self, address: Address, name: str, until: float) -> None:
        greeting = [pack("CLIENT", "SETNAME", name)]
        if address.db:
            greeting.insert(0, pack("SELECT", address.db))
        if address.password:
            greeting.insert(0, pack("AUTH", *filter(None, [address.username]), address.password))
        if address.sentinels is not None:
            greeting.append(pack("ROLE"))
        self.send(b"".join(greeting), until - time.monotonic())
        for reply in (replies := [self.read(until) for _ in greeting]):
            if isinstance(reply, RedisRefusal):
                raise reply
        if address.sentinels is not None and replies[-1][0] != b"master":
            raise ConnectionError(f"{self.place} is no primary any more, or not yet")
