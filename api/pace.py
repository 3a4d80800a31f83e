"""What keeps one client from holding the service: every read from it stands under a deadline of its own.

A byte a second is as good as nothing: the deadline of a request's head is fixed with its first byte, and a body has to
bring a further WINDOW_BYTES in every window. Nothing here sleeps or polls; a deadline is the time-out of one recv.
"""

from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from gunicorn.http.unreader import SocketUnreader

WINDOW_BYTES = 64 * 1024


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


@dataclass(frozen=True, slots=True)
class Pace:
    """The time, in seconds, that a client has for each thing it does."""

    idle_s: float
    head_s: float
    body_s: float
    window_s: float
    send_s: float


class Budget:
    """The bytes of request bodies that a process holds in memory at one time."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0

    def take(self, size: int) -> None:
        """Count further bytes; raises UploadsFull where they would be too many."""
        if self.held + size > self.limit:
            raise UploadsFull("Too many pictures are being uploaded at this moment.")
        self.held += size

    def give_back(self, size: int) -> None:
        """Count bytes no longer."""
        self.held -= size


class PacedReader(SocketUnreader):  # type: ignore[misc]  # gunicorn has no types
    """Reads a connection for gunicorn's parser, head after body after head, each under its deadlines."""

    def __init__(self, connection: Connection, pace: Pace, budget: Budget) -> None:
        super().__init__(connection)
        self.is_idle = False
        self._pace = pace
        self._budget = budget
        self._held = 0
        self._in_body = False
        self._window_left = 0
        self._deadline = self._body_deadline = monotonic() + pace.head_s

    def expect_head(self) -> None:
        """Let the client be quiet for a while, then give it the time of one head from its first byte on."""
        self.forget_body()
        self._in_body = False
        self.is_idle = self.buf.tell() == 0
        self._deadline = monotonic() + (self._pace.idle_s if self.is_idle else self._pace.head_s)

    def expect_body(self) -> None:
        """Begin the first window of a body."""
        self._in_body = True
        self._body_deadline = monotonic() + self._pace.body_s
        self._begin_window()

    def forget_body(self) -> None:
        """Tell that the body's bytes are not in memory any more."""
        self._budget.give_back(self._held)
        self._held = 0

    def discard(self, size: int) -> bool:
        """Throw away so many bytes, within the time of the head; False where the client ends before."""
        while size > 0:
            data = self.chunk(size)
            if not data:
                return False
            self.unread(data[size:])
            size -= len(data)
        return True

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Give the next bytes; raises ClientTooSlow or ClientIdle at the deadline."""
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
        return data

    def _count(self, size: int) -> None:
        if self._in_body:
            self._budget.take(size)
            self._held += size
            self._window_left -= size
            if self._window_left <= 0:
                self._begin_window()
        elif self.is_idle:
            self.is_idle = False
            self._deadline = monotonic() + self._pace.head_s

    def _begin_window(self) -> None:
        self._window_left = WINDOW_BYTES
        self._deadline = min(monotonic() + self._pace.window_s, self._body_deadline)

    def _lateness(self) -> ClientTooSlow | ClientIdle:
        if self.is_idle:
            return ClientIdle()
        if self._in_body:
            pace = f"a further {WINDOW_BYTES} bytes every {self._pace.window_s:g} s, all within {self._pace.body_s:g} s"
            return ClientTooSlow(f"The request's body came too slowly: {pace} are expected.")
        return ClientTooSlow(f"The request's headers came too slowly: {self._pace.head_s:g} s are allowed.")
