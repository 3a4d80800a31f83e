"""The review: who may come in, what the inbox shows, what becomes of decisions, and what can be taken along."""

import csv
import io
import json
import zipfile
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import settings
from app import create_app
from auth import operator_session
from reports import export
from sightline_testing.hostile.payloads import MARKUP, Page
from storage.reports import files as store
from storage.reports import port, queries
from tests.reports.test_json_reports import problem_of
from wire.tables.feedback import CASES_CSV, CASES_JSONL, DECISIONS_FILE, REPORTS_FILE

KEY = "the-operators-key"
HEADERS = {"X-API-Key": KEY}
OWN = {"Origin": "http://localhost"}


@pytest.fixture(autouse=True)
def _operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "OPERATOR_KEY", KEY)


@pytest.fixture
def folder(application: Flask) -> Path:
    return Path(settings.FEEDBACK_FILEPATH).parent


@pytest.fixture
def operator(client: FlaskClient) -> FlaskClient:
    """A user who has signed in with the key in a browser."""
    answer = client.post("/review/login", data={"key": KEY, "name": "Ann"}, headers=OWN)
    assert answer.status_code == 303
    return client


def report(folder: Path, name: str, **cells: str) -> None:
    given = {"report_id": name, "image_path": f"uploads/{name}.jpg", "prediction": "tabby", "score": "0.5", **cells}
    store.append(folder / "feedback", folder / REPORTS_FILE, name, given)


def decide(client: FlaskClient, name: str, decision: str, label: str = "", **headers: str) -> TestResponse:
    body = {"report_id": name, "decision": decision, "label": label}
    return client.post("/review/decisions", json=body, headers=headers or OWN)


def decided(folder: Path) -> list[list[str]]:
    with (folder / DECISIONS_FILE).open(newline="") as file:
        return [row[1:] for row in csv.reader(file, strict=True)]


def shown(client: FlaskClient, query: str = "") -> list[str]:
    """The reports on a page of the inbox."""
    answer = client.get(f"/review{query}", headers=HEADERS)
    assert answer.status_code == 200, answer.text
    return [piece.split('"')[0] for piece in answer.text.split('data-report="')[1:]]


def cards_of(page: str) -> list[dict[str, str]]:
    """What the inbox shows of each image, as its forms send it."""
    return [json.loads(unescape(piece.split('"')[0])) for piece in page.split('data-token="')[1:]]


PATHS = ("/review", "/review/cases.csv", "/review/cases.jsonl", "/review/cases.zip", "/review/label-studio.zip")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("key", ["", "wrong"])
def test_nobody_comes_in_without_the_key(client: FlaskClient, path: str, key: str) -> None:
    assert problem_of(client.get(path, headers={"X-API-Key": key})) == (401, "operator_key_needed")
    led = client.get(path, headers={"Accept": "text/html", "X-API-Key": key})
    assert (led.status_code, led.location) == (302, f"/review/login?next={path}")


def test_nobody_decides_without_the_key(client: FlaskClient, folder: Path) -> None:
    report(folder, "a", label="lynx")
    assert problem_of(decide(client, "a", "accept")) == (401, "operator_key_needed")
    assert not (folder / DECISIONS_FILE).exists()


@pytest.mark.parametrize("path", PATHS)
def test_the_key_opens_in_a_header_or_once_shown(client: FlaskClient, path: str) -> None:
    assert client.get(path, headers=HEADERS).status_code == 200
    client.post("/review/login", data={"key": KEY}, headers=OWN)
    assert client.get(path).status_code == 200
    client.post("/review/logout", headers=OWN)
    assert client.get(path).status_code == 401


def test_a_wrong_key_opens_nothing_and_calls_up_no_dialogue(client: FlaskClient) -> None:
    answer = client.post("/review/login", data={"key": "wrong"}, headers=OWN)
    assert answer.status_code == 403
    assert "WWW-Authenticate" not in answer.headers
    assert "Set-Cookie" not in answer.headers
    assert client.get("/review").status_code == 401


def test_without_an_operator_s_key_the_door_says_that_it_is_closed(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "OPERATOR_KEY", "")
    assert "OPERATOR_KEY" in client.get("/review/login").text
    assert client.post("/review/login", data={"key": ""}, headers=OWN).status_code == 403


def test_the_cookie_is_for_this_site_alone_and_for_no_script(client: FlaskClient) -> None:
    answer = client.post("/review/login", data={"key": KEY}, headers=OWN)
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert KEY not in cookie
    secure = client.post("/review/login", data={"key": KEY}, base_url="https://localhost")
    assert "Secure" in secure.headers["Set-Cookie"]


