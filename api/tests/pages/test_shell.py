"""The header of every page: it shows what its visitor may see, and whether the service is ready."""

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient

import settings
from app import create_app
from pages import shell
from predict import job_queue
from sightline_testing.redis_server import RedisServer
from tests.serving import EchoWorker, wait_until

KEY = "the-operators-key"
OWN = {"Origin": "http://localhost"}
PAGES = ("/", "/docs", "/help", "/feedback", "/review/login", "/nowhere")
HTML = {"Accept": "text/html"}


@pytest.fixture
def has_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "OPERATOR_KEY", KEY)


def places(page: str) -> list[str]:
    header = page.partition("</header>")[0]
    return re.findall(r'<a class="place"[^>]*>([^<]+)</a>', header)


@pytest.mark.parametrize("path", PAGES)
def test_a_visitor_sees_what_is_for_visitors(client: FlaskClient, has_key: None, path: str) -> None:
    page = client.get(path, headers=HTML).text
    assert places(page) == ["Classify", "API", "Help"]
    assert 'href="/review/login">Sign in<' in page


@pytest.mark.parametrize("path", [*PAGES, "/review"])
def test_who_has_signed_in_once_sees_the_operator_s_pages_everywhere(
    client: FlaskClient, has_key: None, path: str
) -> None:
    client.post("/review/login", data={"key": KEY, "name": "Ann"}, headers=OWN)
    page = client.get(path, headers=HTML).text
    offered = [place.name for place in shell.PLACES if place.endpoint in client.application.view_functions]
    assert places(page) == offered
    assert "Review" in offered
    assert "Sign out" in page
    assert ">Ann<" in page


def test_without_an_operator_s_key_nobody_is_asked_to_sign_in(client: FlaskClient) -> None:
    page = client.get("/").text
    assert places(page) == ["Classify", "API", "Help"]
    assert "Sign in" not in page


@pytest.mark.parametrize(("path", "name"), [("/", "Classify"), ("/docs", "API"), ("/help", "Help")])
def test_the_place_where_one_is_is_marked(client: FlaskClient, path: str, name: str) -> None:
    assert re.findall(r'aria-current="page">([^<]+)<', client.get(path).text) == [name]


def test_the_description_of_the_api_is_kept_for_nobody_else(client: FlaskClient, has_key: None) -> None:
    first = client.get("/docs")
    assert "private" in first.headers["Cache-Control"]
    same = client.get("/docs", headers={"If-None-Match": first.headers["ETag"]})
    assert same.status_code == 304
    client.post("/review/login", data={"key": KEY}, headers=OWN)
    assert client.get("/docs", headers={"If-None-Match": first.headers["ETag"]}).status_code == 200


@pytest.mark.parametrize(
    ("wanted", "location"),
    [
        ("/review?status=all&label=tiger%20cat", "/review?status=all&label=tiger%20cat"),
        ("/docs", "/docs"),
        ("", "/review"),
        ("//evil.example", "/review"),
        ("/\\evil.example", "/review"),
        ("https://evil.example", "/review"),
        ("/a\r\nX: y", "/review"),
        ("javascript:alert(1)", "/review"),
    ],
)
def test_signing_in_leads_to_the_page_that_asked_for_it_and_to_no_other_host(
    client: FlaskClient, has_key: None, wanted: str, location: str
) -> None:
    answer = client.post("/review/login", data={"key": KEY, "next": wanted}, headers=OWN)
    assert (answer.status_code, answer.location) == (303, location)


def test_a_page_that_needs_the_operator_leads_back_after_signing_in(client: FlaskClient, has_key: None) -> None:
    led = client.get("/review?status=all", headers=HTML)
    assert led.status_code == 302
    page = client.get(led.location).text
    assert '<input type="hidden" name="next" value="/review?status=all">' in page
    refused = client.post("/review/login", data={"key": "wrong", "next": "/review?status=all"}, headers=OWN).text
    assert '<input type="hidden" name="next" value="/review?status=all">' in refused


@pytest.fixture
def connected(queue: RedisServer) -> Flask:
    application = create_app()
    job_queue.open_queue()
    return application


def status_of(application: Flask) -> str:
    [state] = re.findall(r'data-state="(\w+)" data-ready="/readyz"', application.test_client().get("/").text)
    return str(state)


def test_the_dot_says_whether_an_image_would_be_answered(connected: Flask, queue: RedisServer) -> None:
    wait_until(lambda: status_of(connected) == "down", "the state without a worker")
    with EchoWorker(queue.port):
        wait_until(lambda: status_of(connected) == "ready", "the state with a worker")


def test_a_page_does_not_wait_for_the_state(client: FlaskClient) -> None:
    assert status_of(client.application) == "unknown"


def test_the_page_waits_longer_than_the_service_may_take(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "REQUEST_TIMEOUT_S", 120.0)
    waits_s = re.findall(r'<body data-answer-timeout-s="([^"]+)">', client.get("/", headers=HTML).text)
    assert [float(seconds) for seconds in waits_s] == [120.0 + shell.LATE_S]
