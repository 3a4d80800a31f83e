"""A load over raw sockets that costs little itself: open loop at a rate, or closed loop with so many clients.

Open loop: a request is sent when it is due, regardless of those before it; its time counts from then.
"""

from __future__ import annotations

import heapq
import re
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from sightline_testing.faults.ledger import Entry, Ledger, Outcome
from sightline_testing.faults.questions import Question, copies

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_RETRY_AFTER = re.compile(rb"\r\nretry-after: *(\d+)", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
# Longer than any deadline: what is not answered by then is lost.
PATIENCE_S = 90.0
# How long a client of a closed loop waits after anything but an answer.
PAUSE_S = 0.1
LONGEST_POLL_S = 0.05
# Well below the time after which the service lets idle connections go: who is about to be let go is not heard.
LONGEST_IDLE_S = 5.0


class Connection:
    """One connection and its open request, if any."""

    __slots__ = ("entry", "idle_since", "inbox", "outbox", "socket")

    def __init__(self, made: socket.socket) -> None:
        self.socket = made
        self.entry: Entry | None = None
        self.outbox = memoryview(b"")
        self.inbox = bytearray()
        self.idle_since = 0.0


class Load:
    """Sends from a thread of its own inside `with`; the ledger is complete once the block has ended.

    `rate` (requests a second) may be changed meanwhile; with `clients`, each sends again when it has its answer.
    """

    def __init__(  # noqa: PLR0913  all but the first two go by keyword
        self,
        url: str,
        asked: Sequence[Question],
        *,
        rate: float = 0.0,
        clients: int = 0,
        headers: Mapping[str, str] | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        parts = urlsplit(url)
        self.rate = rate
        self.ledger = Ledger()
        self._clients = clients
        self._patience_s = patience_s
        self._address = (parts.hostname or "", parts.port or 80)
        self._head = _head(parts.netloc, headers or {})
        self._copies = copies(asked)
        self._poll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._idle: list[Connection] = []
        self._waiting: deque[tuple[Entry, Connection]] = deque()
        self._paused: list[float] = []
        self._stop = threading.Event()
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        if self._fault is not None and error is None:
            raise self._fault

    @property
    def under_way(self) -> int:
        """How many requests wait for their answer now."""
        return sum(connection.entry is not None for connection in list(self._connections.values()))

    def _run(self) -> None:
        try:
            self._send_and_receive()
        except BaseException as fault:  # noqa: BLE001  told by the thread that waits for the end
            self._fault = fault
        finally:
            for connection in self._connections.values():
                connection.socket.close()
            self._poll.close()

    def _send_and_receive(self) -> None:
        due_at = time.monotonic()
        self._paused = [due_at] * self._clients
        while not self._stop.is_set() or self._waiting:
            now = time.monotonic()
            if not self._stop.is_set():
                due_at = self._send_due(due_at, now)
            self._lose_overdue(now)
            next_at = min(due_at, self._paused[0]) if self._paused else due_at
            for file, events in self._poll.poll(min(max(next_at - time.monotonic(), 0.0), LONGEST_POLL_S)):
                self._serve(self._connections[file], events)

    def _send_due(self, due_at: float, now: float) -> float:
        # Read once in each turn: another thread sets it to 0 to end the load.
        while (rate := self.rate) > 0 and due_at <= now:
            self._send(due_at)
            due_at += 1 / rate
        while self._paused and self._paused[0] <= now:
            heapq.heappop(self._paused)
            self._send(now)
        return due_at if self.rate > 0 else now + LONGEST_POLL_S

    def _send(self, due_at: float) -> None:
        request_id, question, content = next(self._copies)
        entry = Entry(request_id, question, due_at, time.monotonic())
        self.ledger.entries.append(entry)
        connection = self._free_connection()
        connection.entry = entry
        self._waiting.append((entry, connection))
        connection.outbox = memoryview(self._packet(request_id.encode(), content))
        self._push(connection)

    def _packet(self, request_id: bytes, content: bytes) -> bytes:
        return b"%b%d\r\nX-Request-Id: %b\r\n\r\n%b" % (self._head, len(content), request_id, content)

    def _free_connection(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if time.monotonic() - connection.idle_since < LONGEST_IDLE_S and _is_open(connection.socket):
                return connection
            self._drop(connection)
        made = socket.socket()
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.connect_ex(self._address)
        connection = self._connections[made.fileno()] = Connection(made)
        self._poll.register(made, select.EPOLLIN | select.EPOLLOUT)
        return connection

    def _serve(self, connection: Connection, events: int) -> None:
        if events & select.EPOLLOUT:
            self._push(connection)
        if events & ~select.EPOLLOUT and connection.socket.fileno() >= 0:
            self._pull(connection)

    def _push(self, connection: Connection) -> None:
        try:
            while connection.outbox:
                connection.outbox = connection.outbox[connection.socket.send(connection.outbox) :]
        except (BlockingIOError, InterruptedError):
            self._poll.modify(connection.socket, select.EPOLLIN | select.EPOLLOUT)
            return
        except ConnectionRefusedError:
            self._break(connection, Outcome.CUT_OFF)
            return
        except OSError:
            # An early answer, as for a body that is too large, is only noticed by a read.
            connection.outbox = memoryview(b"")
        self._poll.modify(connection.socket, select.EPOLLIN)

    def _pull(self, connection: Connection) -> None:
        try:
            piece = connection.socket.recv(65536)
        except (BlockingIOError, InterruptedError):
            return
        except ConnectionRefusedError:
            self._break(connection, Outcome.CUT_OFF)
            return
        except OSError:
            piece = b""
        if not piece:
            self._break(connection, Outcome.LOST)
            return
        connection.inbox += piece
        self._take_answer(connection)

    def _take_answer(self, connection: Connection) -> None:
        inbox, entry = connection.inbox, connection.entry
        if entry is None:
            self.ledger.doubled += 1
            self._drop(connection)
            return
        head_end = inbox.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = bytes(inbox[: head_end + 2])
        length = _LENGTH.search(head)
        end = head_end + 4 + (int(length[1]) if length else 0)
        if len(inbox) < end:
            return
        self.ledger.doubled += len(inbox) > end
        retry_after = _RETRY_AFTER.search(head)
        entry.judge(int(head[9:12]), float(retry_after[1]) if retry_after else None, bytes(inbox[head_end + 4 : end]))
        self._end(connection, entry)
        if _CLOSES.search(head) or connection.outbox:
            self._drop(connection)
        else:
            connection.inbox.clear()
            connection.idle_since = entry.ended_at
            self._idle.append(connection)

    def _end(self, connection: Connection, entry: Entry) -> None:
        entry.ended_at = time.monotonic()
        connection.entry = None
        while self._waiting and self._waiting[0][0].outcome is not None:
            self._waiting.popleft()
        if self._clients:
            heapq.heappush(self._paused, entry.ended_at + (0.0 if entry.outcome is Outcome.RIGHT else PAUSE_S))

    def _break(self, connection: Connection, outcome: Outcome) -> None:
        entry = connection.entry
        self._drop(connection)
        if entry is not None:
            entry.outcome = outcome
            entry.code = "half an answer" if connection.inbox else ""
            self._end(connection, entry)

    def _lose_overdue(self, now: float) -> None:
        while self._waiting and (self._waiting[0][0].outcome is not None or self._is_overdue(now)):
            entry, connection = self._waiting.popleft()
            if entry.outcome is None:
                entry.code = "no answer"
                self._break(connection, Outcome.LOST)

    def _is_overdue(self, now: float) -> bool:
        return now - self._waiting[0][0].sent_at > self._patience_s

    def _drop(self, connection: Connection) -> None:
        self._connections.pop(connection.socket.fileno(), None)
        if connection in self._idle:
            self._idle.remove(connection)
        connection.socket.close()


def _head(host: str, headers: Mapping[str, str]) -> bytes:
    lines = ["POST /predict HTTP/1.1", f"Host: {host}", "Content-Type: image/jpeg"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "Content-Length: "]).encode()


def _is_open(connection: socket.socket) -> bool:
    """Whether the other side has not closed the connection yet."""
    try:
        connection.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