@pytest.mark.parametrize("value", ["", "x", "Ann", "eyJ.x.y"])
def test_no_other_cookie_opens(client: FlaskClient, value: str) -> None:
    client.set_cookie(operator_session.COOKIE, value)
    assert client.get("/review").status_code == 401


@pytest.mark.parametrize("name", ["OPERATOR_KEY", "SECRET_KEY"])
def test_another_key_closes_what_was_open(operator: FlaskClient, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert operator.get("/review").status_code == 200
    monkeypatch.setattr(settings, name, "another")
    assert operator.get("/review").status_code == 401


def test_a_cookie_is_not_for_ever(operator: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator_session, "MAX_AGE_S", -1)
    assert operator.get("/review").status_code == 401


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "none"}, {}]
)
def test_a_cookie_alone_changes_nothing_unless_our_page_sent_it(
    operator: FlaskClient, folder: Path, headers: dict[str, str]
) -> None:
    report(folder, "a", label="lynx")
    body = {"report_id": "a", "decision": "accept"}
    assert operator.post("/review/decisions", json=body, headers=headers).status_code in {401, 403}
    assert not (folder / DECISIONS_FILE).exists()


def test_where_others_bring_keys_the_operator_needs_no_further_one(
    application: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keys").write_text("")
    monkeypatch.setattr(settings, "API_KEYS_FILE", str(tmp_path / "keys"))
    client = create_app().test_client()
    assert client.get("/review", headers={"Accept": "text/html"}).status_code == 302
    assert client.get("/labels").status_code == 401
    assert client.get("/review/login").status_code == 200
    client.post("/review/login", data={"key": KEY}, headers=OWN)
    assert [client.get(path).status_code for path in ("/review", "/labels")] == [200, 200]


def test_decisions_are_kept_as_they_were_made(operator: FlaskClient, folder: Path) -> None:
    for name, label in (("a", "lynx"), ("b", "puma"), ("c", "")):
        report(folder, name, label=label)
    answers = [
        decide(operator, "a", "accept"),
        decide(operator, "b", "correct", " bar   chart "),
        decide(operator, "c", "reject", "ignored"),
        decide(operator, "b", "correct", "=pie"),
    ]
    assert [answer.status_code for answer in answers] == [201] * 4
    assert [answer.get_json()["label"] for answer in answers] == ["lynx", "bar chart", "", "=pie"]
    assert decided(folder) == [
        ["report_id", "decision", "label", "reviewer"],
        ["a", "accept", "lynx", "Ann"],
        ["b", "correct", "bar chart", "Ann"],
        ["c", "reject", "", "Ann"],
        ["b", "correct", "'=pie", "Ann"],
    ]
    program = operator.application.test_client()
    assert decide(program, "a", "reject", **HEADERS).get_json()["status"] == "rejected"
    assert decided(folder)[-1] == ["a", "reject", "", "operator"]


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        (("a", "accept", ""), (400, "label_needed")),
        (("a", "correct", ""), (400, "label_needed")),
        (("a", "correct", "  "), (400, "label_needed")),
        (("a", "correct", "x" * 201), (400, "label_needed")),
        (("a", "approve", "lynx"), (400, "invalid_decision")),
        (("nobody", "accept", "lynx"), (404, "report_unknown")),
    ],
)
def test_what_is_no_decision_is_told_and_not_kept(
    operator: FlaskClient, folder: Path, told: tuple[str, str, str], problem: tuple[int, str]
) -> None:
    report(folder, "a")
    assert problem_of(decide(operator, *told)) == problem
    assert not (folder / DECISIONS_FILE).exists()


@pytest.mark.parametrize("body", [[], "x", {"report_id": 7}, {"decision": None}])
def test_what_is_no_object_of_texts_is_no_decision(operator: FlaskClient, body: object) -> None:
    assert problem_of(operator.post("/review/decisions", json=body, headers=OWN))[0] == 400


def test_what_is_no_character_names_no_report_and_is_kept_as_none(operator: FlaskClient, folder: Path) -> None:
    report(folder, "a")
    assert problem_of(decide(operator, "\ud800", "reject")) == (404, "report_unknown")
    assert decide(operator, "a", "correct", "ly\udfffnx").get_json()["label"] == "ly?nx"


@pytest.mark.parametrize("body", [b"[" * 3_000 + b"]" * 3_000, b"{"])
def test_what_is_no_json_is_no_decision(operator: FlaskClient, body: bytes) -> None:
    answer = operator.post("/review/decisions", data=body, content_type="application/json", headers=OWN)
    assert problem_of(answer) == (400, "malformed")


