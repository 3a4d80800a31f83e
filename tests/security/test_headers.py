"""The security headers, on every answer of every route and of the server itself."""

import re
from urllib.parse import urlsplit

import pytest

from sightline_testing.client import Client, Response
from sightline_testing.hostile.asking import form_of
from sightline_testing.hostile.requests import ATTACKS, answers_to
from sightline_testing.sample_images import bad, good
from sightline_testing.service import Service

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
PATHS = (
    *("/", "/predict", "/feedback", "/display/missing.png", "/livez", "/readyz", "/assets/css/base.css", "/nowhere"),
    *("/labels", "/maps/missing.png/tabby.png", "/review", "/review/login", "/review/logout", "/review/decisions"),
    *(
        "/help",
        "/p/none",
        "/operate",
        "/feedback/none",
        "/review/images",
        "/review/cases.csv",
        "/review/cases.jsonl",
        "/review/cases.zip",
        "/review/label-studio.zip",
        "/previews/x.heic.jpg",
    ),
    *("/openapi.json", "/docs", "/metrics", "/jobs/none", "/v2", "/v2/models/default/infer", "/ping", "/invocations"),
)
EXACT = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
SOFTWARE = re.compile(r"gunicorn|werkzeug|flask|python|gevent|\d+\.\d+", re.IGNORECASE)


def check(headers: dict[str, str]) -> None:
    assert {name: headers.get(name) for name in EXACT} == EXACT
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", headers["x-request-id"])
    assert "x-powered-by" not in headers
    assert not SOFTWARE.search(headers.get("server", ""))


def headers_of(response: Response) -> dict[str, str]:
    names = [name.lower() for name in response.headers.keys()]  # noqa: SIM118  a message, no mapping
    assert len(names) == len(set(names)), f"a header stands there twice: {names}"
    return {name.lower(): value for name, value in response.headers.items()}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", PATHS)
def test_every_route_says_what_browsers_may_do(client: Client, method: str, path: str) -> None:
    for accept in ("text/html", "*/*"):
        check(headers_of(client.send(method, path, headers={"Accept": accept})))


@pytest.mark.parametrize("name", ATTACKS)
def test_what_is_no_request_is_answered_with_them_too(service: Service, name: str) -> None:
    parts = urlsplit(service.url)
    for _, headers, _ in answers_to((parts.hostname or "", parts.port or 0), ATTACKS[name].make()):
        check(headers)


@pytest.mark.parametrize("content", [good("baseline.jpg").content, bad("truncated.png").content, b"x"])
@pytest.mark.parametrize("path", ["/", "/predict", "/predict?top_k=5", "/predict?top_k=x"])
def test_every_answer_about_an_image_has_them(client: Client, path: str, content: bytes) -> None:
    body, kind = form_of(content)
    check(headers_of(client.send("POST", path, body, {"Content-Type": kind})))


def test_a_stored_image_can_do_nothing_at_all(client: Client) -> None:
    body, kind = form_of(good("with_script_tail.jpg").content, "page.jpg")
    name = client.send("POST", "/predict?top_k=1", body, {"Content-Type": kind}).json()["filename"]
    answer = client.get(f"/display/{name}")
    headers = headers_of(answer)
    check(headers)
    assert headers["content-type"] == "image/jpeg"
    assert "sandbox" in headers["content-security-policy"]
    assert "script-src" not in headers["content-security-policy"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    ],
)
@pytest.mark.parametrize(
    "path",
    ["/", "/predict", "/feedback", "/review/login", "/review/decisions", "/v2/models/default/infer", "/invocations"],
)
def test_the_pages_of_other_sites_may_post_nothing(client: Client, path: str, headers: dict[str, str]) -> None:
    body, kind = form_of(good("baseline.jpg").content)
    answer = client.send("POST", path, body, {"Content-Type": kind, **headers})
    assert answer.status == 403
    check(headers_of(answer))
