"""Every failure has its reason: in headers, in the access log, and as a problem document on request."""

import base64
import io
import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from problems import MAX_HEADER_DETAIL, Problem
from sightline_testing import sample_images
from sightline_testing.redis_server import RedisServer
from tests.conftest import Serve
from tests.serving import wait_until

FIXED_BODY = b'{"success": false, "prediction": null, "score": null}'
PROBLEM = "application/problem+json"
IMAGE = sample_images.jpeg(64, 48)
TEXT = base64.b64encode(IMAGE).decode()
FORM = "multipart/form-data; boundary=x"

# A request to POST /predict that has no usable file, and a word that its reason has to name.
UNUSABLE: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "empty"),
    "other field": ({"data": {"image": (io.BytesIO(IMAGE), "a.jpg")}}, "image"),
    "urlencoded": ({"data": {"file": TEXT}}, "application/x-www-form-urlencoded"),
    "no form": ({"data": b"--y--", "content_type": FORM}, "form"),
    "unfinished form": (
        {"data": b"--x\r\nContent-Disposition: form-data; name=file\r\n\r\n", "content_type": FORM},
        "byte",
    ),
    "part without a name": ({"data": b"--x\r\nA: b\r\n\r\n\r\n--x--", "content_type": FORM}, "which field"),
    "text": ({"data": b"hello", "content_type": "text/plain"}, "text/plain"),
    "no boundary": ({"data": b"x", "content_type": "multipart/form-data"}, "boundary"),
    "no JSON": ({"data": b"{", "content_type": "application/json"}, "JSON"),
    "JSON of another shape": ({"json": {"image": TEXT, "top_k": 5}}, "'top_k'"),
    "JSON with both members": ({"json": {"image": TEXT, "images": [TEXT]}}, "2 of the members"),
    "JSON without images": ({"json": {"images": []}}, "0 elements"),
    "no base64": ({"json": {"image": "###"}}, "base64"),
    "not an image": ({"data": {"file": (io.BytesIO(b"notes"), "notes.txt")}}, ""),
    "empty file": ({"data": {"file": (io.BytesIO(b""), "a.jpg")}}, "empty"),
}


def post(client: FlaskClient, name: str, path: str = "/predict", **headers: str) -> TestResponse:
    arguments, _ = UNUSABLE[name]
    if "data" in arguments and isinstance(arguments["data"], dict):
        copied = {
            key: (io.BytesIO(v[0].getvalue()), v[1]) if isinstance(v, tuple) else v
            for key, v in arguments["data"].items()
        }
        arguments = {**arguments, "data": copied}
    return client.post(path, headers={name.replace("_", "-"): value for name, value in headers.items()}, **arguments)


@pytest.mark.parametrize("name", UNUSABLE)
def test_the_fixed_400_has_its_reason_in_headers(client: FlaskClient, name: str) -> None:
    answer = post(client, name)
    assert (answer.status_code, answer.data) == (400, FIXED_BODY)
    assert answer.headers["X-Error-Code"] == "malformed"
    assert UNUSABLE[name][1] in answer.headers["X-Error-Detail"]
    assert answer.headers["X-Error-Detail"].isascii()


@pytest.mark.parametrize("name", UNUSABLE)
def test_the_problem_document_is_for_whoever_asks_for_it(client: FlaskClient, name: str) -> None:
    answer = post(client, name, Accept=f"application/json, {PROBLEM};q=0.5")
    assert (answer.status_code, answer.mimetype) == (400, PROBLEM)
    document = json.loads(answer.data)
    assert document["code"] == "malformed"
    assert UNUSABLE[name][1] in document["detail"]
    assert {key: document[key] for key in ("success", "prediction", "score")} == json.loads(FIXED_BODY)


@pytest.mark.parametrize("accept", ["*/*", "application/*", "text/html", f"{PROBLEM};q=0", ""])
def test_nobody_else_gets_another_body(client: FlaskClient, accept: str) -> None:
    assert post(client, "nothing", Accept=accept).data == FIXED_BODY


@pytest.mark.parametrize("path", ["/invocations", "/v2/models/default/infer", "/predictions/default"])
@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html"])
@pytest.mark.parametrize("name", UNUSABLE)
def test_other_protocols_always_get_a_problem_document(client: FlaskClient, path: str, accept: str, name: str) -> None:
    answer = post(client, name, path, Accept=accept)
    assert (answer.status_code, answer.mimetype) == (400, PROBLEM)
    assert json.loads(answer.data)["detail"]


def test_other_failures_have_the_headers_too(client: FlaskClient) -> None:
    answer = client.get("/no/such/page")
    assert answer.headers["X-Error-Code"] == "not_found"
    assert answer.headers["X-Error-Detail"]


@pytest.mark.parametrize("detail", ["a\r\nSet-Cookie: x", "\x1b[2J\x00", "naïve 馬 \ud800", "x" * 10_000])
def test_a_detail_is_one_short_line_of_ascii_in_a_header(detail: str) -> None:
    value = Problem(400, "malformed", detail).headers()["X-Error-Detail"]
    assert value.isascii()
    assert value.isprintable()
    assert len(value) <= MAX_HEADER_DETAIL


def test_the_access_log_says_why(serve: Serve, redis_server: RedisServer) -> None:
    with serve(REDIS_PORT=redis_server.port, ACCESS_LOG=1) as served:
        head = "POST /predict HTTP/1.1\r\nHost: x\r\nX-Request-Id: why-1\r\nContent-Type: application/json\r\n"
        served.ask(f"{head}Content-Length: 1\r\n\r\n{{".encode())
        wait_until(lambda: "why-1" in served.log, "the request is in the log")
        [line] = [line for line in map(json.loads, served.log.splitlines()) if line.get("request_id") == "why-1"]
    assert (line["status"], line["error_code"]) == (400, "malformed")
    assert "JSON" in line["error_detail"]
