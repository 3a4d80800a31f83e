"""How an answer goes onto the connection: what the application made, and what the server says by itself."""

import secrets
from collections.abc import Iterable
from typing import Any

from gunicorn.http import wsgi

from problems import MEDIA_TYPE, Problem
from server.security_headers import DEFAULT_HEADERS, SECURITY_HEADERS


class OneWriteResponse(wsgi.Response):  # type: ignore[misc]  # gunicorn has no types
    """Sends the head together with the first piece of the body: one packet for nearly every answer."""

    def __init__(self, request: Any, connection: Any, configuration: Any) -> None:
        super().__init__(request, connection, configuration)
        # What serves, and in which version, is nobody's business.
        self.version = "sightline"
        self.headers_sent = False
        self._head = b""

    def send_headers(self) -> None:
        """Make the head; it leaves with the body."""
        if self.headers_sent:
            return
        lines = self.default_headers()
        lines.extend([f"{name}: {value}\r\n" for name, value in self.headers])
        self._head = "".join([*lines, "\r\n"]).encode("latin-1")
        self.headers_sent = True

    def _emit_body(self, data: bytes) -> None:
        if self.chunked:
            data = b"%X\r\n%b\r\n" % (len(data), data)
        self.sock.sendall(self._head + data)
        self._head = b""

    def close(self) -> None:
        """Send what was not sent with a body, and the end of one."""
        self.send_headers()
        rest = self._head + (b"0\r\n\r\n" if self.chunked else b"")
        self._head = b""
        if rest:
            self.sock.sendall(rest)


def send(response: OneWriteResponse, pieces: Iterable[bytes]) -> None:
    """Send what the application gives, and let it clean up whatever comes of it."""
    try:
        for piece in pieces:
            response.write(piece)
        response.close()
    finally:
        close = getattr(pieces, "close", None)
        if close is not None:
            close()


def whole_answer(problem: Problem, *, request_id: str = "", instance: str = "", closes: bool = True) -> bytes:
    """Give every byte of an answer to what never reaches the application."""
    request_id = request_id or secrets.token_hex(16)
    body = problem.body(instance=instance, request_id=request_id)
    headers = (
        ("Connection", "close" if closes else "keep-alive"),
        ("Content-Type", MEDIA_TYPE),
        ("Content-Length", str(len(body))),
        *SECURITY_HEADERS,
        *DEFAULT_HEADERS,
        *problem.headers().items(),
        ("X-Request-Id", request_id),
    )
    head = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 {problem.status} {problem.title}\r\n{head}\r\n".encode() + body
