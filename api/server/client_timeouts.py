"""Timeouts, memory and turns of the clients, so that no client holds up the service or the other clients.

Every read from a client has a deadline. That of a request's head is fixed with its first byte, and a body has to bring
a further WINDOW_BYTES in every window, so that a byte a second is not enough. A deadline is the timeout of one recv.

The reads of one client alternate with those of the others, and small packets are collected until there are several.
"""

import math
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from io import BytesIO
from time import monotonic

import gevent
from gunicorn.http.errors import LimitRequestHeaders, NoMoreData
from gunicorn.http.unreader import SocketUnreader

import problems
from problems import Problem

WINDOW_BYTES = 64 * 1024
MAX_HEAD_BYTES = 32 * 1024
# Values and parameters in a head, cookies included: each costs some microseconds.
MAX_LISTED = 500
# After FREE_SMALL_READS packets smaller than this, a connection is read once in SMALL_READ_PAUSE_S.
SMALL_BYTES = 1024
FREE_SMALL_READS = 16
SMALL_READ_PAUSE_S = 0.005
# How long an answered client may send nothing, and how much it may send, before its connection is closed.
DRAIN_WINDOW_S = 5.0
DRAIN_BYTES = 1024**3
DRAIN_PIECE_BYTES = 64 * 1024
# Bodies that wait for room, each with one piece that is not counted; others are refused.
MAX_WAITING = 128
WAIT_POLL_S = 0.05
# They wait as long as others make room, but not longer than this.
STANDSTILL_S = 3.0
LONGEST_WAIT_S = 30.0
# A body that does not arrive within this lets another one go first.
TURN_S = 2.0
_END_OF_HEAD = b"\r\n\r\n"
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_REQUEST_LINE = re.compile(rb"(?:\r\n)?[^ \r\n]+ [^ \r\n]+ HTTP/\d\.\d\r\n")


class ClientIdle(Exception):  # noqa: N818  it is no error
    """The client has sent no request for as long as a connection is kept."""


class Turns:
    """The pieces of work that one connection may do in each pass of the event loop.

    A socket that has data never blocks, and gevent switches only where something blocks: without turns, a client that
    sends faster than the service works would be the only one that is served.
    """

    def __init__(self, share: int) -> None:
        self._loop = gevent.get_hub().loop
        self._share = share
        self._pass = -1
        self._taken = 0

    def take(self) -> None:
        """Begin a piece of work; wait for the next pass first where the share of this one is used up."""
        if self._pass == self._loop.iteration and self._taken >= self._share:
            # Until every socket was polled once; gevent.sleep(0) would return before that.
            with self._loop.timer(0) as timer:
                gevent.get_hub().wait(timer)
        if self._pass != self._loop.iteration:
            self._pass, self._taken = self._loop.iteration, 0
        self._taken += 1

    def pause(self, seconds: float) -> None:
        """Yield to the other connections for this long."""
        gevent.sleep(seconds)


@dataclass(frozen=True, slots=True)
class ClientTimeouts:
    """The time, in seconds, that a client has for each step of a request."""

    idle_s: float
    head_s: float
    body_s: float
    window_s: float
    send_s: float


@dataclass(slots=True, eq=False)
class Share:
    """What one body holds of the budget; `length` is what it will hold in the end, 0 where that is unknown."""

    length: int = 0
    held: int = 0


