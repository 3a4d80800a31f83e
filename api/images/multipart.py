"""Multipart forms, parsed in memory: an image's bytes are found once and copied once.

The framework's own parser searches them piece by piece (0.5 ms for a small photograph) and writes larger ones to a
temporary file, which a read-only container has no place for.
"""

import math
import re
from io import BytesIO
from typing import IO, Any, NamedTuple, cast

from flask import Request
from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.exceptions import ClientDisconnected
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header
from werkzeug.utils import cached_property

import utils
from images import json_stream
from images.content_encoding import DecodedStream, coding_of
from problems import Problem

MAX_IMAGES = 16
MAX_TEXT_FIELDS = 100
# Of all parts together, names included, which may be long: these bytes cost the most time to parse.
MAX_HEAD_BYTES = 32 * 1024
# Characters in the header of a part on which its parsing depends: 2,000 of them take 4 ms.
MAX_SPECIAL = 128
_SPECIAL = (b";", b'"', b"\\")
# A header that is continued on a line that begins with a blank (RFC 5322, 2.2.3).
_FOLD = re.compile(rb"\r?\n[ \t]+")
CR = ord("\r")
# Of a URL-encoded form, whose fields the framework parses: each costs about a microsecond.
MAX_FIELDS = 1000
MAX_PADDING_BYTES = 128
MAX_FIELD_BYTES = 256 * 1024
# What a form may add to the bytes of its image: boundaries, part headers, a few fields.
MAX_OVERHEAD_BYTES = 64 * 1024


class MalformedForm(ValueError):  # noqa: N818  it is the client's form
    """The body is not a multipart form; the message names the fault and its place."""


class Part(NamedTuple):
    """One part of a form; `filename` is None where the part has none."""

    name: str
    filename: str | None
    content_type: str
    data: bytes

    @property
    def is_file(self) -> bool:
        """Return whether it is a file: it has a file's name, or is an image without one (RFC 7578, 4.2)."""
        # A text may begin with "BM" like a BMP; it holds no zero byte, and every image does.
        return self.filename is not None or self._is_image

    @property
    def _is_image(self) -> bool:
        return utils.kind_of(self.data[: utils.HEAD_BYTES]) is not None and b"\0" in self.data


class Fields(MultiDict[str, str]):
    """The fields of a multipart form; `fault` is what is wrong with a malformed form."""

    fault = ""


def parse(body: bytes, boundary: bytes) -> list[Part]:
    """Return the parts of a multipart/form-data body (RFC 7578, RFC 2046); raise MalformedForm or Problem.

    Lines may end with LF alone, as in forms that are written by hand.
    """
    delimiter = b"\n--" + boundary
    first = delimiter[1:]
    at = len(first) if body.startswith(first) else _find(body, delimiter, 0) + len(delimiter)
    parts: list[Part] = []
    files, head_bytes = 0, MAX_HEAD_BYTES
    while not body.startswith(b"--", at):
        head, begin, has_cr = _head(body, at, head_bytes)
        head_bytes -= len(head)
        # An empty part may come without the line break that ends its data.
        end = begin if body.startswith(first, begin) else _find(body, delimiter, begin)
        at = end + len(first) + (not body.startswith(first, end))
        if end > begin and body[end - 1] == CR and (has_cr or _ends_its_line_with_cr(body, at)):
            end -= 1
        parts.append(_part(head, body[begin:end]))
        files += parts[-1].is_file
        if files > MAX_IMAGES or len(parts) - files > MAX_TEXT_FIELDS:
            too_many = f"{MAX_IMAGES} files" if files > MAX_IMAGES else f"{MAX_TEXT_FIELDS} text fields"
            raise Problem(413, "too_large", f"The form has more than {too_many}, which is as many as it may have.")
    return parts


def _find(body: bytes, token: bytes, begin: int, at_most: int | None = None) -> int:
    """Return the place of the next `token`, within so many bytes."""
    at = body.find(token, begin, None if at_most is None else begin + at_most)
    if at < 0:
        raise MalformedForm(f"no {token!r} after byte {begin}")
    return at


def _head(body: bytes, at: int, at_most: int) -> tuple[bytes, int, bool]:
    """Return the headers of a part, where its data begin, and whether the line of the boundary ends with CRLF."""
    line = _find(body, b"\n", at, MAX_PADDING_BYTES)
    if body[at:line].strip(b" \t\r"):
        raise MalformedForm("a boundary does not end its line")
    at, has_cr = line + 1, body[line - 1] == CR
    end = body.find(b"\n\r\n", at, at + at_most)
    bare = body.find(b"\n\n", at, at + at_most if end < 0 else end + 1)
    if bare >= 0:
        return body[at:bare], bare + 2, has_cr
    if end < 0:
        raise MalformedForm(f"the headers of a part have no end after byte {at}")
    return body[at:end], end + 3, has_cr


