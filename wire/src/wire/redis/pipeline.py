"""The one connection of a process, which any number of callers share: none waits for another's round trip.

A caller adds its commands to what is sent and waits for its own replies. One thread reads the replies, which come in
the order of the commands, and gives each to its caller. A caller that waits no longer leaves the connection as it is:
its replies are read and dropped when they come.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from wire.errors import QueueUnavailable
from wire.process.fork import renew_after_fork
from wire.redis.address import Address
from wire.redis.connection import WORKER_TIMEOUT_S
from wire.redis.faults import RedisRefusal, WrongServer, unavailable
from wire.redis.link import Link
from wire.redis.resp import checked, pack, pack_command
from wire.redis.routes import route_to
from wire.redis.scripts import text_of
from wire.redis.sockets import HELD_UP_S, SHORTEST_WAIT_S

log = logging.getLogger(__name__)

# Commands of that many callers may wait for their replies; with more, Redis is too slow to be of use.
MAX_OUTSTANDING: Final = 4096
CONNECT_S: Final = 2.0
# A connection over which nothing has come for so long, while replies are due, is taken for dead.
SILENCE_S: Final = 2.0
CLOSE_S: Final = 5.0
# A replica that is there has what was written within a few milliseconds.
REPLICATED_WITHIN_MS: Final = 200
BEST_EFFORT_TIMEOUT_S: Final = 0.1
# After a fault no one waits for Redis for as long; then one caller probes it, and the others continue.
OPEN_S: Final = 1.0


# The number of keys, the keys, and the arguments of one run of a script.
Words = tuple[str | bytes | int, ...]


class Script:
    """A Lua script made of files of this package; Redis is given its text only where it does not know its digest."""

    def __init__(self, *names: str) -> None:
        self._names = names

    @functools.cached_property
    def text(self) -> str:
        """Return the script."""
        return "".join(map(text_of, self._names))

    @functools.cached_property
    def digest(self) -> str:
        """Return the name under which Redis knows it."""
        return hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


class Pipeline:
    """A connection for any number of threads or greenlets, a new one in each child; opens nothing until it is used.

    For commands that may run twice: they are sent again where a connection breaks before it has answered them.
    """

    _shared: ClassVar[dict[Address, Pipeline]] = {}

    def __init__(self, address: Address, name: str = "sightline") -> None:
        self._address = address
        self._name = name
        self._channel = _Channel(address, name)
        renew_after_fork(self)

    @classmethod
    def to(cls, address: Address) -> Pipeline:
        """Return the one pipeline of this process to this address."""
        # No lock: one that another thread held at the moment of a fork would stay locked in the child for ever.
        return cls._shared.get(address) or cls._shared.setdefault(address, cls(address))

    def exchange(self, packet: bytes, replies: int, timeout_s: float = WORKER_TIMEOUT_S) -> list[Any]:
        """Send commands and return their replies, those that Redis refused as exceptions: see `checked`.

        Raise QueueUnavailable, at the latest after timeout_s, in which this process ran.
        """
        if not replies:
            return []
        call = _Call(packet, replies)
        try:
            self._channel.add(call)
            if not (call.done.wait(timeout_s) or _has_come_late(call, timeout_s)):
                raise unavailable(self._address, TimeoutError(f"it did not answer within {timeout_s:g} s"))
        finally:
            call.is_awaited = False
        if call.fault is not None:
            raise unavailable(self._address, call.fault) from call.fault
        return call.replies

    def run(
        self, script: Script, calls: Sequence[Words], timeout_s: float, before: tuple[bytes, int] = (b"", 0)
    ) -> list[Any]:
        """Run a script once for each call, after a packet of that many replies; return what `exchange` does."""
        until = time.monotonic() + timeout_s
        packet, count = before
        for words in calls:
            packet += pack_command(("EVALSHA", script.digest, *words))
        replies = self.exchange(packet, count + len(calls), timeout_s)
        if RedisRefusal in map(type, replies):
            unknown = [at for at, reply in enumerate(replies) if _is_unknown_script(reply)]
            packet = b"".join([pack("EVAL", script.text, *calls[at - count]) for at in unknown])
            again = self.exchange(packet, len(unknown), max(until - time.monotonic(), SHORTEST_WAIT_S))
            for at, reply in zip(unknown, again, strict=True):
                replies[at] = reply
        return replies

    def run_replicated(self, script: Script, words: Words, replicas: int, timeout_s: float) -> tuple[Any, int]:
        """Run a script, wait until so many replicas have what it wrote, and return its reply and how many have it.

        Everything that is sent later over this connection waits as well: it needs one of its own.
        """
        wait = pack("WAIT", replicas, REPLICATED_WITHIN_MS)
        timeout_s += REPLICATED_WITHIN_MS / 1000
        reply, count = self.exchange(pack_command(("EVALSHA", script.digest, *words)) + wait, 2, timeout_s)
        if _is_unknown_script(reply):
            reply, count = self.exchange(pack("EVAL", script.text, *words) + wait, 2, timeout_s)
        return reply, checked(count)

    def send(self, packet: bytes, replies: int) -> None:
        """Send commands whose replies no one waits for, before all that is sent later; raise QueueUnavailable."""
        call = _Call(packet, replies)
        call.is_awaited = False
        self._channel.add(call)

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        channel, self._channel = self._channel, _Channel(self._address, self._name)
        channel.close()

    def renew(self) -> None:
        """Reset the state in a forked child, where the thread is not and the lock may be held for ever."""
        self._channel = _Channel(self._address, self._name)


def _has_come_late(call: _Call, timeout_s: float) -> bool:
    """Return whether a call that was waited for that long has come to its end after all.

    A process that was itself kept waiting for the CPU finds the time over, and the replies there.
    """
    was_held_up = time.monotonic() - call.sent_at > timeout_s + HELD_UP_S
    return call.done.wait(timeout_s if was_held_up else SHORTEST_WAIT_S)


def _is_unknown_script(reply: Any) -> bool:
    return isinstance(reply, RedisRefusal) and str(reply).startswith("NOSCRIPT")


class BestEffort:
    """A circuit breaker before the pipeline, for what the service can do without: never waited for long."""

    def __init__(self, address: Address, name: str, timeout_s: float = BEST_EFFORT_TIMEOUT_S) -> None:
        self._pipeline = Pipeline.to(address)
        self._name = name
        self._timeout_s = timeout_s
        self._open_until = 0.0

    def exchange(self, packet: bytes, replies: int) -> list[Any] | None:
        """Send commands that may run twice; None where Redis is away or too slow, or was a moment ago."""
        return self._attempt(self._pipeline.exchange, packet, replies)

    def run(self, script: Script, words: Words) -> Any:
        """Run a script and return its reply; None where Redis is away or too slow, or was a moment ago."""
        found = self._attempt(self._pipeline.run, script, [words])
        return None if found is None else found[0]

    def send(self, packet: bytes, replies: int) -> None:
        """Send commands without waiting, before all that is sent later; their replies are dropped."""
        if time.monotonic() < self._open_until:
            return
        try:
            self._pipeline.send(packet, replies)
        except QueueUnavailable as fault:
            self.trip(fault)

    def trip(self, fault: QueueUnavailable) -> None:
        """Do without Redis for a while; callers that fail together log it once."""
        now = time.monotonic()
        is_first, self._open_until = now >= self._open_until, now + OPEN_S
        if is_first:
            log.warning("%s: doing without Redis for a moment: %s", self._name, fault)

    def _attempt(self, call: Callable[..., list[Any]], *arguments: Any) -> list[Any] | None:
        if self._open_until:
            now = time.monotonic()
            if now < self._open_until:
                return None
            # This caller is let through; the others continue without Redis until it is back.
            self._open_until = now + OPEN_S
        try:
            found = call(*arguments, self._timeout_s)
        except QueueUnavailable as fault:
            self.trip(fault)
            return None
        self._open_until = 0.0
        return found


@dataclass(slots=True, eq=False)
class _Call:
    """Commands on their way, and their replies as far as they have come; `done` is set with the last, or a fault."""

    packet: bytes
    count: int
    done: threading.Event = field(default_factory=threading.Event)
    replies: list[Any] = field(default_factory=list)
    fault: BaseException | None = None
    is_awaited: bool = True
    sent_at: float = field(default_factory=time.monotonic)
    was_sent_again: bool = False


class _Channel:
    """What one process has open: the connection, the thread that reads it, and the calls that it has not answered."""

    def __init__(self, address: Address, name: str) -> None:
        self._address = address
        self._name = name
        # Never held while anything is waited for.
        self._lock = threading.Lock()
        self._calls: deque[_Call] = deque()
        self._unsent = bytearray()
        self._link: Link | None = None
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def add(self, call: _Call) -> None:
        """Send a call's commands, or leave that to the thread that connects; raise QueueUnavailable."""
        with self._lock:
            if self._is_closed:
                raise QueueUnavailable("the connection to Redis was closed")
            if len(self._calls) >= MAX_OUTSTANDING:
                raise QueueUnavailable(f"Redis at {self._address} owes the replies of {len(self._calls)} calls")
            self._calls.append(call)
            self._send(call.packet)
            thread, is_new = self._thread, self._thread is None
            if is_new:
                self._thread = thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        if is_new and thread is not None:
            self._start(thread)

    def close(self) -> None:
        """Fail the calls that are not answered, and close the connection."""
        with self._lock:
            self._is_closed = True
            thread = self._thread
            if self._link is not None:
                self._link.shutdown()
        if thread is not None and thread.is_alive():
            thread.join(CLOSE_S)

    def _start(self, thread: threading.Thread) -> None:
        try:
            thread.start()
        except RuntimeError as fault:  # no thread to be had
            self._break_off(fault, may_go_on=False)

    def _run(self) -> None:
        goes_on = True
        while goes_on:
            try:
                self._serve()
            except (OSError, RedisRefusal) as fault:
                goes_on = self._break_off(fault)
            except BaseException as fault:
                # After any error, no caller may wait for this thread.
                self._break_off(fault, may_go_on=False)
                raise

    def _serve(self) -> None:
        """Connect, and distribute replies until the connection ends, which raises OSError."""
        link = route_to(self._address).open(self._name, time.monotonic() + CONNECT_S)
        link.wait_at_most(SILENCE_S)
        with self._lock:
            self._link = link
            if self._is_closed:
                raise ConnectionAbortedError("the connection to Redis was closed")
            self._unsent.clear()
            self._send(b"".join([call.packet for call in self._calls]))
        while True:
            begin = time.monotonic()
            try:
                replies = link.receive()
            except TimeoutError:
                was_held_up = time.monotonic() - begin > SILENCE_S + HELD_UP_S
                if self._is_overdue() and not was_held_up:
                    raise
                continue
            for reply in replies:
                self._distribute(reply)
            if self._unsent:  # Redis reads again
                with self._lock:
                    self._send()

    def _send(self, packet: bytes = b"") -> None:
        """Send what there is room for; the rest follows when replies show that Redis reads again."""
        link = self._link
        if link is None:
            return
        self._unsent += link.sealed(packet) if link.is_sealed and packet else packet
        try:
            # The socket's own methods would wait for room until its time-out.
            del self._unsent[: os.write(link.fileno(), self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            link.shutdown()  # the thread that reads does what is to be done

    def _distribute(self, reply: Any) -> None:
        if not self._calls:
            raise ConnectionError("it sent a reply to no command")
        call = self._calls[0]
        call.replies.append(reply)
        if len(call.replies) == call.count:
            self._calls.popleft()
            call.done.set()

    def _is_overdue(self) -> bool:
        return bool(self._calls) and time.monotonic() - self._calls[0].sent_at >= SILENCE_S

    def _break_off(self, fault: BaseException, *, may_go_on: bool = True) -> bool:
        """Close, and fail the calls or keep them for another connection; return whether there are such."""
        with self._lock:
            link, self._link = self._link, None
            if link is not None:
                link.close()
            # Only after a connection that stood: Redis may have ended it long before they were sent.
            may_go_on = may_go_on and link is not None and not self._is_closed
            kept = [call for call in self._calls if may_go_on and call.is_awaited and not call.was_sent_again]
            failed = set(self._calls).difference(kept)
            self._calls = deque(kept)
            for call in kept:
                call.replies.clear()
                call.was_sent_again = True
            if not kept:
                self._thread = None
        if link is not None and isinstance(fault, WrongServer):
            route_to(self._address).leave(link.place, fault)
        for call in failed:
            call.fault = fault
            call.done.set()
        return bool(kept)
