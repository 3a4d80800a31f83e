import re
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask, Response, request
from flask.testing import FlaskClient
from werkzeug.routing import Map, Rule
from werkzeug.test import TestResponse

import settings
from app import create_app
from openapi.operation import operations_of
from server import edge
from server.messages import IMAGE_POLICY, PAGE_POLICY, SECURITY_HEADERS
from wire.settings_parser import SettingError

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
    client: FlaskClient, asked: list[str], image: bytes, uploads_folder: Path
) -> None:
    client.post("/predict", data=image, content_type="image/jpeg")
    answer = client.get(f"/display/{asked[0]}")
    assert answer.headers.getlist("Content-Security-Policy") == [IMAGE_POLICY]
    assert "sandbox" in IMAGE_POLICY


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


@pytest.mark.parametrize(
    ("origins", "let_in", "refused"),
    [
        ("*", ["https://any.example", "http://a.b:81", "null"], []),
        (
            "https://friend.example/",
            ["https://friend.example"],
            ["https://friend.example.evil", "http://friend.example"],
        ),
        ("HTTPS://Friend.Example:443", ["https://friend.example"], ["https://friend.example:444"]),
        ("http://localhost:80 http://[::1]:3000", ["http://localhost", "http://[::1]:3000"], ["http://[::1]"]),
        (
            "https://*.example.org",
            ["https://a.example.org", "https://a.b.example.org"],
            ["https://example.org", "https://aexample.org", "http://a.example.org", "https://a.example.org:8443"],
        ),
        ("https://*.example.org:8443", ["https://a.example.org:8443"], ["https://a.example.org"]),
        ("https://*.example.org,null", ["null"], ["https://.example.org", "https://evil.example/a.example.org:1", ""]),
        ("https://b\u00fccher.example", ["https://xn--bcher-kva.example"], []),
        ("chrome-extension://abcdef", ["chrome-extension://abcdef"], []),
    ],
)
def test_origins_are_matched_as_browsers_write_them(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, origins: str, let_in: list[str], refused: list[str]
) -> None:
    monkeypatch.setattr(settings, "CORS_ORIGINS", origins)
    for origin in let_in:
        answer = report(client, Sec_Fetch_Site="cross-site", Origin=origin)
        assert (origin, answer.status_code) == (origin, 200)
        assert answer.headers["Access-Control-Allow-Origin"] in {origin, "*"}
    for origin in refused:
        answer = report(client, Sec_Fetch_Site="cross-site", Origin=origin)
        assert (origin, answer.status_code) == (origin, 403)
        assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    ("origins", "authorization", "status"),
    [
        ("*", "Basic YW5uOmtleQ==", 403),
        ("*", "basic YW5uOmtleQ==", 403),
        ("*", "Bearer key", 200),
        ("https://friend.example", "Basic YW5uOmtleQ==", 200),
    ],
)
def test_no_page_of_any_origin_may_use_what_the_browser_has_authenticated(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, origins: str, authorization: str, status: int
) -> None:
    monkeypatch.setattr(settings, "CORS_ORIGINS", origins)
    sent = {"Sec_Fetch_Site": "cross-site", "Origin": "https://friend.example", "Authorization": authorization}
    assert report(client, **sent).status_code == status


@pytest.mark.parametrize(
    "entry",
    [
        "example.org",
        "*.example.org",
        "https://example.org/app",
        "https://*",
        "https://a.*.org",
        "https://",
        "https://a:b",
        "https://user@example.org",
        "https://example.org?x",
        "https://**.example.org",
        "localhost:3000",
    ],
)
def test_an_origin_that_no_page_can_have_is_refused_at_start(monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
    monkeypatch.setattr(settings, "CORS_ORIGINS", f"https://good.example, {entry}")
    with pytest.raises(SettingError, match=re.escape(f"{entry!r} is no origin")):
        create_app()


def test_pages_may_send_and_read_every_header_of_the_service(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "CORS_ORIGINS", "https://friend.example")
    preflight = client.options("/predict", headers={"Origin": "https://friend.example"})
    sent = preflight.headers["Access-Control-Allow-Headers"].split(", ")
    operations = [operations_of(view) for view in client.application.view_functions.values()]
    declared = [parameter for each in operations for operation in each.values() for parameter in operation.parameters]
    in_headers = {parameter.name for parameter in declared if parameter.place == "header"}
    assert in_headers | {"Idempotency-Key", "traceparent", "Inference-Header-Content-Length"} <= set(sent)
    answer = client.get("/livez", headers={"Origin": "https://friend.example"})
    exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
    assert {"Location", "Retry-After", "X-Prediction-Id", "Preference-Applied", "ETag", "Allow"} <= set(exposed)


@pytest.mark.parametrize(("proxies", "expected"), [(0, "127.0.0.1"), (1, "203.0.113.7")])
def test_forwarded_headers_count_only_behind_the_proxies_told(
    monkeypatch: pytest.MonkeyPatch, proxies: int, expected: str
) -> None:
    monkeypatch.setattr(settings, "TRUSTED_PROXIES", proxies)
    app = Flask("probe")
    app.add_url_rule("/address", view_func=lambda: Response(request.remote_addr))
    edge.install(app)
    assert app.test_client().get("/address", headers={"X-Forwarded-For": "203.0.113.7"}).text == expected


def test_what_builds_an_address_is_compiled_once_when_it_is_first_called(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, compile_builder = [], Rule._compile_builder

    def counted(rule: Rule, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        compiled.append((rule.rule, append_unknown))
        return compile_builder(rule, append_unknown)

    monkeypatch.setattr(Rule, "_compile_builder", counted)
    rules = [edge.Site.url_rule_class(f"/{name}/<name>", endpoint=name) for name in ("one", "other")]
    routes = Map(rules).bind("localhost")
    assert compiled == []
    addresses = [routes.build("one", {"name": name, "more": "1 2"}) for name in ("a b", "c")]
    assert addresses == ["/one/a%20b?more=1+2", "/one/c?more=1+2"]
    assert routes.build("one", {"name": "a b", "more": "1 2"}, append_unknown=False) == "/one/a%20b"
    assert compiled == [("/one/<name>", True), ("/one/<name>", False)]