def _ends_its_line_with_cr(body: bytes, at: int) -> bool:
    """Return whether a delimiter's line ends with CRLF: then the line before it does, too."""
    return body[at : at + MAX_PADDING_BYTES].removeprefix(b"--").lstrip(b" \t").startswith(b"\r\n")


def _part(head: bytes, data: bytes) -> Part:
    if sum(map(head.count, _SPECIAL)) > MAX_SPECIAL:
        raise MalformedForm(f"the header of a part has more than {MAX_SPECIAL} semicolons, quotes and backslashes")
    if b"\n " in head or b"\n\t" in head:
        head = _FOLD.sub(b" ", head)
    headers = {}
    for line in head.split(b"\n"):
        name, _, value = line.decode("utf-8", "replace").partition(":")
        headers[name.strip().lower()] = value.strip()
    disposition, options = parse_options_header(headers.get("content-disposition"))
    if disposition.lower() != "form-data" or "name" not in options:
        raise MalformedForm("a part does not say which field it is")
    return Part(options["name"], options.get("filename"), headers.get("content-type", ""), data)


class MemoryFormParser(FormDataParser):
    """Parses multipart forms by `parse`; everything else as the framework does."""

    def parse(
        self, stream: IO[bytes], mimetype: str, content_length: int | None, options: dict[str, str] | None = None
    ) -> tuple[IO[bytes], MultiDict[str, str], MultiDict[str, FileStorage]]:
        """Return (stream, fields, files); a malformed form is an empty one."""
        if mimetype == "application/x-www-form-urlencoded":
            return super().parse(BytesIO(_few_fields(stream)), mimetype, content_length, options)
        if mimetype != "multipart/form-data":
            return super().parse(stream, mimetype, content_length, options)
        boundary = (options or {}).get("boundary", "").encode("ascii", "replace")
        fields, files, field_bytes = Fields(), MultiDict[str, FileStorage](), 0
        try:
            if not boundary:
                raise MalformedForm("its Content-Type has no boundary")
            parts = parse(stream.read(), boundary)
        except MalformedForm as error:
            parts, fields.fault = [], str(error)
        for part in parts:
            if part.is_file:
                files.add(part.name, FileStorage(BytesIO(part.data), part.filename, part.name, part.content_type))
            else:
                fields.add(part.name, part.data.decode("utf-8", "replace"))
                field_bytes += len(part.data)
        if field_bytes > MAX_FIELD_BYTES:
            raise _too_many_field_bytes()
        return stream, fields, files


def _few_fields(stream: IO[bytes]) -> bytes:
    """Return a body of URL-encoded fields; raise Problem if it has more than MAX_FIELDS."""
    body = b"".join(json_stream.pieces(stream, MAX_FIELD_BYTES + 1))
    if len(body) > MAX_FIELD_BYTES:
        raise _too_many_field_bytes()
    if body.count(b"&") >= MAX_FIELDS:
        raise Problem(413, "too_large", f"The form has more than {MAX_FIELDS} fields, which is as many as it may have.")
    return body


def _too_many_field_bytes() -> Problem:
    detail = f"The form's text fields have more than {MAX_FIELD_BYTES} bytes, which is as many as they may have."
    return Problem(413, "too_large", detail)


class _SizedStream:
    """The body of a request, which the server reads to its end and no further."""

    def __init__(self, body: IO[bytes]) -> None:
        self._body = body

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes, or all that are left; raise ClientDisconnected where they do not come."""
        try:
            return self._body.read(size)
        except OSError:
            raise ClientDisconnected from None


class MemoryRequest(Request):
    """A request whose forms are parsed in memory, and whose JSON is read within the bounds of json_stream.

    Its body is decoded where it has a Content-Encoding.
    """

    form_data_parser_class = MemoryFormParser

    @cached_property
    def stream(self) -> IO[bytes]:
        """Return the body; raise Problem where its Content-Encoding is not accepted."""
        # The server knows how long such a body is, and reads no further: no other layer has to count.
        is_sized = self.environ.get("sightline.body_bytes", math.inf) <= (self.max_content_length or 0)
        stream = cast(IO[bytes], _SizedStream(self.environ["wsgi.input"])) if is_sized else super().stream
        header = self.environ.get("HTTP_CONTENT_ENCODING")
        if not header or not (coding := coding_of(header)):
            return stream
        count = self.environ.get("sightline.count_body", lambda size: None)
        return cast(IO[bytes], DecodedStream(stream, coding, self.max_content_length, count))

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        """Return the document of the body; answer 400 where it is none, or beyond the bounds."""
        self.json_module = json_stream  # the framework has set that of its answers
        return super().get_json(force, silent, cache)
