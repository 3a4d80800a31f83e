"""JSON documents with images in them, read piece by piece and bounded before anything is parsed.

Such a document is a few names and numbers around long strings of base64. The long strings are decoded while they
arrive, so that neither the body nor its text is ever in memory as a whole. All the rest of the document has to fit into
MAX_REST_BYTES, and to have few quotes, commas and brackets: that bounds elements, members, depth, digits and
whitespace, in any order, before any of them costs more than its bytes.
"""

import binascii
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import IO, Any

MAX_REST_BYTES = 64 * 1024
MAX_MARKS = 5000
_MARKS = (b'"', b",", b"[", b"{")
# A longer string is base64; a shorter one is a string like any other.
MAX_SHORT_STRING = 2000
READ_BYTES = 128 * 1024
_NO_BASE64 = f"a string of more than {MAX_SHORT_STRING} characters is not base64"

# NaN is no JSON, so it can stand for a long string here: nothing outside of strings has an N.
_PLACEHOLDER = b"NaN"
_PLAIN = re.compile(
    rb'(?:[^"N]+|"[^"\\]{0,%d}"|"(?:[^"\\]|\\.){0,%d}")*' % (MAX_SHORT_STRING, MAX_SHORT_STRING), re.DOTALL
)
_STANDARD = bytes.maketrans(b"-_", b"+/")
_BLANKS = b" \t\r\n"
LONGEST_ESCAPE = len("\\u002b")


class MalformedJson(ValueError):  # noqa: N818  it is the client's document
    """The document cannot be used; the message is the reason."""


@dataclass(frozen=True, slots=True, repr=False)
class LongString:
    """A string of the document that was longer than MAX_SHORT_STRING, as the bytes of its base64."""

    content: bytes

    def __repr__(self) -> str:
        """Name it without its content."""
        return f"<base64 of {len(self.content)} bytes>"


def read(stream: IO[bytes], length: int | None = None) -> Any:
    """Return the document in the next `length` bytes of a stream, or in all of it; raise MalformedJson.

    Its long strings are LongString.
    """
    scanner = _Scanner()
    for piece in pieces(stream, length):
        scanner.feed(piece)
    return scanner.document()


def loads(text: str | bytes) -> Any:
    """Return a small document without images, as UTF-8; raise MalformedJson."""
    body = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(body) > MAX_REST_BYTES:
        raise MalformedJson(f"it has {len(body)} bytes; {MAX_REST_BYTES} are taken")
    _check_marks(_marks_in(body))
    return _parsed(body, iter(()))


def _marks_in(text: bytes) -> int:
    # Most pieces have none, which is found twenty times as fast as they are counted.
    return sum(text.count(mark) for mark in _MARKS if mark in text)


def _check_marks(count: int) -> None:
    if count > MAX_MARKS:
        raise MalformedJson(f"it has more than {MAX_MARKS} quotes, commas and brackets")


def pieces(stream: IO[bytes], length: int | None = None) -> Iterator[bytes]:
    """Yield the next `length` bytes of a stream, or all of it, in pieces of at most READ_BYTES."""
    left = length
    while left is None or left > 0:
        piece = stream.read(READ_BYTES if left is None else min(READ_BYTES, left))
        if not piece:
            return
        left = None if left is None else left - len(piece)
        yield piece


class Collector:
    """Puts pieces together."""

    def __init__(self) -> None:
        self._content = BytesIO()

    def feed(self, piece: bytes) -> None:
        """Take a further piece; raise MalformedJson."""
        self._content.write(piece)

    def finish(self) -> bytes:
        """Return the content; raise MalformedJson."""
        # Exactly as long as it has to be: files made of it share its memory.
        return self._content.getvalue()


class Base64Decoder(Collector):
    """Decodes base64 piece by piece; the head of a data URL before it has to be in the first piece.

    Also as other encoders write it: with line breaks, URL-safe (RFC 4648, 5), or without padding.
    """

    def __init__(self) -> None:
        super().__init__()
        self._undecoded = b""
        self._has_begun = False
        self._is_padded = False
        # What has to be cleaned costs twice as much, so only from the first piece on that has to be.
        self._is_clean = True

    def feed(self, piece: bytes) -> None:
        """Decode a further piece; raise MalformedJson."""
        text = self._undecoded + piece
        if not self._has_begun:
            self._has_begun = True
            text = text.partition(b",")[2] if text.startswith(b"data:") else text
        if self._is_clean and self._decode(text):
            return
        self._is_clean = False
        if not self._decode(cleaned(text)):
            raise MalformedJson(_NO_BASE64)

    def finish(self) -> bytes:
        """Return the content; raise MalformedJson."""
        rest = cleaned(self._undecoded)
        if rest and not self._decode(rest + b"=" * (-len(rest) % 4)):
            raise MalformedJson(_NO_BASE64)
        return super().finish()

    def _decode(self, text: bytes) -> bool:
        """Decode whole groups of four and keep the rest; return False, and do nothing, where they are no base64."""
        usable = len(text) - len(text) % 4
        groups = text[:usable]
        if groups:
            # Python takes any number of = after whole groups of four.
            if self._is_padded or (b"=" in groups and b"===" in groups):
                return False
            try:
                content = binascii.a2b_base64(groups, strict_mode=True)
            except ValueError:
                return False
            super().feed(content)
            self._is_padded = groups.endswith(b"=")
        self._undecoded = text[usable:]
        return True