def test_the_plain_form_does_the_same(operator: FlaskClient, folder: Path) -> None:
    report(folder, "a", label="lynx")
    fields = {"report_id": "a", "decision": "accept", "label": ""}
    answer = operator.post("/review/decisions", data=fields, headers=OWN)
    assert (answer.status_code, answer.location) == (303, "/review")
    assert decided(folder)[1] == ["a", "accept", "lynx", "Ann"]


def test_the_inbox_shows_what_is_open_newest_first_page_by_page(client: FlaskClient, folder: Path) -> None:
    count = 2 * port.PAGE_SIZE + 3
    for number in range(count):
        report(folder, str(number))
    seen, query = [], ""
    while True:
        page = client.get(f"/review{query}", headers=HEADERS).text
        seen += shown(client, query)
        if 'rel="next"' not in page:
            break
        query = page.split('id="next-page"')[1].split('href="/review')[1].split('"')[0].replace("&amp;", "&")
    assert seen == [str(number) for number in reversed(range(count))]


def test_the_inbox_is_filtered_by_status_label_and_model_and_counts(client: FlaskClient, folder: Path) -> None:
    report(folder, "a", label="lynx", model="net", model_version="1")
    report(folder, "b", label="puma", model="net", model_version="2")
    report(folder, "c", prediction="lynx", model="net", model_version="2")
    decide(client, "b", "accept", **HEADERS)
    decide(client, "c", "correct", "bar chart", **HEADERS)
    queries = {
        "": ["a"],
        "?status=all": ["c", "b", "a"],
        "?status=accepted": ["b"],
        "?status=all&label=lynx": ["c", "a"],
        "?status=all&label=bar%20chart": ["c"],
        "?status=all&model=net/2": ["c", "b"],
        "?status=open&model=net/2": [],
    }
    assert {query: shown(client, query) for query in queries} == queries
    page = client.get("/review?status=all&model=net/2", headers=HEADERS).text
    counts = [piece.split("<")[0].split(">")[1].strip() for piece in page.split('class="tab-count"')[1:]]
    assert counts == ["0", "1", "1", "0", "2"]
    assert '<option value="bar chart">' in page
    assert page.count("<option>net/1") == 1


@pytest.mark.parametrize(
    "query",
    [
        *("?status=done", "?label=%00", "?model=" + "x" * 401, "?order=random", "?size=501", "?size=0", "?view=map"),
        *("?place=after", "?place=after~x~1", "?place=after~e~1", "?since=today", "?until=2026-13-01"),
    ],
)
def test_filters_that_are_none_are_refused(client: FlaskClient, query: str) -> None:
    assert problem_of(client.get(f"/review{query}", headers=HEADERS)) == (400, "invalid_parameter")


def test_whatever_reporters_write_is_shown_as_text(client: FlaskClient, folder: Path) -> None:
    payloads = [text for text in MARKUP if text.isprintable()]
    for number, text in enumerate(payloads):
        names = {"label": text, "comment": text, "prediction": text, "model": text, "model_version": text}
        report(folder, str(number), reported_at=text, **names)
        decide(client, str(number), "correct", text, **HEADERS)
    query = "?status=all"
    while query:
        page = client.get(f"/review{query}", headers=HEADERS).text
        assert Page(page).alive == []
        _, _, rest = page.partition('id="next-page"')
        query = rest.split('href="/review')[1].split('"')[0].replace("&amp;", "&") if rest else ""


def test_a_report_without_an_image_or_a_score_is_shown(client: FlaskClient, folder: Path) -> None:
    report(folder, "a", image_path="", score="", prediction="")
    report(folder, "b", image_path="..")
    assert shown(client) == ["b", "a"]


@pytest.fixture
def reviewed(client: FlaskClient, folder: Path, uploads_folder: Path) -> FlaskClient:
    """Four reviewed images, one of them twice, one gone, and what is not to be taken along."""
    uploads_folder.mkdir()
    for name in ("a", "b", "c", "open", "bad"):
        (uploads_folder / f"{name}.jpg").write_bytes(b"\xff\xd8\xff" + name.encode() * 1000)
        report(folder, name, label="lynx", comment="=SUM(A1)")
    report(folder, "again", image_path="uploads/a.jpg", label="puma")
    report(folder, "gone", label="lynx")
    for name in ("a", "again", "gone"):
        decide(client, name, "accept", **HEADERS)
    decide(client, "b", "correct", "../bar: chart", **HEADERS)
    decide(client, "c", "correct", "lynx", **HEADERS)
    decide(client, "bad", "accept", **HEADERS)
    decide(client, "bad", "reject", **HEADERS)
    return client


