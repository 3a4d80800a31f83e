"""HTTP messages on a connection: how requests are parsed and responses written, and the headers of every response.

Each chunk of a body costs the parser about as much as a kilobyte of data. Bodies in chunks of one byte, or with long
chunk extensions, are work without content; only a small share of a body may be framing.
"""

import os
import socket
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

from gunicorn import util
from gunicorn.http import wsgi
from gunicorn.http.body import Body, ChunkedReader, LengthReader
from gunicorn.http.errors import UnsupportedTransferCoding
from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser

from problems import MEDIA_TYPE, Problem
from server.client_timeouts import PacedReader

# The page's own files, images as blobs before they are sent, and nothing else; no inline script or style.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# An uploaded image: its content, of any kind, can do nothing.
IMAGE_POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"

SECURITY_HEADERS: tuple[tuple[str, str], ...] = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    # Not "no-referrer": a form's POST would then say "Origin: null", which is refused.
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
# Added where the response has none of its own.
DEFAULT_HEADERS: tuple[tuple[str, str], ...] = (
    ("Content-Security-Policy", PAGE_POLICY),
    ("Cache-Control", "no-store"),
)
# Framing that any body may have, and the share of its content that it may have beyond that.
FREE_OVERHEAD_BYTES = 4 * 1024
MAX_OVERHEAD_SHARE = 1 / 16
MAX_SIZE_LINE_BYTES = 1024
MAX_TRAILER_BYTES = 8 * 1024
# Headers that CGI, and so WSGI, calls by their own names.
_WITHOUT_PREFIX: Final = frozenset({"CONTENT_TYPE", "CONTENT_LENGTH"})
# Of every response, HTTP/1.1 or 1.0.
_FIRST_BYTE = b"H"


class BoundedChunkedReader(ChunkedReader):  # type: ignore[misc]  # gunicorn has no types
    """Reads a chunked body; raises Problem where its chunks are too small."""

    def __init__(self, request: Any, unreader: PacedReader) -> None:
        super().__init__(request, unreader)
        self.limit_chunk_size_line = MAX_SIZE_LINE_BYTES
        self.limit_trailer_section = MAX_TRAILER_BYTES
        self._content = 0
        self._began_at = unreader.received - unreader.buf.tell()

    def parse_chunk_size(self, unreader: PacedReader, data: bytes | None = None) -> tuple[int, bytes | None]:
        """Read the line before a chunk; return the chunk's size and what was read beyond the line."""
        size, rest = super().parse_chunk_size(unreader, data)
        unread = len(rest or b"") + unreader.buf.tell()
        overhead = unreader.received - unread - self._began_at - self._content
        if overhead > FREE_OVERHEAD_BYTES + MAX_OVERHEAD_SHARE * self._content:
            sizes = f"{overhead} bytes of framing for {self._content} bytes of content"
            raise Problem(400, "malformed", f"The chunked body has {sizes}: send larger chunks.")
        self._content += size
        return size, rest


class SizedBody(Body):  # type: ignore[misc]  # gunicorn has no types
    """A body of known length: read as a whole it is received piece by piece and copied once."""

    reader: LengthReader

    def read(self, size: int | None = None) -> bytes:
        """Return so many bytes, or all that are left."""
        left = self.reader.length
        if not left or self.buf.tell() or (size is not None and 0 <= size < left):
            part: bytes = super().read(size)
            return part
        try:
            whole: bytes = self.reader.unreader.read_exactly(left)
        except Exception:
            self.failed = True
            raise
        self.reader.length = 0
        return whole


class BoundedRequest(Request):  # type: ignore[misc]  # gunicorn has no types
    """A request whose body is read by SizedBody, or by BoundedChunkedReader."""

    body: Body

    def _peer_trusted_for_forwarded(self) -> tuple[dict[str, str], list[str]]:
        """Return which headers decide about scheme and path: none, from any sender."""
        return {}, []

    def set_body_reader(self) -> None:
        """Choose how the body is read, after its headers."""
        super().set_body_reader()
        for name, value in self.headers:
            # The parser lets compressed bodies pass, and nothing decompresses them.
            if name == "TRANSFER-ENCODING" and value.strip(" \t").lower() != "chunked":
                raise UnsupportedTransferCoding(value)
        if isinstance(self.body.reader, ChunkedReader):
            self.body = Body(BoundedChunkedReader(self, self.unreader))
        elif isinstance(self.body.reader, LengthReader):
            self.body = SizedBody(self.body.reader)


class BoundedRequestParser(RequestParser):  # type: ignore[misc]  # gunicorn has no types
    """Parses a connection's requests as BoundedRequest."""

    mesg_class = BoundedRequest


