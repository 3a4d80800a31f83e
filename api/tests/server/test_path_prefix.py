"""The service below a path: SCRIPT_NAME and X-Forwarded-Prefix, and what every page, link and answer makes of them."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

import settings
from app import create_app
from auth import operator_session
from server import path_prefix
from tests.conftest import Serve

HERE = Path(__file__).resolve().parents[2]
KEY = "the-operators-key"
OWN = {"Origin": "http://localhost"}
# Attributes of HTML that hold addresses; scripts get theirs in data-*.
ADDRESS = re.compile(r'\s(?:href|src|action|formaction|poster|data-[a-z-]+)="([^"]*)"')

Make = Callable[..., FlaskClient]


@pytest.fixture
def make(application: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make the application with settings of its own."""

    def made(**told: Any) -> FlaskClient:
        for name, value in {"OPERATOR_KEY": KEY, **told}.items():
            monkeypatch.setattr(settings, name, value)
        app = create_app()
        app.config["UPLOAD_FOLDER"] = str(tmp_path / "uploads")
        return app.test_client()

    return made


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/b/predict", ("/a/b", "/predict")),
        ("/a/b/", ("/a/b", "/")),
        ("/a/b", ("/a/b", "/")),
        ("/predict", ("/a/b", "/predict")),
        ("/", ("/a/b", "/")),
        ("/a/bc/predict", ("/a/b", "/a/bc/predict")),
        ("/a/b//evil.example", ("/a/b", "//evil.example")),
        ("/a/b/a/b/x", ("/a/b", "/a/b/x")),
    ],
)
def test_a_path_arrives_with_the_prefix_or_without_it(path: str, expected: tuple[str, str]) -> None:
    assert arrived("/a/b", 0, path, "") == expected


@pytest.mark.parametrize(
    ("proxies", "header", "expected"),
    [
        (0, "/x", "/own"),
        (1, "/x", "/x"),
        (1, "/x/", "/x"),
        (1, "/x/y.z~_-", "/x/y.z~_-"),
        (1, "/of-the-client, /x", "/x"),
        (2, "/of-the-client, /outer, /inner", "/outer/inner"),
        (2, "/inner", "/inner"),
        (1, "", "/own"),
        (1, "/", "/own"),
        (1, "x", "/own"),
        (1, "//evil.example", "/own"),
        (1, "/../x", "/own"),
        (1, "/x/.", "/own"),
        (1, "/x;path=/", "/own"),
        (1, "/x%2f", "/own"),
        (1, "/é", "/own"),
        (1, "/x\\y", "/own"),
        (1, "https://evil.example/", "/own"),
    ],
)
def test_the_header_counts_as_far_as_trusted_proxies_wrote_it(proxies: int, header: str, expected: str) -> None:
    assert arrived("/own", proxies, "/predict", header) == (expected, "/predict")


def arrived(prefix: str, proxies: int, path: str, header: str) -> tuple[str, str]:
    """Return the SCRIPT_NAME and PATH_INFO of a request."""
    seen: dict[str, Any] = {}

    def application(environ: dict[str, Any], _: Callable[..., Any]) -> list[bytes]:
        seen.update(environ)
        return []

    environ = {"PATH_INFO": path, "SCRIPT_NAME": ""} | ({"HTTP_X_FORWARDED_PREFIX": header} if header else {})
    path_prefix.PathPrefix(application, prefix, proxies)(environ, lambda *_: None)
    return seen["SCRIPT_NAME"], seen["PATH_INFO"]


PAGES = ("/", "/feedback", "/docs", "/review/login", "/review", "/teach", "/help", "/nowhere")


