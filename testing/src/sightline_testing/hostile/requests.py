"""Requests that are no HTTP, no form, or not what they say: byte for byte, with the statuses they may be answered with.

ATTACKS holds them by name. `{good}` images are whole ones, so that only the request around them is at fault.
"""

from __future__ import annotations

import gzip
import socket
import struct
import zlib
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from typing import NamedTuple

from sightline_testing.sample_images import jpeg

Statuses = frozenset[int]
TIMEOUT_S = 60.0
BOUNDARY = "limit"
KILOBYTE, MEGABYTE = 1024, 1024**2

ANSWERED: Statuses = frozenset({200})
MALFORMED: Statuses = frozenset({400})
TOO_LARGE: Statuses = frozenset({413})
HEADERS_TOO_LARGE: Statuses = frozenset({400, 431})
NOT_FOUND: Statuses = frozenset({404})
# The name is the client's affair: only its suffix counts, and what is stored is named by us. We close our side of the
# connection immediately, which counts as a disconnect (408) where the answer needs a while.
ANSWERED_OR_REFUSED: Statuses = frozenset({200, 400, 408, 413})


class Attack(NamedTuple):
    """What is sent, and the statuses of the answer."""

    statuses: Statuses
    make: Callable[[], bytes]


def request(line: str = "POST /predict HTTP/1.1", *headers: str, body: bytes = b"", length: bool = True) -> bytes:
    """A request with Host and, by default, the length of its body."""
    lines = [line, "Host: localhost", *headers, *([f"Content-Length: {len(body)}"] if length else [])]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body


def form(
    *parts: bytes,
    boundary: str = BOUNDARY,
    declared: str | None = None,
    end: bytes | None = None,
    target: str = "/predict",
) -> bytes:
    """A multipart request; `declared` is the parameter of its content type, `end` what closes its body."""
    mark = b"--" + boundary.encode()
    body = b"".join(mark + b"\r\n" + part + b"\r\n" for part in parts) + (mark + b"--\r\n" if end is None else end)
    kind = f"multipart/form-data; boundary={boundary}" if declared is None else f"multipart/form-data{declared}"
    return request(f"POST {target} HTTP/1.1", f"Content-Type: {kind}", body=body)


def encoded(coding: str, body: bytes, kind: str) -> bytes:
    """An image in a body with a content encoding."""
    return request("POST /predict HTTP/1.1", f"Content-Type: {kind}", f"Content-Encoding: {coding}", body=body)