class OneWriteResponse(wsgi.Response):  # type: ignore[misc]  # gunicorn has no types
    """Sends the head together with the first piece of the body: one packet for nearly every answer."""

    def __init__(self, request: Any, connection: Any, configuration: Any) -> None:
        super().__init__(request, connection, configuration)
        # In place of gunicorn's name and version.
        self.version = "sightline"
        self.headers_sent = False
        # Whether any byte was sent: from then on, no other response can take its place.
        self.has_begun = False
        self._is_refused = False
        self._head = b""

    def is_client_gone(self) -> bool:
        """Return whether no one waits for this response any more, without waiting and without consuming anything.

        A client that has only ended its own side still waits. To distinguish it from one that has closed the
        connection, the first byte of the response is sent ahead: where it was closed, that is refused, which the next
        call finds.
        """
        connection = self.sock._sock  # gevent's own socket would wait
        try:
            if not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                if not self.has_begun:
                    self.has_begun = connection.send(_FIRST_BYTE, socket.MSG_DONTWAIT) > 0
                # After the end of what is received, only this shows the refusal, and only once.
                self._is_refused |= connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
        except BlockingIOError:
            pass
        except OSError:
            self._is_refused = True
        return self._is_refused

    def process_headers(self, headers: list[tuple[str, str]]) -> None:
        """Take the headers of the application; raise gunicorn's errors where one of them cannot be sent."""
        for header in headers:
            name = _known_name(header[0])
            if name is None or not wsgi.HEADER_VALUE_RE.fullmatch(header[1]):
                super().process_headers([header])
                continue
            if name == "content-length":
                self.response_length = int(header[1])
            self.headers.append(header)

    def default_headers(self) -> list[str]:
        """Return the first lines of the head."""
        version, connection = self.req.version, "close" if self.should_close() else "keep-alive"
        lines = [
            f"HTTP/{version[0]}.{version[1]} {self.status}\r\nServer: {self.version}\r\n"
            f"Date: {_http_date(int(time.time()))}\r\nConnection: {connection}\r\n"
        ]
        if self.chunked:
            lines.append("Transfer-Encoding: chunked\r\n")
        return lines

    def send_headers(self) -> None:
        """Build the head, which is sent with the body."""
        if self.headers_sent:
            return
        lines = self.default_headers()
        lines.extend([f"{name}: {value}\r\n" for name, value in self.headers])
        self._head = "".join([*lines, "\r\n"]).encode("latin-1")[self.has_begun * len(_FIRST_BYTE) :]
        self.headers_sent = True

    def _emit_body(self, data: bytes) -> None:
        if self.chunked:
            data = b"%X\r\n%b\r\n" % (len(data), data)
        self.has_begun = True
        self.sock.sendall(self._head + data)
        self._head = b""

    def close(self) -> None:
        """Send a head that was not sent with a body, and the end of a chunked body."""
        self.send_headers()
        rest = self._head + (b"0\r\n\r\n" if self.chunked else b"")
        self._head = b""
        if rest:
            self.has_begun = True
            self.sock.sendall(rest)


@lru_cache(maxsize=256)
def _known_name(name: str) -> str | None:
    """Return a header's name in small letters; None where it is no name, or belongs to the connection alone."""
    is_plain = isinstance(name, str) and wsgi.TOKEN_RE.fullmatch(name) and not util.is_hoppish(name)
    return name.lower() if is_plain else None


@lru_cache(maxsize=1)
def _http_date(second: int) -> str:
    date: str = util.http_date(second)
    return date


def environ_of(request: BoundedRequest, client: Any, server: Any, fixed: dict[str, Any]) -> dict[str, Any]:
    """Return the WSGI environment of a request; `fixed` is what all of the process have in common.

    It is as gunicorn makes it, for a listener and clients of any family, without what nothing here reads: the callback
    for early hints, and the headers by which a proxy in front of gunicorn may choose SCRIPT_NAME.
    """
    environ = fixed.copy()
    for name, value in request.headers:
        key = _environ_key(name)
        # A repeated field was refused where it may be there only once.
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    major, minor = request.version
    server = server if isinstance(server, tuple) else (str(server), "")
    address = client if isinstance(client, tuple) and client else (str(client or ""), "")
    environ |= {
        "wsgi.input": request.body,
        "wsgi.url_scheme": request.scheme,
        "REQUEST_METHOD": request.method,
        "QUERY_STRING": request.query,
        "RAW_URI": request.uri,
        "SERVER_PROTOCOL": f"HTTP/{major}.{minor}",
        "REMOTE_ADDR": address[0],
        "REMOTE_PORT": str(address[1]),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "PATH_INFO": util.unquote_to_wsgi_str(request.path),
        "SCRIPT_NAME": "",
    }
    return environ


@lru_cache(maxsize=256)
def _environ_key(name: str) -> str:
    key = name.replace("-", "_")
    return key if key in _WITHOUT_PREFIX else f"HTTP_{key}"


def send(response: OneWriteResponse, pieces: Iterable[bytes]) -> None:
    """Send the pieces of a response and close them, even where sending fails."""
    try:
        for piece in pieces:
            response.write(piece)
        response.close()
    finally:
        close = getattr(pieces, "close", None)
        if close is not None:
            close()


def problem_response(problem: Problem, *, request_id: str = "", instance: str = "", closes: bool = True) -> bytes:
    """Return the bytes of a response to a request that never reaches the application."""
    request_id = request_id or os.urandom(16).hex()
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
