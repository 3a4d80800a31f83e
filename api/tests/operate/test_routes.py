"""The operator's page: who may see it, and that its figures are those of what was done."""

import time
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

import settings
from operate import recorder
from predict import job_queue
from reports.record import report_store
from sightline_testing.hostile.payloads import MARKUP, Page
from sightline_testing.redis_server import RedisServer
from storage.history.port import DAY, Sample
from storage.reports import files as store
from storage.reports.port import Decision
from tests.serving import MODEL, VERSION, EchoWorker, wait_until
from wire.orders.trainer_desk import TrainerDesk
from wire.redis.address import address_of
from wire.tables.feedback import REPORTS_FILE

KEY = "the-operators-key"
HEADERS = {"X-API-Key": KEY}


@pytest.fixture(autouse=True)
def _operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "OPERATOR_KEY", KEY)


def report(name: str, **cells: str) -> None:
    folder = Path(settings.FEEDBACK_FILEPATH).parent
    given = {"report_id": name, "image_path": f"uploads/{name}.jpg", "prediction": "tabby", "score": "0.5", **cells}
    store.append(folder / "feedback", folder / REPORTS_FILE, name, given)


def page_of(client: FlaskClient, query: str = "") -> str:
    answer = client.get(f"/operate{query}", headers=HEADERS)
    assert answer.status_code == 200
    return answer.text


