"""The operator's session in a browser: logging out ends it in every process, for every copy of its cookie."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from itsdangerous import URLSafeTimedSerializer

import settings
from app import create_app
from auth import operator_session
from tests.conftest import Serve
from tests.serving import Served

KEY = "operators-key"
Make = Callable[[], FlaskClient]


@pytest.fixture
def make(application: Flask, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make a browser and an api process of its own for it; all of them have one key and one folder of reports."""
    monkeypatch.setattr(settings, "OPERATOR_KEY", KEY)
    monkeypatch.setattr(settings, "SECRET_KEY", "of all processes")
    return lambda: create_app().test_client()


def log_in(browser: FlaskClient, name: str = "ann") -> str:
    """Log in, and return the cookie's value."""
    answer = browser.post("/review/login", data={"key": KEY, "name": name})
    assert answer.status_code == 303
    return cookie_of(browser)


def cookie_of(browser: FlaskClient) -> str:
    cookie = browser.get_cookie(operator_session.COOKIE)
    return cookie.value if cookie is not None else ""


def status_with(browser: FlaskClient, cookie: str) -> int:
    browser.set_cookie(operator_session.COOKIE, cookie)
    return browser.get("/review").status_code


def test_logging_out_ends_every_copy_of_the_cookie_in_every_process(make: Make) -> None:
    browser, other = make(), make()
    copied = log_in(browser)
    assert status_with(other, copied) == 200
    assert browser.post("/review/logout").status_code == 303
    assert cookie_of(browser) == ""
    assert [status_with(each, copied) for each in (browser, other, make())] == [401] * 3


def test_logging_out_leaves_other_reviewers_and_later_sessions_alone(make: Make) -> None:
    ann, bob = make(), make()
    log_in(ann)
    log_in(bob, "bob")
    ann.post("/review/logout")
    assert bob.get("/review").status_code == 200
    log_in(ann)
    assert ann.get("/review").status_code == 200


def test_a_refused_login_shows_why_on_the_page(make: Make) -> None:
    answer = make().post("/review/login", data={"key": "another", "name": "ann"})
    assert answer.status_code == 403
    assert "operator" in answer.text.partition('role="alert">')[2].partition("</p>")[0]


def test_sessions_survive_a_restart(make: Make) -> None:
    cookie = log_in(make())
    assert status_with(make(), cookie) == 200


@pytest.mark.parametrize("cookie", ["", "x", "../../feedback", "WyJhIiwiYiJd.x.y"])
def test_logging_out_with_what_is_no_cookie_of_ours_ends_nothing(make: Make, cookie: str) -> None:
    ann = make()
    log_in(ann)
    stranger = make()
    stranger.set_cookie(operator_session.COOKIE, cookie)
    assert stranger.post("/review/logout").status_code == 303
    assert ann.get("/review").status_code == 200


def test_there_are_no_more_sessions_than_kept_and_the_oldest_goes_first(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator_session, "MAX_SESSIONS", 3)
    browser = make()
    cookies = [log_in(browser) for _ in range(10)]
    assert [status_with(browser, cookie) for cookie in cookies] == [401] * 7 + [200] * 3
    assert len(list((tmp_path / "feedback" / operator_session.FOLDER).iterdir())) == 3


def test_sessions_that_are_over_are_removed_by_the_next_one(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = make()
    first = log_in(browser)
    monkeypatch.setattr(operator_session, "MAX_AGE_S", -1)
    assert status_with(browser, first) == 401
    second = log_in(browser)
    monkeypatch.setattr(operator_session, "MAX_AGE_S", 3600)
    assert [status_with(browser, cookie) for cookie in (first, second)] == [401, 200]


@pytest.mark.parametrize(
    "content", ["ann", ["ann"], ["ann", "../../feedback/feedback"], ["ann", 5], [1, 2, 3], {}, None]
)
def test_a_signed_cookie_of_another_shape_is_none(make: Make, application: Flask, content: object) -> None:
    browser = make()
    log_in(browser)
    signer: URLSafeTimedSerializer = operator_session._signer()
    assert status_with(browser, str(signer.dumps(json.loads(json.dumps(content))))) == 401


def test_processes_of_one_server_end_a_session_together(serve: Serve) -> None:
    with serve(API_WORKERS=2, OPERATOR_KEY=KEY, REDIS_PORT=1) as served:
        cookie = logged_in(served)
        assert {status_over_http(served, "GET", "/review", cookie) for _ in range(8)} == {200}
        assert status_over_http(served, "POST", "/review/logout", cookie) == 303
        assert {status_over_http(served, "GET", "/review", cookie) for _ in range(8)} == {401}


def logged_in(served: Served) -> str:
    body = f"key={KEY}&name=ann"
    head = f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n"
    request = f"POST /review/login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{head}\r\n{body}"
    _, headers, _ = served.ask(request.encode())
    match = re.match(r"[^;]+", headers["set-cookie"])
    assert match is not None
    return match[0]


def status_over_http(served: Served, method: str, path: str, cookie: str) -> int:
    head = f"Host: localhost\r\nCookie: {cookie}\r\nConnection: close\r\n"
    return served.ask(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode())[0]
