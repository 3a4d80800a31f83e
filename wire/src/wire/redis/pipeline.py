"""One connection that any number of callers use at once: none of them waits for the round trip of another.

A caller adds its commands to what is sent and waits for its own replies. One thread reads the replies, which come in
the order of the commands, and hands each to its caller. A caller that waits no longer leaves the connection as it is:
its replies are read and dropped when they come.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from typing import Any, Final

from wire.errors import QueueUnavailable
from wire.redis.connection import SHORTEST_WAIT_S, Address, Link, RedisRefusal, opened

log = logging.getLogger(__name__)
# Commands of that many callers may wait for their replies; with more, Redis is too slow to be of use.
MAX_OUTSTANDING: Final = 1024
CONNECT_S: Final = 2.0
# A connection over which nothing has come for so long, while replies are due, is taken for dead.
SILENCE_S: Final = 2.0
CLOSE_S: Final = 5.0


class Pipeline:
    """One connection for each process, for any number of threads or greenlets; opens nothing until it is used.

    For commands that may run twice: they are sent once more where a connection breaks before it has answered them.
    """

    def __init__(self, address: Address, name: str) -> None:
        self._address = address
        self._name = name
        self._channels: dict[int, _Channel] = {}

    def exchange(self, packet: bytes, replies: int, timeout_s: float) -> list[Any]:
        """Send commands and return their replies, those that Redis refused as exceptions: see `checked`.

        Raises QueueUnavailable, at the latest after timeout_s.
        """
        call = _Call(packet, replies)
        try:
            self._channel().add(call)
            # A process that was itself kept waiting for the CPU finds the time over and the replies there.
            if not (call.done.wait(timeout_s) or call.done.wait(SHORTEST_WAIT_S)):
                raise self._unavailable(f"it did not answer within {timeout_s:g} s")
        finally:
            call.is_awaited = False
        if call.fault is not None:
            raise self._unavailable(str(call.fault) or type(call.fault).__name__) from call.fault
        return call.replies

    def send(self, packet: bytes, replies: int) -> None:
        """Send commands whose replies nobody waits for, before all that is sent later; raises QueueUnavailable."""
        call = _Call(packet, replies)
        call.is_awaited = False
        self._channel().add(call)

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        channel = self._channels.pop(os.getpid(), None)
        if channel is not None:
            channel.close()
        self._drop_inherited()

    def _channel(self) -> _Channel:
        pid = os.getpid()
        channel = self._channels.get(pid)
        if channel is None:
            # No lock: one that another thread held at the moment of a fork would stay locked in the child for ever.
            channel = self._channels.setdefault(pid, _Channel(self._address, self._name))
            self._drop_inherited()
        return channel

    def _drop_inherited(self) -> None:
        for pid in set(self._channels) - {os.getpid()}:
            if (inherited := self._channels.pop(pid, None)) is not None:
                inherited.drop()

    def _unavailable(self, reason: str) -> QueueUnavailable:
        return QueueUnavailable(f"Redis at {self._address} is not available: {reason}")


class _Call:
    """Commands on their way, and their replies as far as they have come; `done` is set with the last, or a fault."""

    __slots__ = ("count", "done", "fault", "is_awaited", "packet", "replies", "sent_at", "was_sent_again")

    def __init__(self, packet: bytes, count: int) -> None:
        self.packet = packet
        self.count = count
        self.done = threading.Event()
        self.replies: list[Any] = []
        self.fault: BaseException | None = None
        self.is_awaited = True
        self.sent_at = time.monotonic()
        self.was_sent_again = False


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
        """Send a call's commands, or have them sent by the thread that connects; raises QueueUnavailable."""
        with self._lock:
            if self._is_closed:
                raise QueueUnavailable("the connection to Redis was closed")
            if len(self._calls) >= MAX_OUTSTANDING:
                raise QueueUnavailable(f"Redis at {self._address} owes the replies of {len(self._calls)} calls")
            self._calls.append(call)
            self._unsent += call.packet
            self._send_unsent()
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

    def drop(self) -> None:
        """Let go of the socket in a child, where it is the parent's, as are the lock and the thread."""
        if self._link is not None:
            self._link.close()

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
                # Whatever it was, nobody may wait for this thread.
                self._break_off(fault, may_go_on=False)
                raise

    def _serve(self) -> None:
        """Connect, and hand out replies until the connection ends, which raises OSError."""
        link = opened(self._address, self._name, time.monotonic() + CONNECT_S)
        link.wait_at_most(SILENCE_S)
        with self._lock:
            self._link = link
            if self._is_closed:
                raise ConnectionAbortedError("the connection to Redis was closed")
            self._send_unsent()
        while True:
            try:
                replies = link.receive()
            except TimeoutError:
                if self._is_overdue():
                    raise
                continue
            for reply in replies:
                self._hand_out(reply)
            if self._unsent:
                with self._lock:
                    self._send_unsent()

    def _send_unsent(self) -> None:
        """Send what there is room for; the rest follows when replies show that Redis reads again."""
        if self._link is None:
            return
        try:
            del self._unsent[: self._link.send_now(self._unsent)]
        except OSError:
            self._link.shutdown()  # the thread that reads does what is to be done

    def _hand_out(self, reply: Any) -> None:
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
            self._unsent = bytearray(b"".join(call.packet for call in kept))
            for call in kept:
                call.replies.clear()
                call.was_sent_again = True
            if not kept:
                self._thread = None
        for call in failed:
            call.fault = fault
            call.done.set()
        return bool(kept)


BEST_EFFORT_TIMEOUT_S: Final = 0.1
# After a fault nobody waits for Redis for as long; then one caller finds out whether it is back, and the others go on.
OPEN_S: Final = 1.0


class BestEffort:
    """A pipeline behind a circuit breaker, for any number of threads; opens nothing until it is used."""

    def __init__(self, address: Address, name: str, timeout_s: float = BEST_EFFORT_TIMEOUT_S) -> None:
        self._pipeline = Pipeline(address, name)
        self._name = name
        self._timeout_s = timeout_s
        self._open_until = 0.0

    def exchange(self, packet: bytes, replies: int, timeout_s: float | None = None) -> list[Any] | None:
        """Send commands that may run twice; None where Redis is away or too slow, or was a moment ago."""
        if self._is_open():
            return None
        try:
            found = self._pipeline.exchange(packet, replies, self._timeout_s if timeout_s is None else timeout_s)
        except QueueUnavailable as fault:
            self.trip(fault)
            return None
        self._open_until = 0.0
        return found

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

    def close(self) -> None:
        """Close the connection; the next exchange opens another."""
        self._pipeline.close()

    def _is_open(self) -> bool:
        """Say whether to do without; after a while one caller is let through, and the others wait for what it finds."""
        now = time.monotonic()
        if now < self._open_until:
            return True
        if self._open_until:
            self._open_until = now + OPEN_S
        return False