def cleaned(text: bytes) -> bytes:
    """Return base64 without its line breaks, in the standard alphabet."""
    return text.translate(_STANDARD, _BLANKS)


class _Scanner:
    """Takes a document apart as it arrives: long strings, and the rest with placeholders for them."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._marks = 0
        self._long_strings: list[LongString] = []
        self._unscanned = b""
        self._decoder: Base64Decoder | None = None

    def feed(self, piece: bytes, *, is_last: bool = False) -> None:
        """Look at a further piece; raise MalformedJson."""
        # Base64 has none of them.
        self._marks += _marks_in(piece)
        _check_marks(self._marks)
        data, position = self._unscanned + piece, 0
        while position < len(data):
            if self._decoder is not None:
                scanned = self._scan_long(self._decoder, data, position)
            else:
                scanned = self._scan_plain(data, position, is_last)
            if scanned == position:
                break
            position = scanned
        self._unscanned = data[position:]

    def document(self) -> Any:
        """Return the document once all has come; raise MalformedJson."""
        self.feed(b"", is_last=True)
        if self._decoder is not None or self._unscanned:
            raise MalformedJson("it ends within a string")
        return _parsed(bytes(self._rest), iter(self._long_strings))

    def _scan_plain(self, data: bytes, position: int, is_last: bool) -> int:
        """Keep what needs no decoding, up to where a long string begins, or one that has not come yet."""
        found = _PLAIN.match(data, position)
        end = position if found is None else found.end()
        self._keep(data[position:end])
        if end < len(data):
            if data[end] == ord("N"):
                raise MalformedJson("there is an N outside of any string")
            # Each character of a string has at most two bytes here.
            if is_last or len(data) - end > 2 * MAX_SHORT_STRING:
                self._decoder = Base64Decoder()
                return end + 1
        return end

    def _scan_long(self, decoder: Base64Decoder, data: bytes, position: int) -> int:
        quote = data.find(b'"', position)
        end = len(data) if quote < 0 else quote
        text = data[position:end]
        if b"\\" in text:
            # It may be cut within an escape.
            cut = text.rfind(b"\\", -LONGEST_ESCAPE + 1) if quote < 0 else -1
            end = end if cut < 0 else position + cut
            text = _unescaped(data[position:end])
        decoder.feed(text)
        if quote < 0:
            return end
        self._long_strings.append(LongString(decoder.finish()))
        self._keep(_PLACEHOLDER)
        self._decoder = None
        return quote + 1

    def _keep(self, data: bytes) -> None:
        if b"\0" in data:
            raise MalformedJson("it has zero bytes: JSON is UTF-8")
        self._rest += data
        if len(self._rest) > MAX_REST_BYTES:
            raise MalformedJson(f"without its images it has more than {MAX_REST_BYTES} bytes")


def _unescaped(text: bytes) -> bytes:
    """Return a part of a string without its escapes: some encoders write / as \\/ and + as \\u002b."""
    if b"\\\\" in text:
        raise MalformedJson(_NO_BASE64)
    text = text.replace(b"\\/", b"/")
    if b"\\" not in text:
        return text
    try:
        unescaped: str = json.loads(b'"%b"' % text)
        return unescaped.encode("ascii")
    except ValueError:
        raise MalformedJson(_NO_BASE64) from None


def _parsed(text: bytes, long_strings: Iterator[LongString]) -> Any:
    def constant(name: str) -> LongString:
        found = next(long_strings, None) if name == "NaN" else None
        if found is None:
            raise MalformedJson(f"{name} is no JSON")
        return found

    try:
        return json.loads(text.decode("utf-8-sig"), parse_constant=constant)
    except MalformedJson:
        raise
    except UnicodeDecodeError:
        raise MalformedJson("it is not UTF-8") from None
    except RecursionError:
        raise MalformedJson("it is nested too deep") from None
    except ValueError as error:
        raise MalformedJson(str(error)) from None