def test_only_the_operator_sees_it(client: FlaskClient) -> None:
    assert client.get("/operate").status_code == 401
    answer = client.get("/operate", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/review/login?next=/operate")


def test_without_anything_it_says_what_is_missing(client: FlaskClient) -> None:
    page = page_of(client)
    assert 'role="alert"' in page
    assert "No answers and no reports yet." in page
    assert "No orders or decisions yet." in page


def test_it_shows_that_images_cannot_be_stored(
    client: FlaskClient, application: Flask, worker: EchoWorker, tmp_path: Path
) -> None:
    (tmp_path / "no folder").touch()
    application.config["UPLOAD_FOLDER"] = str(tmp_path / "no folder")
    wait_until(lambda: client.get("/readyz").headers.get("X-Error-Code") == "storage_unavailable", "it is noticed")
    assert "Images cannot be stored." in page_of(client)


def test_its_figures_are_those_of_what_was_done(client: FlaskClient, worker: EchoWorker) -> None:
    now = time.time()
    wait_until(lambda: client.get("/readyz").status_code == 200, "the worker is known")
    version = f"{MODEL}/{VERSION}"
    recorder.history().add(
        now,
        [
            Sample("answers", "200", "", 1200),
            Sample("answers", "503", "", 30),
            Sample("dropped", "rejected", "", 30),
            Sample("cache", "hit", "", 1),
            Sample("cache", "miss", "", 3),
            Sample("duration", "0.1", "", 1230),
            Sample("version", version, "", 1200),
            Sample("label", version, "tabby", 1200),
        ],
    )
    recorder.history().add(now - 8 * DAY, [Sample("label", version, "lynx", 5)])
    for name in ("a", "b", "c"):
        report(name, model=MODEL, model_version=VERSION, label="lynx")
    report_store().decide(Decision("a", "accept", "lynx", "ann"))
    page = page_of(client)
    assert "Ready. Nothing is wrong." in page
    for piece in ('id="requests">1230<', 'data-status="503">30<', 'id="hits">25%<', 'id="open-reports">2<'):
        assert piece in page
    numbers = '<td class="number">1200</td><td class="number">3</td>'
    assert f'<tr data-version="{version}"><td dir="auto">{version}</td>{numbers}' in page
    assert '<td class="number">2.5</td>' in page
    assert 'tabby</span> → <strong dir="auto">lynx</strong></a> <span class="count">1</span>' in page
    assert "Class mix changed by</dt><dd>100%" in page
    assert page.count('class="bar ') == 2
    assert 'id="requests">0<' in page_of(client, "?window=7d") or 'id="requests">1230<' in page_of(client, "?window=7d")
    assert "tiger cat" in page_of(client, "?class=tiger_c")
    assert "No class has this" in page_of(client, "?class=nothing+like+it")
    assert client.get("/operate?window=2h", headers=HEADERS).status_code == 400


def test_what_people_have_written_is_text(client: FlaskClient) -> None:
    for number, markup in enumerate(MARKUP):
        report(f"r{number}", prediction=markup, label=markup, model=markup[:50], model_version=markup[:50])
        report_store().decide(Decision(f"r{number}", "correct", f"{markup}!", "ann"))
    recorder.history().add(time.time(), [Sample("label", MARKUP[0], MARKUP[0], 1)])
    # Links to the review name the label, percent-encoded.
    alive = [each for each in Page(page_of(client)).alive if "/review?status=all&label=" not in each]
    assert alive == []


def test_the_page_comes_although_nothing_can_be_read(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(settings.FEEDBACK_FILEPATH).parent
    (folder / "history.sqlite3").mkdir(parents=True)
    monkeypatch.setattr(settings, "REDIS_PORT", 1)
    job_queue.close_queue()
    assert page_of(client).count("<li>") >= 2
    job_queue.close_queue()


def test_versions_can_be_ordered_about_and_an_order_that_nobody_takes_is_told(
    client: FlaskClient, queue: RedisServer
) -> None:
    desk = TrainerDesk(address_of(settings), settings.REDIS_QUEUE, "tests")
    facts = {"labels": 2, "bytes": 5_000_000}
    desk.publish_versions(
        [
            {"version": "m/1", "state": "active", **facts},
            {"version": "m/2", "state": "shadow", **facts},
            {"version": "m/3", "state": "", "imported_at": "2026-01-01T00:00:00+00:00", **facts},
            {"version": "m/4", "state": "", "fault": "it is <broken>"},
        ]
    )
    page = page_of(client)
    counts = {kind: page.count(f'name="kind" value="{kind}"') for kind in ("evaluate", "promote", "shadow", "discard")}
    assert counts == {"evaluate": 2, "promote": 2, "shadow": 2, "discard": 1}
    assert "it is &lt;broken&gt;" in page
    assert "No trainer is running" not in page
    report("a", model="m", model_version="3", label="lynx")
    report_store().decide(Decision("a", "correct", "lynx", "ann"))
    row = page_of(client).partition('id="versions"')[2].partition("m/3</td>")[2].partition("</tr>")[0]
    assert '0% <span class="fine">(0% to 79%) of 1</span><br>' in " ".join(row.split())
    own = {"Origin": "http://localhost", **HEADERS}
    assert client.post("/teach/orders", json={"kind": "shadow", "version": "m/3"}, headers=own).status_code == 201
    page = page_of(client)
    assert "No trainer is running: 1 order waits for one." in page
    assert '<ul class="findings">' in page.partition('<div role="alert">')[2], "a list that is an alert is no list"
    assert desk.lead()
    assert "No trainer is running" not in page_of(client)
    desk.leave()


def test_a_class_shows_its_answers_its_cases_and_one_of_them(client: FlaskClient) -> None:
    recorder.history().add(time.time(), [Sample("label", "m/1", "lynx", 7), Sample("label", "m/1", "tabby", 9)])
    for name in ("a", "b"):
        report(name, model=MODEL, model_version=VERSION, label="lynx")
        report_store().decide(Decision(name, "accept", "lynx", "ann"))
    panel = page_of(client, "?class=LYN").partition('id="classes-title"')[2].partition("</section>")[0]
    assert "7 answers, 2 reviewed" in " ".join(panel.split())
    assert "/display/b.jpg" in panel or "b.jpg" in panel
    assert "tabby" not in panel


def test_the_feature_distance_is_that_of_the_last_search_or_says_why_there_is_none(
    client: FlaskClient, queue: RedisServer
) -> None:
    desk, own = (
        TrainerDesk(address_of(settings), settings.REDIS_QUEUE, "tests"),
        {"Origin": "http://localhost", **HEADERS},
    )
    assert desk.lead()
    assert "Not known: the trainer has not searched" in page_of(client)

    def search(result: dict[str, object]) -> str:
        placed = client.post("/teach/orders", json={"kind": "suggest"}, headers=own).get_json()
        desk.done(placed["id"], result)
        return page_of(client)

    found = {"images": 7, "quantiles": [0.5, 0.625], "in_training": [0.25, 0.375], "furthest": [["a.jpg", 0.75]]}
    page = search({"looked_at": 7, "listed": 0, "notes": {}, "distance": found})
    for piece in ("How far 7 stored images", ">0.50 <", "in training: 0.25", "<span>0.75</span>", "/a.jpg"):
        assert piece in page
    assert "Not known: <no> features." not in page
    assert "Not known: &lt;no&gt; features." in search({"notes": {"unlike": "<no> features"}, "distance": None})
    desk.leave()
