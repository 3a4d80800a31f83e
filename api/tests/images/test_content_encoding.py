"""Compressed bodies: the same answers, and no more memory or time than others."""

import base64
import gzip
import json
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.exceptions import RequestEntityTooLarge

import settings
from images import content_encoding
from images.content_encoding import DecodedStream
from problems import Problem
from sightline_testing import sample_images
from tests.serving import EchoWorker, wait_until

MIB = 1024**2
BOUNDARY = "sightline"


def packed(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


ENCODERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "in capitals": ("GZip", gzip.compress),
    "two members": ("gzip", lambda data: gzip.compress(data[:100]) + gzip.compress(data[100:])),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "identity": ("identity", bytes),
    "identity and gzip": ("identity, gzip", gzip.compress),
    "stored": ("gzip", lambda data: gzip.compress(data, 0)),
}


def as_form(image: bytes) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    return head.encode() + image + f"\r\n--{BOUNDARY}--\r\n".encode()


def in_json(image: bytes) -> bytes:
    return json.dumps({"image": base64.b64encode(image).decode()}).encode()


def as_tensor(image: bytes) -> bytes:
    element = struct.pack("<I", len(image)) + image
    head = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(element)}}
    return json.dumps({"inputs": [head]}).encode() + element


BODIES: dict[str, tuple[str, str, Callable[[bytes], bytes]]] = {
    "raw": ("/predict", "image/jpeg", bytes),
    "form": ("/predict", f"multipart/form-data; boundary={BOUNDARY}", as_form),
    "json": ("/predict", "application/json", in_json),
    "v2": ("/v2/models/default/infer", "application/octet-stream", as_tensor),
    "torchserve": ("/predictions/default", "", bytes),
    "page": ("/", f"multipart/form-data; boundary={BOUNDARY}", as_form),
}


@pytest.fixture
def ready(client: FlaskClient, worker: EchoWorker) -> None:
    wait_until(lambda: client.get("/readyz").status_code == 200, "the worker is known")


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize("body", BODIES)
def test_a_compressed_body_is_answered_as_the_plain_one(client: FlaskClient, worker: EchoWorker, body: str) -> None:
    path, kind, make = BODIES[body]
    content = make(sample_images.jpeg())
    for coding, encode in ENCODERS.values():
        headers = {"Content-Encoding": coding}
        if body == "v2":
            headers["Inference-Header-Content-Length"] = str(content.index(b"}]}") + 3)
        answer = client.post(path, data=encode(content), content_type=kind, headers=headers)
        assert (coding, answer.status_code) == (coding, 200)
    assert len(set(worker.images)) == 1


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip", "deflate, gzip", "aws-chunked", "\u00e9"])
@pytest.mark.parametrize("body", BODIES)
def test_another_encoding_is_415_and_names_those_that_are_accepted(
    client: FlaskClient, asked: list[str], body: str, coding: str
) -> None:
    path, kind, make = BODIES[body]
    answer = client.post(path, data=make(b"x"), content_type=kind, headers={"Content-Encoding": coding})
    assert (answer.status_code, answer.headers["X-Error-Code"]) == (415, "unsupported_encoding")
    assert answer.headers["Accept-Encoding"] == "gzip, deflate"
    assert "gzip, deflate" in answer.headers["X-Error-Detail"]


@pytest.mark.parametrize(
    "body",
    [b"", b"x", b"\xff\xd8\xff", packed(b"\xff\xd8\xff" * 100)[:-1], packed(b"x") + b"rest", b"\x1f\x8b"],
)
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_what_is_not_of_its_encoding_is_malformed(
    client: FlaskClient, asked: list[str], body: bytes, coding: str
) -> None:
    answer = client.post("/predict", data=body, content_type="image/jpeg", headers={"Content-Encoding": coding})
    document = client.post(
        "/predict",
        data=body,
        content_type="image/jpeg",
        headers={"Content-Encoding": coding, "Accept": "application/problem+json"},
    ).get_json()
    assert (answer.status_code, document["code"]) == (400, "malformed")
    assert f"cannot be decoded as {coding}" in document["detail"]
    assert asked == []


def decoded(data: bytes, coding: str = "gzip", limit: int | None = None, step: int = -1) -> bytes:
    counted: list[int] = []
    stream = DecodedStream(BytesIO(data), coding, limit, counted.append)
    content = b"".join(iter(lambda: stream.read(step), b""))
    # In the memory for all bodies, piece by piece.
    assert sum(counted) == len(content)
    return content


@pytest.mark.parametrize("size", [0, 1, 1000, 300_000, 3_000_000])
@pytest.mark.parametrize("step", [-1, 1_000, 128 * 1024, 10**7])
def test_every_content_comes_out_as_it_went_in(size: int, step: int) -> None:
    content = sample_images.jpeg() * (size // 100_000) + bytes(size)
    for coding, encode in (("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", raw_deflate)):
        assert decoded(encode(content), coding, step=step) == content


@pytest.mark.parametrize("end", [257, 1000])
def test_a_last_match_that_goes_on_in_the_next_piece_is_whole(end: int) -> None:
    for size in range(content_encoding.PIECE_BYTES, content_encoding.PIECE_BYTES + end, 9):
        packed_content = raw_deflate(bytes(size))
        assert len(decoded(packed_content, "deflate")) == size
        with pytest.raises(Problem, match="ends too early"):
            decoded(packed_content[:-1], "deflate")


def bomb(size: int, coding: str) -> bytes:
    return gzip.compress(bytes(size), 1) if coding == "gzip" else zlib.compress(bytes(size), 1)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_bomb_is_refused_once_it_is_larger_than_a_body_may_be(coding: str) -> None:
    small = bomb(200 * MIB, coding)
    counted: list[int] = []
    tracemalloc.start()
    try:
        stream = DecodedStream(BytesIO(small), coding, 2 * MIB, counted.append)
        with pytest.raises(RequestEntityTooLarge):
            stream.read()
        assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    finally:
        tracemalloc.stop()
    assert sum(counted) <= 2 * MIB


@pytest.mark.parametrize("body", ["raw", "form", "json", "v2", "page"])
def test_a_bomb_is_413_however_it_is_sent(
    client: FlaskClient, asked: list[str], monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    monkeypatch.setattr(settings, "MAX_UPLOAD_BYTES", 100_000)
    path, kind, make = BODIES[body]
    headers: dict[str, Any] = {"Content-Encoding": "gzip"}
    content = make(b"\xff\xd8\xff" + bytes(20 * MIB))
    if body == "v2":
        headers["Inference-Header-Content-Length"] = str(content.index(b"}]}") + 3)
    answer = client.post(path, data=gzip.compress(content, 1), content_type=kind, headers=headers)
    assert answer.status_code == 413
    assert asked == []


def test_many_empty_members_are_no_work() -> None:
    with pytest.raises(Problem, match="more follows its end"):
        decoded(gzip.compress(b"") * 100_000)
    assert decoded(gzip.compress(b"x") * content_encoding.MAX_MEMBERS) == b"x" * content_encoding.MAX_MEMBERS


def test_a_report_may_be_compressed(client: FlaskClient) -> None:
    for kind, body in (("application/x-www-form-urlencoded", b"report=wrong"), ("application/json", b"{}")):
        answer = client.post(
            "/feedback", data=gzip.compress(body), content_type=kind, headers={"Content-Encoding": "gzip"}
        )
        assert answer.status_code == 200