FILES = {"%2E./x": "", "%2E.%2Fbar%3A chart/b.jpg": "b", "lynx/c.jpg": "c", "puma/a.jpg": "a"}


def test_images_are_taken_along_in_folders_by_label(reviewed: FlaskClient) -> None:
    answer = reviewed.get("/review/cases.zip", headers=HEADERS)
    assert "attachment" in answer.headers["Content-Disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        assert archive.testzip() is None
        names = [name for name in archive.namelist() if "/" in name]
        assert sorted(names) == sorted(name for name, text in FILES.items() if text)
        for name in names:
            assert archive.read(name) == b"\xff\xd8\xff" + FILES[name].encode() * 1000
        lines = [json.loads(line) for line in archive.read(CASES_JSONL).splitlines()]
        assert [line["file_name"] for line in lines] == names
        table = list(csv.DictReader(io.StringIO(archive.read(CASES_CSV).decode())))
        assert [row["label"] for row in table] == [line["label"] for line in lines]


def test_the_tables_say_what_was_decided_and_run_no_formula(reviewed: FlaskClient) -> None:
    rows: list[dict[str, Any]] = [
        json.loads(line) for line in reviewed.get("/review/cases.jsonl", headers=HEADERS).text.splitlines()
    ]
    assert {row["report_id"]: row["label"] for row in rows} == {
        **{"b": "../bar: chart", "c": "lynx", "again": "puma", "gone": "lynx"}
    }
    assert rows[0]["comment"] == "=SUM(A1)"
    table = list(csv.DictReader(io.StringIO(reviewed.get("/review/cases.csv", headers=HEADERS).text)))
    assert [row["report_id"] for row in table] == [row["report_id"] for row in rows]
    assert table[0]["comment"] == "'=SUM(A1)"


def test_an_image_that_is_another_one_by_now_stays_here(
    client: FlaskClient, folder: Path, uploads_folder: Path
) -> None:
    uploads_folder.mkdir()
    (uploads_folder / "a.jpg").write_bytes(b"\xff\xd8\xff")
    report(folder, "a", label="lynx", image_sha256="0" * 64)
    decide(client, "a", "accept", **HEADERS)
    with zipfile.ZipFile(io.BytesIO(client.get("/review/cases.zip", headers=HEADERS).data)) as archive:
        assert archive.namelist() == [CASES_CSV, CASES_JSONL]


@pytest.mark.parametrize("piece", [1, 7])
def test_a_page_of_cases_more_or_less_changes_no_table(
    reviewed: FlaskClient, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    before = reviewed.get("/review/cases.csv", headers=HEADERS).data
    monkeypatch.setattr(queries, "CASES_AT_ONCE", piece)
    monkeypatch.setattr(export, "PIECE_CHARACTERS", piece)
    assert reviewed.get("/review/cases.csv", headers=HEADERS).data == before


def test_a_decision_about_what_another_reviewer_has_decided_since_is_refused(
    operator: FlaskClient, folder: Path
) -> None:
    report(folder, "a", label="lynx")
    assert cards_of(operator.get("/review").text)[0]["seen"] == "0"
    form = {"report_id": "a", "decision": "correct", "label": "puma", "seen": "0"}
    kept = operator.post("/review/decisions", json={**form, "decision": "accept", "label": ""}, headers=OWN).get_json()
    page = operator.post("/review/decisions", data=form, headers=OWN | {"Accept": "text/html"})
    assert page.status_code == 409
    assert "Ann has decided about this report meanwhile: it is accepted as lynx." in page.text
    assert decided(folder)[1:] == [["a", "accept", "lynx", "Ann"]]
    assert cards_of(operator.get("/review?status=all").text)[0]["seen"] == kept["seen"]
    assert operator.post("/review/decisions", data={**form, "seen": kept["seen"]}, headers=OWN).status_code == 303
    assert decided(folder)[-1] == ["a", "correct", "puma", "Ann"]


@pytest.mark.parametrize("seen", ["-1", "one", "0x1", "9" * 20, "\u0663"])
def test_a_decision_names_what_it_saw_by_number(operator: FlaskClient, folder: Path, seen: str) -> None:
    report(folder, "a", label="lynx")
    answer = operator.post(
        "/review/decisions", json={"report_id": "a", "decision": "accept", "seen": seen}, headers=OWN
    )
    assert problem_of(answer) == (400, "invalid_decision")
