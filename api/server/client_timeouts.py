"""What keeps one client from holding the service: every read from it stands under a deadline of its own.

A byte a second is as good as nothing: the deadline of a request's head is fixed with its first byte, and a body has to
bring a further WINDOW_BYTES in every window. A deadline is the time-out of one recv.

And what keeps one from holding the others up: its reads take turns with theirs, and small packets are waited for until
there are several.
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from io import BytesIO
from time import monotonic
from typing import Protocol

from gunicorn.http.errors import LimitRequestHeaders, NoMoreData
from gunicorn.http.unreader import SocketUnreader

WINDOW_BYTES = 64 * 1024
MAX_HEAD_BYTES = 32 * 1024
# Values and parameters in a head, cookies among them: each costs some microseconds.
MAX_LISTED = 500
# A stream of smaller packets is read this often at most, once there were so many of them.
SMALL_BYTES = 1024
FREE_SMALL_READS = 16
SMALL_READ_PAUSE_S = 0.005
# How long a client that has its answer may send nothing, and how much it may send, before the connection ends under it.
DRAIN_WINDOW_S = 5.0
DRAIN_BYTES = 1024**3
DRAIN_PIECE_BYTES = 64 * 1024
_END_OF_HEAD = b"\r\n\r\n"
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_REQUEST_LINE = re.compile(rb"(?:\r\n)?[^ \r\n]+ [^ \r\n]+ HTTP/\d\.\d\r\n")


class ClientTooSlow(Exception):  # noqa: N818  it is the client's doing
    """The client did not keep the pace; the message says which."""


class ClientIdle(Exception):  # noqa: N818  nothing is wrong
    """Nobody asked anything on this connection for as long as it may be held."""


class UploadsFull(Exception):  # noqa: N818  the message says what to do
    """The memory for pictures on their way in is all taken."""


class Connection(Protocol):
    """What is needed of a socket."""

    def recv(self, size: int, /) -> bytes:
        """Give what has come, waiting for the first byte."""
        ...

    def settimeout(self, value: float | None, /) -> None:
        """Bound each of the calls that follow."""
        ...

    def sendall(self, data: bytes, /) -> None:
        """Send all of it."""
        ...


class Turns(Protocol):
    """What is needed of the event loop; see turns.py."""

    def take(self) -> None:
        """Wait until it is this connection's turn."""
        ...

    def pause(self, seconds: float, /) -> None:
        """Wait so long."""
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """The time, in seconds, that a client has for each thing it does."""

    idle_s: float
    head_s: float
    body_s: float
    window_s: float
    send_s: float


