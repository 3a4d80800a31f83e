"""Multipart forms, parsed in memory: an image's bytes are found once and copied once.

The framework's own parser searches them piece by piece (0.5 ms for a small photograph) and writes larger ones to a
temporary file, which a read-only container has no place for.
"""

from io import BytesIO
from typing import IO, Any, NamedTuple

from flask import Request
from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header

import utils
from images import json_stream

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
    def is_unnamed_image(self) -> bool:
        """Return whether a part without a file name is an image, whose name may be left out (RFC 7578, 4.2)."""
        # A text may begin with "BM" like a BMP; it holds no zero byte, and every image does.
        return utils.kind_of(self.data[: utils.HEAD_BYTES]) is not None and b"\0" in self.data


class Fields(MultiDict[str, str]):
    """The fields of a multipart form; `fault` is what is wrong with a malformed form."""

    fault = ""


def parse(body: bytes, boundary: bytes) -> list[Part]:
    """Return the parts of a multipart/form-data body (RFC 7578, RFC 2046); raise MalformedForm."""
    delimiter = b"\r\n--" + boundary
    first = delimiter[2:]
    at = len(first) if body.startswith(first) else _until(body, 0, delimiter)[1]
    parts: list[Part] = []
    head_bytes = MAX_HEAD_BYTES
    while not body.startswith(b"--", at):
        if len(parts) == MAX_PARTS:
            raise RequestEntityTooLarge(f"A form may have {MAX_PARTS} parts.")
        padding, at = _until(body, at, b"\r\n", MAX_PADDING_BYTES)
        if padding.strip(b" \t"):
            raise MalformedForm("a boundary does not end its line")
        head, at = _until(body, at, b"\r\n\r\n", head_bytes)
        head_bytes -= len(head)
        # An empty part may come without the line break that ends its data.
        data, at = (b"", at + len(first)) if body.startswith(first, at) else _until(body, at, delimiter)
        parts.append(_part(head, data))
    return parts


def _until(body: bytes, begin: int, token: bytes, at_most: int | None = None) -> tuple[bytes, int]:
    """Return what stands before the next `token`, within so many bytes, and the place after it."""
    end = body.find(token, begin, None if at_most is None else begin + at_most)
    if end < 0:
        raise MalformedForm(f"no {token!r} after byte {begin}")
    return body[begin:end], end + len(token)


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
            if part.filename is not None or part.is_unnamed_image:
                files.add(part.name, FileStorage(BytesIO(part.data), part.filename, part.name, part.content_type))
            else:
                fields.add(part.name, part.data.decode("utf-8", "replace"))
                field_bytes += len(part.data)
        if field_bytes > MAX_FIELD_BYTES:
            raise RequestEntityTooLarge(f"A form's fields may have {MAX_FIELD_BYTES} bytes.")
        return stream, fields, files


def _few_fields(stream: IO[bytes]) -> bytes:
    """Return a body of URL-encoded fields; raise RequestEntityTooLarge if it has more than MAX_FIELDS."""
    body = b"".join(json_stream.pieces(stream, MAX_FIELD_BYTES + 1))
    if len(body) > MAX_FIELD_BYTES:
        raise RequestEntityTooLarge(f"A form's fields may have {MAX_FIELD_BYTES} bytes.")
    if body.count(b"&") >= MAX_FIELDS:
        raise RequestEntityTooLarge(f"A form may have {MAX_FIELDS} fields.")
    return body


class MemoryRequest(Request):
    """A request whose forms are parsed in memory, and whose JSON is read within the bounds of json_stream."""

    form_data_parser_class = MemoryFormParser

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        """Return the document of the body; answer 400 where it is none, or beyond the bounds."""
        self.json_module = json_stream  # the framework has set that of its answers
        return super().get_json(force, silent, cache)
