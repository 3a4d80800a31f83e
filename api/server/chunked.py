"""Bodies that come in chunks, whose framing may only be a small share of them.

Each chunk costs the parser about as much as a kilobyte of data: bodies in chunks of one byte, or with long chunk
extensions, are work without content.
"""

from typing import TYPE_CHECKING, Any

from gunicorn.http.body import Body, ChunkedReader
from gunicorn.http.errors import ParseException
from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser

if TYPE_CHECKING:
    from server.client_timeouts import PacedReader

# Framing that any body may have, and the share of its content that it may have beyond that.
FREE_OVERHEAD_BYTES = 4 * 1024
MAX_OVERHEAD_SHARE = 1 / 16
MAX_SIZE_LINE_BYTES = 1024
MAX_TRAILER_BYTES = 8 * 1024


class TooMuchFraming(ParseException):  # type: ignore[misc]  # gunicorn has no types
    """A chunked body consists of chunk headers, extensions or trailers for the larger part."""

    def __init__(self, overhead: int, content: int) -> None:
        super().__init__(
            f"the chunked body has {overhead} bytes of framing for {content} bytes of content: send larger chunks"
        )


class BoundedChunkedReader(ChunkedReader):  # type: ignore[misc]  # gunicorn has no types
    """Reads a chunked body; raises TooMuchFraming where its chunks are too small for what they cost."""

    def __init__(self, request: Any, unreader: "PacedReader") -> None:
        super().__init__(request, unreader)
        self.limit_chunk_size_line = MAX_SIZE_LINE_BYTES
        self.limit_trailer_section = MAX_TRAILER_BYTES
        self._content = 0
        self._began_at = unreader.received - unreader.buf.tell()

    def parse_chunk_size(self, unreader: "PacedReader", data: bytes | None = None) -> tuple[int, bytes | None]:
        """Read the line before a chunk; gives the chunk's size and what was read beyond the line."""
        size, rest = super().parse_chunk_size(unreader, data)
        unread = len(rest or b"") + unreader.buf.tell()
        overhead = unreader.received - unread - self._began_at - self._content
        if overhead > FREE_OVERHEAD_BYTES + MAX_OVERHEAD_SHARE * self._content:
            raise TooMuchFraming(overhead, self._content)
        self._content += size
        return size, rest


class BoundedRequest(Request):  # type: ignore[misc]  # gunicorn has no types
    """A request whose chunked body is read by BoundedChunkedReader."""

    body: Body

    def set_body_reader(self) -> None:
        """Choose how the body is read, after its headers."""
        super().set_body_reader()
        if isinstance(self.body.reader, ChunkedReader):
            self.body = Body(BoundedChunkedReader(self, self.unreader))


class BoundedRequestParser(RequestParser):  # type: ignore[misc]  # gunicorn has no types
    """Parses a connection's requests as BoundedRequest."""

    mesg_class = BoundedRequest