class Budget:
    """The bytes of request bodies that a process holds in memory at one time.

    The more one body holds, the more it has to leave free: 1/5 of sqrt(its bytes * limit). However many large bodies
    come, there is room for small ones.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def take(self, size: int, held: int = 0) -> None:
        """Count further bytes of a body that holds so many; raises UploadsFull where they would be too many."""
        left = self.limit - self.held - size
        if left < 0 or (5 * left) ** 2 < (held + size) * self.limit:
            raise UploadsFull("Too many pictures are being uploaded at this moment.")
        self.held += size

    def give_back(self, size: int) -> None:
        """Count bytes no longer."""
        self.held -= size


class _Stage(Enum):
    """What is read at present."""

    HEAD = auto()
    BODY = auto()
    # What nobody looks at: the request it belongs to has its answer.
    REST = auto()


class PacedReader(SocketUnreader):  # type: ignore[misc]  # gunicorn has no types
    """Reads a connection for gunicorn's parser, head after body after head, each under its deadlines."""

    # Gunicorn's 1 MiB takes so long to be worked on that with a few large bodies each pass of the loop is a slow one.
    max_body_chunk = 128 * 1024

    def __init__(self, connection: Connection, pace: Pace, budget: Budget, turns: Turns) -> None:
        super().__init__(connection)
        self.is_idle = False
        # Whether no whole request has come since the last one was answered.
        self.is_unused = True
        # Bytes that have come on this connection.
        self.received = 0
        # The client waits for word before it sends its body.
        self.owes_continue = False
        self._pace = pace
        self._budget = budget
        self._turns = turns
        self._held = 0
        self._small_reads = 0
        self._stage = _Stage.HEAD
        self._window_s = pace.window_s
        self._window_left = 0
        self._deadline = self._body_deadline = monotonic() + pace.head_s

    def expect_head(self) -> None:
        """Let the client be quiet for a while, then give it the time of one head from its first byte on."""
        self.forget_body()
        self._stage = _Stage.HEAD
        self._small_reads = 0
        self.is_unused = True
        self.is_idle = self.buf.tell() == 0
        self._deadline = monotonic() + (self._pace.idle_s if self.is_idle else self._pace.head_s)

    def expect_body(self, *, owes_continue: bool = False) -> None:
        """Begin the first window of a body; `owes_continue` where the client waits for 100 Continue to send it."""
        self._stage = _Stage.BODY
        self.is_unused = False
        self.owes_continue = owes_continue
        self._window_s = self._pace.window_s
        self._body_deadline = monotonic() + self._pace.body_s
        self._begin_window()

    def expect_rest(self) -> None:
        """Give the client the time of one head to send the rest of a body that is thrown away."""
        self.forget_body()
        self._stage = _Stage.REST
        self._deadline = self._body_deadline = monotonic() + self._pace.head_s
        self._window_left = DRAIN_BYTES

    def forget_body(self) -> None:
        """Tell that the body's bytes are not in memory any more."""
        self._budget.give_back(self._held)
        self._held = 0

    def read_head(self, max_line: int) -> bytes:
        """Give what has come, once it holds a whole head, the end of the stream, or what no parser would take.

        The parser itself looks through all of an unfinished head again for each packet. `max_line` is the length up to
        which it takes a request line; raises LimitRequestHeaders where the head is too long.
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

    def discard(self, size: int) -> bool:
        """Throw away so many bytes, within the time of a head; False where the client ends before."""
        self.expect_rest()
        while size > 0:
            data = self.chunk(size)
            if not data:
                return False
            self.unread(data[size:])
            size -= len(data)
        return True

    def drain(self) -> None:
        """Throw away what the client still sends, at the pace of a body, until it ends its side or sends no more."""
        self.forget_body()
        self._stage = _Stage.REST
        self._window_s = min(self._pace.window_s, DRAIN_WINDOW_S)
        self._body_deadline = monotonic() + self._pace.body_s
        self._begin_window()
        self.buf = BytesIO()
        until = self.received + DRAIN_BYTES
        with suppress(OSError, ClientIdle):
            while self.received < until and self.chunk(DRAIN_PIECE_BYTES):
                pass

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Give the next bytes; raises ClientTooSlow or ClientIdle at the deadline, NoMoreData in an unfinished body."""
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
            # What is sent from now on has its own time.
            self.sock.settimeout(self._pace.send_s)
        self._count(len(data))
        if not data and self._stage is _Stage.BODY:
            # Gunicorn would take what came for the whole body.
            raise NoMoreData
        return data

    def _wait_for_turn(self) -> None:
        if self._small_reads > FREE_SMALL_READS:
            self._turns.pause(SMALL_READ_PAUSE_S)
        else:
            self._turns.take()

    def _send_continue(self) -> None:
        self.owes_continue = False
        # A client that has gone shows when it is read from.
        with suppress(OSError):
            self.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _count(self, size: int) -> None:
        self.received += size
        self._small_reads += size < SMALL_BYTES
        if self._stage is _Stage.HEAD:
            if self.is_idle:
                self.is_idle = False
                self._deadline = monotonic() + self._pace.head_s
            return
        if self._stage is _Stage.BODY:
            self._budget.take(size, self._held)
            self._held += size
        self._window_left -= size
        if self._window_left <= 0:
            self._begin_window()

    def _begin_window(self) -> None:
        self._window_left = WINDOW_BYTES
        self._deadline = min(monotonic() + self._window_s, self._body_deadline)

    def _lateness(self) -> ClientTooSlow | ClientIdle:
        if self.is_idle or self._stage is _Stage.REST:
            return ClientIdle()
        if self._stage is _Stage.BODY:
            pace = f"a further {WINDOW_BYTES} bytes every {self._pace.window_s:g} s, all within {self._pace.body_s:g} s"
            return ClientTooSlow(f"The request's body came too slowly: {pace} are expected.")
        return ClientTooSlow(f"The request's headers came too slowly: {self._pace.head_s:g} s are allowed.")


def _is_malformed(received: bytearray, searched: int, max_line: int) -> bool:
    """Say whether the parser refuses the beginning of a head, so that it need not be read to its end."""
    if _BARE_LINE_FEED.search(received, searched):
        return True
    begin = 2 if received.startswith(b"\r\n") else 0
    if received.find(b"\r\n", begin, begin + max_line + 2) < 0:
        return len(received) > begin + max_line + 2
    return _REQUEST_LINE.match(received) is None