def gzip_bomb(pieces: int = 64) -> bytes:
    """Give so many MiB of zeros, made without holding them."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join([*(packer.compress(bytes(MEGABYTE)) for _ in range(pieces)), packer.flush()])


def part(disposition: str, content: bytes | None = None, *headers: str) -> bytes:
    """One part of a form; by default with a good image."""
    lines = [f"Content-Disposition: {disposition}", *headers, "", ""]
    head = "\r\n".join(lines).encode("utf-8", "surrogateescape")
    return head + (good() if content is None else content)


def named(file_name: str) -> Callable[[], bytes]:
    """A form whose image is good and whose name is not."""
    return lambda: form(part(f'form-data; name="file"; filename="{file_name}"'))


def good() -> bytes:
    """A small image."""
    return jpeg(96, 72)


def raw(*headers: str, body: bytes) -> bytes:
    """A bare body, framed by the headers alone."""
    return request("POST /predict HTTP/1.1", "Content-Type: image/jpeg", *headers, body=body, length=False)


def chunked(body: bytes, *headers: str) -> bytes:
    """A body that comes in pieces."""
    return raw("Transfer-Encoding: chunked", *headers, body=body)


_SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
_IMAGE = 'form-data; name="file"; filename="a.jpg"'

FRAMING: Mapping[str, Attack] = {
    "two lengths": Attack(
        MALFORMED, lambda: raw("Content-Length: 4", "Content-Length: 40", body=b"\xff\xd8\xff\xe0" + _SMUGGLED)
    ),
    "lengths in a list": Attack(MALFORMED, lambda: raw("Content-Length: 4, 40", body=b"\xff\xd8\xff\xe0" + _SMUGGLED)),
    "length and chunks": Attack(
        MALFORMED, lambda: raw("Content-Length: 5", "Transfer-Encoding: chunked", body=b"0\r\n\r\n" + _SMUGGLED)
    ),
    "chunks and length": Attack(
        MALFORMED, lambda: raw("Transfer-Encoding: chunked", "Content-Length: 5", body=b"0\r\n\r\n" + _SMUGGLED)
    ),
    "negative length": Attack(MALFORMED, lambda: raw("Content-Length: -1", body=_SMUGGLED)),
    "length with a sign": Attack(MALFORMED, lambda: raw("Content-Length: +5", body=b"hello")),
    "length in hexadecimal": Attack(MALFORMED, lambda: raw("Content-Length: 0x5", body=b"hello")),
    "length with an underscore": Attack(MALFORMED, lambda: raw("Content-Length: 1_0", body=b"hellohello")),
    "length in other digits": Attack(MALFORMED, lambda: raw("Content-Length: \u0665", body=b"hello")),
    "length of 10^4000": Attack(
        frozenset({400, 413, 431}), lambda: raw("Content-Length: 1" + "0" * 4000, body=b"hello")
    ),
    "length of 2^63": Attack(TOO_LARGE, lambda: raw(f"Content-Length: {2**63}", body=b"")),
    "length of 21 MB": Attack(TOO_LARGE, lambda: raw(f"Content-Length: {21 * MEGABYTE}", body=b"")),
    "unknown coding": Attack(MALFORMED, lambda: raw("Transfer-Encoding: xchunked", body=b"0\r\n\r\n" + _SMUGGLED)),
    "coding after chunked": Attack(
        MALFORMED, lambda: raw("Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n" + _SMUGGLED)
    ),
    "chunked twice": Attack(
        MALFORMED, lambda: raw("Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n" + _SMUGGLED)
    ),
    "chunked with a tab": Attack(
        MALFORMED, lambda: raw("Transfer-Encoding:\x0bchunked", "Content-Length: 5", body=b"0\r\n\r\n" + _SMUGGLED)
    ),
    "space before the colon": Attack(
        MALFORMED, lambda: raw("Transfer-Encoding : chunked", "Content-Length: 5", body=b"0\r\n\r\n" + _SMUGGLED)
    ),
    "folded coding": Attack(
        MALFORMED, lambda: raw("Transfer-Encoding:\r\n chunked", "Content-Length: 5", body=b"0\r\n\r\n" + _SMUGGLED)
    ),
    "chunks in HTTP/1.0": Attack(
        MALFORMED,
        lambda: request(
            "POST /predict HTTP/1.0", "Transfer-Encoding: chunked", body=b"0\r\n\r\n" + _SMUGGLED, length=False
        ),
    ),
    "chunk size no number": Attack(MALFORMED, lambda: chunked(b"zz\r\nhello\r\n0\r\n\r\n")),
    "chunk size negative": Attack(MALFORMED, lambda: chunked(b"-5\r\nhello\r\n0\r\n\r\n")),
    "chunk size of 2^64": Attack(frozenset({400, 413}), lambda: chunked(b"ffffffffffffffff\r\nhello\r\n")),
    "chunk size with 0x": Attack(MALFORMED, lambda: chunked(b"0x5\r\nhello\r\n0\r\n\r\n")),
    "chunk without its end": Attack(MALFORMED, lambda: chunked(b"5\r\nhelloX\r\n0\r\n\r\n")),
    "chunk with a bare line feed": Attack(MALFORMED, lambda: chunked(b"5\nhello\n0\n\n")),
    "chunk extension of 1 MB": Attack(MALFORMED, lambda: chunked(b"5;" + b"x" * MEGABYTE + b"\r\nhello\r\n0\r\n\r\n")),
    "trailer of 1 MB": Attack(
        frozenset({400, 413, 431}), lambda: chunked(b"5\r\nhello\r\n0\r\nX: " + b"x" * MEGABYTE + b"\r\n\r\n")
    ),
    "chunks of 25 MB": Attack(
        TOO_LARGE, lambda: chunked((b"100000\r\n" + bytes(MEGABYTE) + b"\r\n") * 25 + b"0\r\n\r\n")
    ),
}

_HELLO_OF_TLS = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n"

HEADS: Mapping[str, Attack] = {
    "no HTTP at all": Attack(MALFORMED, lambda: _HELLO_OF_TLS),
    "HTTP/2 preface": Attack(MALFORMED, lambda: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "HTTP/9.9": Attack(MALFORMED, lambda: request("GET / HTTP/9.9")),
    "no version": Attack(MALFORMED, lambda: b"GET /\r\n\r\n"),
    "method with a NUL": Attack(MALFORMED, lambda: request("GE\0T / HTTP/1.1")),
    "method of 1 MB": Attack(frozenset({400, 414}), lambda: request("G" * MEGABYTE + " / HTTP/1.1")),
    "address of 1 MB": Attack(frozenset({414}), lambda: request("GET /" + "a" * MEGABYTE + " HTTP/1.1")),
    "header of 1 MB": Attack(HEADERS_TOO_LARGE, lambda: request("GET / HTTP/1.1", "X: " + "x" * MEGABYTE)),
    "10000 headers": Attack(HEADERS_TOO_LARGE, lambda: request("GET / HTTP/1.1", *["X: y"] * 10_000)),
    "header with a NUL": Attack(MALFORMED, lambda: request("GET / HTTP/1.1", "X: a\0b")),
    "header without a name": Attack(MALFORMED, lambda: request("GET / HTTP/1.1", ": value")),
    "header without a colon": Attack(MALFORMED, lambda: request("GET / HTTP/1.1", "nothing")),
    "name with a space": Attack(MALFORMED, lambda: request("GET / HTTP/1.1", "X Y: z")),
    "two hosts": Attack(MALFORMED, lambda: request("GET / HTTP/1.1", "Host: evil.example")),
    "unmet expectation": Attack(frozenset({417}), lambda: request("POST /predict HTTP/1.1", "Expect: a-miracle")),
    "path upwards": Attack(NOT_FOUND, lambda: request("GET /display/../../../etc/passwd HTTP/1.1")),
    "path upwards encoded": Attack(NOT_FOUND, lambda: request("GET /display/%2e%2e%2fsecret_key HTTP/1.1")),
    "path upwards encoded twice": Attack(NOT_FOUND, lambda: request("GET /display/%252e%252e%252fkey.png HTTP/1.1")),
    "path with a NUL": Attack(NOT_FOUND, lambda: request("GET /display/a%00.png HTTP/1.1")),
    "path with a backslash": Attack(NOT_FOUND, lambda: request("GET /display/..%5c..%5csecret.png HTTP/1.1")),
    "path of a name of 4 kB": Attack(NOT_FOUND, lambda: request(f"GET /display/{'a' * 4000}.png HTTP/1.1")),
    "assets upwards": Attack(NOT_FOUND, lambda: request("GET /assets/..%2f..%2fapi/settings.py HTTP/1.1")),
    "assets absolute": Attack(NOT_FOUND, lambda: request("GET /assets//etc/passwd HTTP/1.1")),
    "no such method": Attack(frozenset({405}), lambda: request("PROPFIND / HTTP/1.1")),
    "trace": Attack(frozenset({405}), lambda: request("TRACE / HTTP/1.1")),
    "connect": Attack(frozenset({400, 404, 405}), lambda: request("CONNECT localhost:6379 HTTP/1.1")),
    "redis command": Attack(MALFORMED, lambda: b"*1\r\n$8\r\nFLUSHALL\r\n\r\n"),
}  # fmt: skip

FORMS: Mapping[str, Attack] = {
    "no boundary": Attack(MALFORMED, lambda: form(part(_IMAGE), declared="")),
    "empty boundary": Attack(MALFORMED, lambda: form(part(_IMAGE), declared="; boundary=")),
    "other boundary": Attack(MALFORMED, lambda: form(part(_IMAGE), declared="; boundary=other")),
    "boundary of 4 kB": Attack(ANSWERED_OR_REFUSED, lambda: form(part(_IMAGE), boundary="b" * 4000)),
    "boundary that is no ASCII": Attack(MALFORMED, lambda: form(part(_IMAGE), boundary="grüße")),
    "boundary given twice": Attack(
        ANSWERED_OR_REFUSED, lambda: form(part(_IMAGE), declared="; boundary=a; boundary=limit")
    ),
    "no end": Attack(MALFORMED, lambda: form(part(_IMAGE), end=b"")),
    "nothing but an end": Attack(MALFORMED, form),
    "10000 parts": Attack(TOO_LARGE, lambda: form(*[part('form-data; name="x"', b"y")] * 10_000)),
    "17 files": Attack(TOO_LARGE, lambda: form(*[part(_IMAGE, b"\xff\xd8\xff\0")] * 17)),
    "101 fields": Attack(TOO_LARGE, lambda: form(*[part('form-data; name="x"', b"y")] * 101, part(_IMAGE))),
    "16 fields and an image": Attack(ANSWERED, lambda: form(*[part('form-data; name="x"', b"y")] * 16, part(_IMAGE))),
    "lines that end with LF": Attack(ANSWERED, lambda: form(part(_IMAGE).replace(b"\r\n", b"\n", 3), boundary="limit")),
    "form that decodes to 64 MB": Attack(
        TOO_LARGE, lambda: encoded("gzip", gzip_bomb(), "multipart/form-data; boundary=b")
    ),
    "image that decodes to 64 MB": Attack(TOO_LARGE, lambda: encoded("gzip", gzip_bomb(), "image/jpeg")),
    "JSON that decodes to 64 MB": Attack(
        frozenset({400, 413}), lambda: encoded("gzip", gzip_bomb(), "application/json")
    ),
    "a million empty gzip members": Attack(
        MALFORMED, lambda: encoded("gzip", gzip.compress(b"") * 10**6, "image/jpeg")
    ),
    "an unknown encoding": Attack(frozenset({415}), lambda: encoded("br", b"x", "image/jpeg")),
    "part header of 1 MB": Attack(MALFORMED, lambda: form(part(_IMAGE, None, "X: " + "x" * MEGABYTE))),
    "10000 part headers": Attack(MALFORMED, lambda: form(part(_IMAGE, None, *["X: y"] * 10_000))),
    "part without a header": Attack(MALFORMED, lambda: form(b"\r\n" + good())),
    "part without a name": Attack(MALFORMED, lambda: form(part('form-data; filename="a.jpg"'))),
    "part of another disposition": Attack(MALFORMED, lambda: form(part('attachment; name="file"; filename="a.jpg"'))),
    "file without a name": Attack(ANSWERED, lambda: form(part('form-data; name="file"'))),
    "field of 600 kB": Attack(
        TOO_LARGE, lambda: form(part('form-data; name="x"', bytes(600 * KILOBYTE)), part(_IMAGE))
    ),
    "form in a form": Attack(
        ANSWERED, lambda: form(part('form-data; name="file"', good(), "Content-Type: multipart/mixed; boundary=in"))
    ),
    "image of another field": Attack(MALFORMED, lambda: form(part('form-data; name="image"; filename="a.jpg"'))),
    "field in place of a file": Attack(MALFORMED, lambda: form(part('form-data; name="file"', b"cat.jpg"))),
    "empty image": Attack(MALFORMED, lambda: form(part(_IMAGE, b""))),
    "empty name": Attack(ANSWERED, lambda: form(part('form-data; name="file"; filename=""'))),
    "base64 in a part": Attack(
        frozenset({415}), lambda: form(part(_IMAGE, b"/9j/4AAQSkZJRg==", "Content-Transfer-Encoding: base64"))
    ),
    "report of 1 MB": Attack(
        TOO_LARGE,
        lambda: request(
            "POST /feedback HTTP/1.1",
            "Content-Type: application/x-www-form-urlencoded",
            body=b"report=" + b"x" * MEGABYTE,
        ),
    ),
    "report of 100000 fields": Attack(
        TOO_LARGE,
        lambda: request(
            "POST /feedback HTTP/1.1",
            "Content-Type: application/x-www-form-urlencoded",
            body=b"&".join([b"a=b"] * 100_000),
        ),
    ),
}

NAMES: Mapping[str, Attack] = {
    "upwards": Attack(ANSWERED_OR_REFUSED, named("../../../../tmp/escaped.jpg")),
    "absolute": Attack(ANSWERED_OR_REFUSED, named("/escaped.jpg")),
    "of Windows": Attack(ANSWERED_OR_REFUSED, named("C:\\\\Windows\\\\escaped.jpg")),
    "with a NUL": Attack(ANSWERED_OR_REFUSED, named("escaped\0.jpg")),
    "with a NUL before another suffix": Attack(ANSWERED, named("escaped.jpg\0.php")),
    "of 4 kB": Attack(ANSWERED_OR_REFUSED, named("e" * 4000 + ".jpg")),
    "with a suffix of 4 kB": Attack(ANSWERED, named("escaped." + "j" * 4000)),
    "hidden": Attack(ANSWERED, named(".jpg")),
    "of dots": Attack(ANSWERED, named("...")),
    "with a line break": Attack(ANSWERED_OR_REFUSED, named("escaped\r\nX: y.jpg")),
    "encoded twice": Attack(
        ANSWERED_OR_REFUSED,
        lambda: form(part('form-data; name="file"; filename="a.jpg"; filename*=UTF-8\'\'..%2f..%2fescaped.jpg')),
    ),
    "of a shell": Attack(ANSWERED_OR_REFUSED, named("$(touch /tmp/escaped);`id`|x.jpg")),
    "of a script": Attack(ANSWERED, named("escaped.jpg.html")),
    "of a device": Attack(ANSWERED_OR_REFUSED, named("CON.jpg")),
    "right to left": Attack(ANSWERED_OR_REFUSED, named("escaped\u202egpj.jpg")),
    "no UTF-8": Attack(ANSWERED_OR_REFUSED, named("escaped\udcff\udcfe.jpg")),
}

ATTACKS: Mapping[str, Attack] = {
    **{f"framing: {name}": attack for name, attack in FRAMING.items()},
    **{f"head: {name}": attack for name, attack in HEADS.items()},
    **{f"form: {name}": attack for name, attack in FORMS.items()},
    **{f"name: {name}": attack for name, attack in NAMES.items()},
}


def answers_to(
    address: tuple[str, int], data: bytes, *, closes: bool = True
) -> list[tuple[int, dict[str, str], bytes]]:
    """Send bytes over a connection of their own, close our side, and give every answer until the other side closes.

    If `closes` is false, the request itself has to ask for it by a header.
    """
    with closing(socket.create_connection(address, timeout=TIMEOUT_S)) as connection:
        with suppress(OSError):  # it may have answered and gone already
            connection.sendall(data)
            if closes:
                connection.shutdown(socket.SHUT_WR)
        received = b""
        with suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                received += piece
    return _answers_in(received)


def _answers_in(received: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    answers = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        status = int(status_line.split()[1])
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        if status != 100:
            answers.append((status, headers, rest[:length]))
        received = rest[length:]
    return answers


def reset(address: tuple[str, int], data: bytes) -> None:
    """Send bytes and tear the connection down without a farewell."""
    with closing(socket.create_connection(address, timeout=TIMEOUT_S)) as connection:
        connection.sendall(data)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
