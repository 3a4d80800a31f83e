from pathlib import Path

import pytest
from flask import Flask, Response, request
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import settings
from server import edge
from server.messages import PAGE_POLICY, PICTURE_POLICY, SECURITY_HEADERS

ORIGIN = "http://localhost"
REQUESTS = [
    ("GET", "/"),
    ("HEAD", "/"),
    ("POST", "/"),
    ("DELETE", "/"),
    ("GET", "/predict"),
    ("POST", "/predict"),
    ("OPTIONS", "/predict"),
    ("POST", "/predict?top_k=0"),
    ("GET", "/feedback"),
    ("POST", "/feedback"),
    ("GET", "/display/missing.jpg"),
    ("GET", "/livez"),
    ("GET", "/assets/missing.css"),
    ("GET", "/nowhere"),
    ("GET", "/%00"),
    ("GET", "//evil.example"),
    ("TRACE", "/"),
]


@pytest.mark.parametrize(("method", "path"), REQUESTS)
@pytest.mark.parametrize("accept", ["*/*", "text/html"])
def test_every_answer_carries_the_security_headers(client: FlaskClient, method: str, path: str, accept: str) -> None:
    answer = client.open(path, method=method, headers={"Accept": accept})
    for name, value in SECURITY_HEADERS:
        assert answer.headers.getlist(name) == [value]
    assert answer.headers.getlist("Content-Security-Policy") == [PAGE_POLICY]
    assert len(answer.headers.getlist("X-Request-Id")) == 1


def test_the_page_s_policy_lets_nothing_inline_run() -> None:
    assert "unsafe" not in PAGE_POLICY
    assert "default-src 'none'" in PAGE_POLICY
    assert "frame-ancestors 'none'" in PAGE_POLICY


def test_an_answer_s_own_policy_goes_before_the_page_s(
    client: FlaskClient, asked: list[str], picture: bytes, uploads_folder: Path
) -> None:
    client.post("/predict", data=picture, content_type="image/jpeg")
    answer = client.get(f"/display/{asked[0]}")
    assert answer.headers.getlist("Content-Security-Policy") == [PICTURE_POLICY]
    assert "sandbox" in PICTURE_POLICY


@pytest.mark.parametrize("given", ["abc", "a.b-c_D9", "x" * 128])
def test_a_request_id_that_fits_comes_back(client: FlaskClient, given: str) -> None:
    assert client.get("/livez", headers={"X-Request-Id": given}).headers["X-Request-Id"] == given


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "é", "<script>", "a;b"])
def test_any_other_request_id_is_replaced(client: FlaskClient, given: str) -> None:
    answer = client.get("/livez", headers={"X-Request-Id": given})
    assert len(answer.headers["X-Request-Id"]) == 32


def report(client: FlaskClient, **headers: str) -> TestResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/feedback", data={"report": "wrong"}, headers=named)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec_Fetch_Site": "same-origin", "Origin": ORIGIN},
        {"Sec_Fetch_Site": "none"},
        {"Origin": ORIGIN},
        {"Sec_Fetch_Site": "same-origin", "Origin": "null"},
    ],
)
def test_our_own_page_and_programs_are_let_in(client: FlaskClient, headers: dict[str, str]) -> None:
    assert report(client, **headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "cross-site", "Origin": "https://evil.example"},
        {"Sec_Fetch_Site": "same-site", "Origin": "http://localhost:3000"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "http://localhost:8001"},
        {"Origin": "null"},
        {"Origin": ""},
    ],
)
@pytest.mark.parametrize("path", ["/", "/predict", "/feedback"])
def test_the_pages_of_other_sites_are_refused(
    client: FlaskClient, tmp_path: Path, headers: dict[str, str], path: str
) -> None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = client.post(path, data={"report": "forged"}, headers=named)
    assert answer.status_code == 403
    assert not (tmp_path / "feedback").exists()


def test_other_sites_may_look_but_not_read(client: FlaskClient) -> None:
    answer = client.get("/", headers={"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_an_origin_that_was_told_is_let_in_and_may_read(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "CORS_ORIGINS", "https://friend.example, https://other.example")
    answer = report(client, Sec_Fetch_Site="cross-site", Origin="https://friend.example")
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "https://friend.example"
    assert "Origin" in answer.headers["Vary"]
    preflight = client.options("/predict", headers={"Origin": "https://other.example"})
    assert "PUT" in preflight.headers["Access-Control-Allow-Methods"]
    assert report(client, Sec_Fetch_Site="cross-site", Origin="https://evil.example").status_code == 403


@pytest.mark.parametrize(("proxies", "expected"), [(0, "127.0.0.1"), (1, "203.0.113.7")])
def test_forwarded_headers_count_only_behind_the_proxies_told(
    monkeypatch: pytest.MonkeyPatch, proxies: int, expected: str
) -> None:
    monkeypatch.setattr(settings, "TRUSTED_PROXIES", proxies)
    app = Flask("probe")
    app.add_url_rule("/address", view_func=lambda: Response(request.remote_addr))
    edge.install(app)
    assert app.test_client().get("/address", headers={"X-Forwarded-For": "203.0.113.7"}).text == expected