@pytest.mark.parametrize(
    ("told", "arriving"),
    [
        ({"SCRIPT_NAME": "/a/b"}, "/a/b"),
        ({"SCRIPT_NAME": "/a/b"}, ""),
        ({"TRUSTED_PROXIES": 1}, ""),
    ],
)
def test_all_that_a_client_is_given_is_below_the_path(
    make: Make, asked: list[str], image: bytes, told: dict[str, Any], arriving: str
) -> None:
    client = make(**told)
    headers = {"X-Forwarded-Prefix": "/a/b"} if "TRUSTED_PROXIES" in told else {}
    page = {**headers, "Accept": "text/html"}
    refused = client.get(f"{arriving}/review", headers=page)
    assert refused.location == "/a/b/review/login?next=/review"
    entered = client.post(f"{arriving}/review/login", data={"key": KEY}, headers=headers | OWN)
    assert entered.location == "/a/b/review"
    assert "; Path=/a/b;" in f"{entered.headers['Set-Cookie']};"
    page["X-API-Key"] = KEY  # a browser would send the cookie, for the path that it knows
    given = [text for path in PAGES for text in ADDRESS.findall(client.get(f"{arriving}{path}", headers=page).text)]
    answered = client.post(f"{arriving}/", data={"file": (io.BytesIO(image), "a.jpg")}, headers=page)
    given += ADDRESS.findall(answered.text)
    rooted = {text for text in given if text.startswith("/")}
    assert {text for text in rooted if not text.startswith("/a/b/")} == set()
    assert {"/a/b/predict", "/a/b/readyz", "/a/b/review/cases.zip", "/a/b/labels"} <= rooted
    empty = client.post(f"{arriving}/", headers=headers)
    assert empty.location == "/a/b/"
    assert "; Path=/a/b;" in f"{empty.headers['Set-Cookie']};"
    api = client.get(f"{arriving}/openapi.json", headers=headers).get_json()
    assert api["servers"] == [{"url": "/a/b"}]
    assert "http://localhost/a/b/predict" in client.get(f"{arriving}/docs", headers=headers).text
    problem = client.post(f"{arriving}/predict?top_k=0", headers=headers).get_json()
    assert problem["instance"] == "/a/b/predict"
    left = client.post(f"{arriving}/review/logout", headers=headers | OWN)
    assert operator_session.COOKIE in left.headers["Set-Cookie"]
    assert "; Path=/a/b;" in f"{left.headers['Set-Cookie']};"


def test_without_a_prefix_nothing_changes(client: FlaskClient) -> None:
    assert client.get("/openapi.json", headers={"X-Forwarded-Prefix": "/a/b"}).get_json()["servers"] == [{"url": "/"}]
    answer = client.post("/", headers={"X-Forwarded-Prefix": "/a/b"})
    assert (answer.location, "; Path=/;" in f"{answer.headers['Set-Cookie']};") == ("/", True)


def test_the_descriptions_below_many_paths_do_not_pile_up(make: Make) -> None:
    client = make(TRUSTED_PROXIES=1)
    for number in range(17):
        path = f"/p{number}"
        found = client.get("/openapi.json", headers={"X-Forwarded-Prefix": path}).get_json()["servers"]
        assert found == [{"url": path}]
    assert len(client.application.extensions["sightline.openapi"]) <= 16


def test_the_server_is_found_below_the_path_and_by_health_checks(serve: Serve) -> None:
    with serve(SCRIPT_NAME="/a/b") as served:
        asked = {
            path: f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n" for path in ("/a/b/livez", "/livez", "/a/bc/livez")
        }
        statuses = {path: served.ask(request.encode())[0] for path, request in asked.items()}
    assert statuses == {"/a/b/livez": 200, "/livez": 200, "/a/bc/livez": 404}


@pytest.mark.parametrize(
    "file", sorted([*HERE.glob("templates/*.html"), *HERE.glob("assets/**/*.[cjs]*s*")]), ids=lambda file: file.name
)
def test_no_page_style_or_script_holds_an_absolute_path(file: Path) -> None:
    """Templates call url_for; scripts read addresses that templates wrote into data-* attributes."""
    text = re.sub(r"\{\{.*?\}\}|\{%.*?%\}", "{}", file.read_text(), flags=re.DOTALL)
    in_markup = [each for each in ADDRESS.findall(text) if each.startswith(("/", "http"))]
    in_scripts = re.findall(r"[\"'`]/[\w.$][^\"'`\s]*", text) if file.suffix == ".js" else []
    in_styles = re.findall(r"url\(\s*[\"']?/[^)]*", text) if file.suffix == ".css" else []
    assert in_markup + in_scripts + in_styles == []