class Budget:
    """The bytes of request bodies that a process may hold in memory at one time.

    A body leaves room for small ones, 1/5 of sqrt(its length * limit), and in addition twice its length: of many large
    bodies that arrive together, one can always be read to its end while another one is stored. It goes first, with
    room for its rest kept, and the others wait for their turn.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        self._waiting = 0
        self._released_at = 0.0
        self._first: Share | None = None
        self._first_until = 0.0

    def take(self, share: Share, size: int, pause: Callable[[float], None]) -> float:
        """Count further bytes of a body, once there is room for them, and return how long that took.

        Raise Problem where there will be no room.
        """
        waited_s = 0.0 if self._may_go_on(share, size) else self._wait(share, size, pause)
        self.held += size
        share.held += size
        return waited_s

    def release(self, share: Share) -> None:
        """Count a body no longer."""
        if share.held:
            self._released_at = monotonic()
        if share is self._first:
            self._first = None
        self.held -= share.held
        share.held = 0

    def _may_go_on(self, share: Share, size: int) -> bool:
        """Return whether there is room for further bytes of a body; it becomes the first one if that helps."""
        if self._first is not None and monotonic() > self._first_until:
            self._first = None
        left, rest = self.limit - self.held - size, max(share.length - share.held - size, 0)
        if share is not self._first and not self._has_room(share, left, share.held + size + rest, rest):
            return False
        if share is self._first and not rest:
            self._first = None  # another one may begin while this one is stored
        return left >= 0

    def _has_room(self, share: Share, left: int, length: int, rest: int) -> bool:
        least = math.sqrt(length * self.limit) / 5
        if self._first is not None:
            return left - (self._first.length - self._first.held) >= least + 2 * length
        if left < least + 2 * length and left >= least + rest:
            self._first, self._first_until = share, monotonic() + TURN_S
        return left >= least + rest

    def _wait(self, share: Share, size: int, pause: Callable[[float], None]) -> float:
        begin, length = monotonic(), max(share.length, share.held + size)
        if self._waiting >= MAX_WAITING or length + math.sqrt(length * self.limit) / 5 > self.limit:
            raise _uploads_full()
        self._waiting += 1
        try:
            while not self._may_go_on(share, size):
                now = monotonic()
                if now > max(self._released_at, begin) + STANDSTILL_S or now > begin + LONGEST_WAIT_S:
                    raise _uploads_full()
                pause(WAIT_POLL_S)
        finally:
            self._waiting -= 1
        return monotonic() - begin


def _uploads_full() -> Problem:
    detail = "Too many images are being uploaded at this moment."
    return Problem(503, "uploads_full", detail, retry_after_s=problems.soon())


class _Stage(Enum):
    HEAD = auto()
    BODY = auto()
    # Of a request that has been answered; it is discarded.
    REST = auto()


class PacedReader(SocketUnreader):  # type: ignore[misc]  # gunicorn has no types
    """Reads a connection for gunicorn's parser, with a deadline for each part of a request."""

    # Gunicorn's 1 MiB takes so long to process that a few large bodies would slow every pass of the loop down.
    max_body_chunk = 128 * 1024

    def __init__(self, connection: socket.socket, timeouts: ClientTimeouts, budget: Budget, turns: Turns) -> None:
        super().__init__(connection)
        self.is_idle = False
        # Whether no whole request has arrived since the last one was answered.
        self.is_unused = True
        # Bytes received on this connection.
        self.received = 0
        # The client waits for 100 Continue before it sends its body.
        self.owes_continue = False
        self._timeouts = timeouts
        self._budget = budget
        self._turns = turns
        self._share = Share()
        self._small_reads = 0
        self._stage = _Stage.HEAD
        self._window_s = timeouts.window_s
        self._window_left = 0
        self._deadline = self._body_deadline = monotonic() + timeouts.head_s

    def expect_head(self) -> None:
        """Wait for a request: `idle_s` for its first byte, then `head_s` for the rest of its head."""
        self.forget_body()
        self._stage = _Stage.HEAD
        self._small_reads = 0
        self.is_unused = True
        self.is_idle = self.buf.tell() == 0
        self._deadline = monotonic() + (self._timeouts.idle_s if self.is_idle else self._timeouts.head_s)

    def expect_body(self, length: int = 0, *, owes_continue: bool = False) -> None:
        """Start the first window of a body of this length; 0 where it is unknown.

        `owes_continue` where the client waits for 100 Continue to send it.
        """
        self._share = Share(min(length, self._budget.limit))
        self._stage = _Stage.BODY
        self.is_unused = False
        self.owes_continue = owes_continue
        self._window_s = self._timeouts.window_s
        self._body_deadline = monotonic() + self._timeouts.body_s
        self._begin_window()

    def expect_rest(self) -> None:
        """Give the client `head_s` to send the rest of a body that is discarded."""
        self.forget_body()
        self._stage = _Stage.REST
        self._deadline = self._body_deadline = monotonic() + self._timeouts.head_s
        self._window_left = DRAIN_BYTES

    def forget_body(self) -> None:
        """Release the budget of a body that is no longer in memory."""
        self._budget.release(self._share)

    def count_body(self, size: int) -> None:
        """Count further bytes that a body takes in memory, such as decoded ones; raise Problem."""
        waited_s = self._budget.take(self._share, size, self._turns.pause)
        # The time that the service has taken is not the client's.
        self._body_deadline += waited_s
        self._deadline += waited_s

    def read_head(self, max_line: int) -> bytes:
        """Return what was received, once it holds a whole head, the end of the stream, or bytes that no parser accepts.

        The parser itself would search all of an unfinished head again for each packet. `max_line` is the longest
        request line that it accepts. Raises LimitRequestHeaders where the head is too long.
        """
        received, searched = bytearray(self.take_buffered()), 0
        while (end := received.find(_END_OF_HEAD, searched)) < 0 and not _is_malformed(received, searched, max_line):
            if len(received) > MAX_HEAD_BYTES:
                raise LimitRequestHeaders(f"the request's head has more than {MAX_HEAD_BYTES} bytes")
            searched = max(len(received) - len(_END_OF_HEAD) + 1, 0)
            if not (data := self.chunk()):
                break
            received += data
        if received.count(b";", 0, end) + received.count(b",", 0, end) > MAX_LISTED:
            raise LimitRequestHeaders(f"the request's headers list more than {MAX_LISTED} values or parameters")
        return bytes(received)

    def read_exactly(self, size: int) -> bytes:
        """Return so many bytes; raise as `chunk` does."""
        received = self.take_buffered()
        pieces, missing = [received[:size]], size - len(received)
        while missing > 0:
            received = self.chunk(missing)
            pieces.append(received[:missing])
            missing -= len(received)
        if missing < 0:
            self.unread(received[missing:])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def discard(self, size: int) -> bool:
        """Discard so many bytes within `head_s`; return False where the client disconnects before."""
        self.expect_rest()
        while size > 0:
            data = self.chunk(size)
            if not data:
                return False
            self.unread(data[size:])
            size -= len(data)
        return True

    def drain(self) -> None:
        """Discard what the client still sends, with the deadlines of a body, until it disconnects or stops sending."""
        self.expect_rest()
        self._window_s = min(self._timeouts.window_s, DRAIN_WINDOW_S)
        self._body_deadline = monotonic() + self._timeouts.body_s
        self._begin_window()
        self.buf = BytesIO()
        until = self.received + DRAIN_BYTES
        with suppress(OSError, ClientIdle):
            while self.received < until and self.chunk(DRAIN_PIECE_BYTES):
                pass

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Return the next bytes; raise Problem, ClientIdle, or NoMoreData where a body ends early."""
        self._wait_for_turn()
        if self.owes_continue:
            self._send_continue()
        remaining = self._deadline - monotonic()
        if remaining <= 0:
            raise self._lateness()
        self.sock.settimeout(remaining)
        try:
            data: bytes = super().chunk(size_hint)
        except TimeoutError:
            raise self._lateness() from None
        finally:
            # Sending has a timeout of its own.
            self.sock.settimeout(self._timeouts.send_s)
        self._count(len(data))
        if not data and self._stage is _Stage.BODY:
            # Gunicorn would treat what was received as the whole body.
            raise NoMoreData
        return data

    def _wait_for_turn(self) -> None:
        if self._small_reads > FREE_SMALL_READS:
            self._turns.pause(SMALL_READ_PAUSE_S)
        else:
            self._turns.take()

    def _send_continue(self) -> None:
        self.owes_continue = False
        # A client that has disconnected is noticed by the next read.
        with suppress(OSError):
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _count(self, size: int) -> None:
        self.received += size
        self._small_reads += size < SMALL_BYTES
        if self._stage is _Stage.HEAD:
            if self.is_idle:
                self.is_idle = False
                self._deadline = monotonic() + self._timeouts.head_s
            return
        if self._stage is _Stage.BODY:
            self.count_body(size)
        self._window_left -= size
        if self._window_left <= 0:
            self._begin_window()

    def _begin_window(self) -> None:
        self._window_left = WINDOW_BYTES
        self._deadline = min(monotonic() + self._window_s, self._body_deadline)

    def _lateness(self) -> Problem | ClientIdle:
        if self.is_idle or self._stage is _Stage.REST:
            return ClientIdle()
        if self._stage is _Stage.BODY:
            needed = f"{WINDOW_BYTES} bytes every {self._timeouts.window_s:g} s, all within {self._timeouts.body_s:g} s"
            detail = f"The request's body arrived too slowly: it needs {needed}."
        else:
            detail = f"The request's headers did not arrive within {self._timeouts.head_s:g} s."
        return Problem(408, "client_too_slow", detail)


def _is_malformed(received: bytearray, searched: int, max_line: int) -> bool:
    """Return whether the parser rejects the beginning of a head, so that the rest need not be read."""
    if _BARE_LINE_FEED.search(received, searched):
        return True
    begin = 2 if received.startswith(b"\r\n") else 0
    if received.find(b"\r\n", begin, begin + max_line + 2) < 0:
        return len(received) > begin + max_line + 2
    return _REQUEST_LINE.match(received) is None
