"""Clients that do harm: slow ones that send a byte now and then, and those that go away without waiting."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

HEAD = b"POST /predict HTTP/1.1\r\nHost: test\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
BODY_BYTES = 20_000


def connect(url: str) -> socket.socket:
    """A connection to the service."""
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname or "", parts.port or 80), timeout=30)


class Drip:
    """Many connections that send one byte each `pause_s`, in `with`; half never end their headers, half their body.

    `closed_after_s` holds how long each lived that the service has closed.
    """

    def __init__(self, url: str, count: int, pause_s: float) -> None:
        self.closed_after_s: list[float] = []
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._begin = time.monotonic()
        self._open = [connect(url) for _ in range(count)]
        for number, client in enumerate(self._open):
            client.sendall(HEAD % BODY_BYTES if number % 2 else b"POST /predict HTTP/1.1\r\nX-Slow: ")
            client.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="slow clients", daemon=True)

    @property
    def open_count(self) -> int:
        """How many the service still holds open."""
        return len(self._open)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        for client in self._open:
            client.close()

    def _run(self) -> None:
        while not self._stop.wait(self._pause_s):
            self._open = [client for client in self._open if self._is_served(client)]

    def _is_served(self, client: socket.socket) -> bool:
        """Send the next byte, unless the service has had enough of this client."""
        with contextlib.suppress(OSError):
            if not select.select([client], [], [], 0)[0]:
                client.send(b"x")
                return True
        self.closed_after_s.append(time.monotonic() - self._begin)
        client.close()
        return False


def ask_and_go(url: str, contents: Iterator[bytes], count: int) -> None:
    """Send so many whole requests, and close each connection without waiting for the answer."""
    for _ in range(count):
        content = next(contents)
        with connect(url) as client:
            client.sendall(HEAD % len(content) + content)


def break_off(url: str, count: int) -> None:
    """Send so many halves of requests, a hundred at a time, and reset each connection once all of these were sent."""
    for begin in range(0, count, 100):
        clients = [connect(url) for _ in range(min(count - begin, 100))]
        for number, client in enumerate(clients):
            client.sendall((HEAD % BODY_BYTES + b"x" * 5_000)[: 30 if number % 2 else None])
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.close()
