"""Bodies with a Content-Encoding (RFC 9110, 8.4): decoded as they are read, and bounded by what they decode to.

A small body can decode to a thousand times as much, so each piece is counted before the next is decoded: against the
largest body of the route, and against the memory for all bodies.
"""

import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, Final

from werkzeug.exceptions import RequestEntityTooLarge

import offload
from problems import Problem

ACCEPTED: Final = "gzip, deflate"
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
READ_BYTES = 64 * 1024
PIECE_BYTES = 256 * 1024
# From here on, decoding takes long enough for others to notice.
BLOCKING_BYTES = 1024**2
# A gzip body may be several in a row; empty ones cost time and add nothing.
MAX_MEMBERS = 64


def coding_of(header: str) -> str:
    """Return the coding that a Content-Encoding names, empty for none; raise Problem for one that is not decoded."""
    codings = [name for each in header.split(",") if (name := each.strip().lower()) not in {"", "identity"}]
    if not codings:
        return ""
    coding = codings[0].removeprefix("x-")
    if len(codings) > 1 or coding not in {"gzip", "deflate"}:
        detail = f"Content-Encoding={header[:40]!r} is not decoded here; accepted is one of {ACCEPTED}."
        raise Problem(415, "unsupported_encoding", detail, headers={"Accept-Encoding": ACCEPTED})
    return coding


class DecodedStream:
    """The decoded body of a request; `limit` is how many bytes it may have, None for any number.

    `count` is called with the size of each piece, and may raise Problem.
    """

    def __init__(self, stream: IO[bytes], coding: str, limit: int | None, count: Callable[[int], None]) -> None:
        self._pieces = self._bounded(_decoded(stream, coding), limit, count)
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, all that are left for a negative size; raise Problem or RequestEntityTooLarge."""
        if size < 0:
            found, self._rest = b"".join([self._rest, *self._pieces]), b""
            return found
        while len(self._rest) < size and (piece := next(self._pieces, b"")):
            self._rest += piece
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    @staticmethod
    def _bounded(pieces: Iterator[bytes], limit: int | None, count: Callable[[int], None]) -> Iterator[bytes]:
        total = 0
        for piece in pieces:
            total += len(piece)
            if limit is not None and total > limit:
                raise RequestEntityTooLarge
            count(len(piece))
            yield piece


def _decoded(stream: IO[bytes], coding: str) -> Iterator[bytes]:
    """Yield the decoded pieces of a stream; raise Problem where it is not of this coding, or ends too early."""
    unread, decoder, total = stream.read(READ_BYTES), None, 0
    for _ in range(MAX_MEMBERS):
        decoder = zlib.decompressobj(_GZIP if coding == "gzip" else _wrapping_of(unread))
        while not decoder.eof:
            unread = unread or stream.read(READ_BYTES)
            # Without input, the decoder may still hold output: a piece can end within the last match.
            is_over = not unread
            try:
                step = partial(decoder.decompress, unread, PIECE_BYTES)
                piece = step() if total < BLOCKING_BYTES else offload.run(step)
            except zlib.error as error:
                raise _malformed(coding, str(error)) from None
            total += len(piece)
            unread = decoder.unconsumed_tail
            if piece:
                yield piece
            elif is_over and not decoder.eof:
                raise _malformed(coding, "it ends too early")
        unread = decoder.unused_data or stream.read(READ_BYTES)
        if not unread:
            return
        if coding != "gzip":
            break
    raise _malformed(coding, "more follows its end")


def _wrapping_of(data: bytes) -> int:
    """Return how deflate is wrapped: in zlib's format, as it should be, or not at all, as some clients send it."""
    is_zlib = len(data) > 1 and data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2]) % 31 == 0
    return _ZLIB if is_zlib else _RAW


def _malformed(coding: str, reason: str) -> Problem:
    return Problem(400, "malformed", f"The body cannot be decoded as {coding}: {reason}.")
