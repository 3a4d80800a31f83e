"""Multipart forms, parsed in memory: a picture's bytes are found once and copied once.

The framework's own parser searches them piece by piece (0.5 ms for a small photograph) and writes larger ones to a
temporary file, which a read-only container has no place for.
"""

from io import BytesIO
from typing import IO, Any, NamedTuple, cast

from flask import Request
from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header

from images import json_stream, sniffing
from images.json_stream import pieces

MAX_PARTS = 16
# Of all parts together, names included, which may be long: these bytes cost the most time to parse.
MAX_HEAD_BYTES = 32 * 1024
# Characters in the header of a part on which its parsing depends: 2,000 of them take 4 ms.
MAX_SPECIAL = 128
_SPECIAL = (b";", b'"', b"\\")
# Of a URL-encoded form, whose fields the framework parses: each costs about a microsecond.
MAX_FIELDS = 1000
MAX_PADDING_BYTES = 128
MAX_FIELD_BYTES = 256 * 1024
# What a form may add to the bytes of its picture: boundaries, part headers, a few fields.
MAX_OVERHEAD_BYTES = 64 * 1024


class MalformedForm(ValueError):  # noqa: N818  it is the client's form
    """The body is no multipart form; the message says where it ends to be one."""


class Part(NamedTuple):
    """One part of a form; `filename` is None where the part has none."""

    name: str
    filename: str | None
    content_type: str
    data: bytes

    @property
    def is_file(self) -> bool:
        """Whether this is a file: it has a name, or else it is an image, whose name may be left out (RFC 7578, 4.2)."""
        if self.filename is not None:
            return True
        # A text may begin with "BM" like a BMP; it holds no zero byte, and every image does.
        return sniffing.kind_of(self.data[: sniffing.HEAD_BYTES]) is not None and b"\0" in self.data


class _Cursor:
    """A place in a body that moves forward only."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._position = 0

    def skip(self, token: bytes) -> bool:
        """Step over `token` where it stands here."""
        found = self._body.startswith(token, self._position)
        if found:
            self._position += len(token)
        return found

    def until(self, token: bytes, at_most: int | None = None) -> bytes:
        """Give what stands before the next `token`, and step over both."""
        limit = None if at_most is None else self._position + at_most
        end = self._body.find(token, self._position, limit)
        if end < 0:
            raise MalformedForm(f"no {token!r} after byte {self._position}")
        before = self._body[self._position : end]
        self._position = end + len(token)
        return before


def parse(body: bytes, boundary: bytes) -> list[Part]:
    """Give the parts of a multipart/form-data body (RFC 7578, RFC 2046); raises MalformedForm."""
    cursor, delimiter = _Cursor(body), b"\r\n--" + boundary
    if not cursor.skip(delimiter[2:]):
        cursor.until(delimiter)
    parts: list[Part] = []
    head_bytes = 0
    while not cursor.skip(b"--"):
        if len(parts) == MAX_PARTS:
            raise RequestEntityTooLarge(f"A form may have {MAX_PARTS} parts.")
        if cursor.until(b"\r\n", MAX_PADDING_BYTES).strip(b" \t"):
            raise MalformedForm("a boundary does not end its line")
        head = cursor.until(b"\r\n\r\n", MAX_HEAD_BYTES - head_bytes)
        head_bytes += len(head)
        # An empty part may come without the line break that ends its data.
        data = b"" if cursor.skip(delimiter[2:]) else cursor.until(delimiter)
        parts.append(_part(head, data))
    return parts


def _part(head: bytes, data: bytes) -> Part:
    if sum(map(head.count, _SPECIAL)) > MAX_SPECIAL:
        raise MalformedForm(f"the header of a part has more than {MAX_SPECIAL} semicolons, quotes and backslashes")
    headers = {}
    for line in head.split(b"\r\n"):
        name, _, value = line.decode("utf-8", "replace").partition(":")
        headers[name.strip().lower()] = value.strip()
    disposition, options = parse_options_header(headers.get("content-disposition"))
    if disposition.lower() != "form-data" or "name" not in options:
        raise MalformedForm("a part does not say which field it is")
    return Part(options["name"], options.get("filename"), headers.get("content-type", ""), data)


class MemoryFormParser(FormDataParser):
    """Parses multipart forms by `parse`; everything else as the framework does.

    After a malformed form, `fault` says what is wrong with it.
    """

    fault = ""

    def parse(
        self, stream: IO[bytes], mimetype: str, content_length: int | None, options: dict[str, str] | None = None
    ) -> tuple[IO[bytes], MultiDict[str, str], MultiDict[str, FileStorage]]:
        """Give (stream, fields, files); a malformed form is an empty one."""
        if mimetype == "application/x-www-form-urlencoded":
            return super().parse(BytesIO(_few_fields(stream)), mimetype, content_length, options)
        if mimetype != "multipart/form-data":
            return super().parse(stream, mimetype, content_length, options)
        boundary = (options or {}).get("boundary", "").encode("ascii", "replace")
        parts: list[Part] = []
        try:
            if not boundary:
                raise MalformedForm("its Content-Type has no boundary")
            parts = parse(stream.read(), boundary)
        except MalformedForm as error:
            self.fault = str(error)
        return stream, _fields(parts), _files(parts)


def _few_fields(stream: IO[bytes]) -> bytes:
    """Return a body of URL-encoded fields that has no more of them than MAX_FIELDS."""
    body = b"".join(pieces(stream, MAX_FIELD_BYTES + 1))
    if len(body) > MAX_FIELD_BYTES:
        raise RequestEntityTooLarge(f"A form's fields may have {MAX_FIELD_BYTES} bytes.")
    if body.count(b"&") >= MAX_FIELDS:
        raise RequestEntityTooLarge(f"A form may have {MAX_FIELDS} fields.")
    return body


def _fields(parts: list[Part]) -> MultiDict[str, str]:
    fields = [part for part in parts if not part.is_file]
    if sum(len(part.data) for part in fields) > MAX_FIELD_BYTES:
        raise RequestEntityTooLarge(f"A form's fields may have {MAX_FIELD_BYTES} bytes.")
    return MultiDict([(part.name, part.data.decode("utf-8", "replace")) for part in fields])


def _files(parts: list[Part]) -> MultiDict[str, FileStorage]:
    return MultiDict(
        [
            (part.name, FileStorage(BytesIO(part.data), part.filename, part.name, part.content_type))
            for part in parts
            if part.is_file
        ]
    )


class MemoryRequest(Request):
    """A request whose forms are parsed in memory, and whose JSON is read within the bounds of json_stream."""

    form_data_parser_class = MemoryFormParser
    _form_parser: MemoryFormParser | None = None

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        """Return the document of the body; answer 400 where it is none, or beyond the bounds."""
        self.json_module = json_stream  # the framework has set that of its answers
        return super().get_json(force, silent, cache)

    def make_form_data_parser(self) -> FormDataParser:
        """Make the parser, and keep it for `form_fault`."""
        self._form_parser = cast(MemoryFormParser, super().make_form_data_parser())
        return self._form_parser

    @property
    def form_fault(self) -> str:
        """Return what is wrong with the form, empty where nothing is or it has not been parsed."""
        return self._form_parser.fault if self._form_parser is not None else ""
