"""Unreported images: who has access to them, why they are listed, and the effect of a decision."""

import csv
import hashlib
import json
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

import settings
from reports.record import report_store
from review.suggestions import UPTO
from sightline_testing import sample_images
from sightline_testing.redis_server import RedisServer
from storage.audit.log import AuditFile
from tests.reports.test_json_reports import problem_of
from wire.orders.messages import SUGGEST, Outcome
from wire.orders.suggestions import Search, Suggestion, Suggestions
from wire.orders.trainer_desk import TrainerDesk
from wire.redis.address import address_of
from wire.tables.feedback import DECISIONS_FILE, REPORTS_FILE

KEY = "the-operators-key"
OWN = {"Origin": "http://localhost"}
SEARCH = Search(1764510000, 40, "net/7", "net/8", {"near": "the version was taught no class"})


@pytest.fixture(autouse=True)
def listed(queue: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Suggestions:
    monkeypatch.setattr(settings, "OPERATOR_KEY", KEY)
    found = Suggestions(address_of(settings), settings.REDIS_QUEUE, timeout_s=60.0)
    found.replace([], SEARCH)
    return found


@pytest.fixture
def operator(client: FlaskClient) -> FlaskClient:
    assert client.post("/review/login", data={"key": KEY, "name": "Ann"}, headers=OWN).status_code == 303
    return client


@pytest.fixture
def images(uploads_folder: Path) -> list[Suggestion]:
    """Four stored images with a suggestion for each."""
    uploads_folder.mkdir()
    return [suggestion(uploads_folder, number) for number in range(4)]


def suggestion(folder: Path, number: int, **reasons: str) -> Suggestion:
    content = sample_images.jpeg(64, 48, seed=number)
    name = f"{hashlib.md5(content, usedforsecurity=False).hexdigest()}.jpg"
    (folder / name).write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    return Suggestion(sha256, name, "tabby", 0.25, "net/7", reasons or {"unsure": ""}, number)


def tokens(page: str) -> list[dict[str, str]]:
    return [json.loads(unescape(piece.split('"')[0])) for piece in page.split('data-token="')[1:]]


def decide(client: FlaskClient, kind: str, *images: Suggestion, label: str = "", **token: str) -> list[dict[str, Any]]:
    shown = [{"image": each.image, "seen": "0", "upto": str(UPTO), "label": label, **token} for each in images]
    answer = client.post("/review/images", json={"decision": kind, "images": shown}, headers=OWN)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.get_json()["images"]
    return found


def rows(name: str) -> list[dict[str, str]]:
    path = Path(settings.FEEDBACK_FILEPATH).parent / name
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_nobody_comes_in_without_the_key(client: FlaskClient) -> None:
    assert problem_of(client.get("/review/suggestions")) == (401, "operator_key_needed")


def test_images_are_listed_with_the_reasons_and_how_the_list_came_about(
    operator: FlaskClient, listed: Suggestions, uploads_folder: Path
) -> None:
    uploads_folder.mkdir()
    both = suggestion(uploads_folder, 0, unsure="", disputed="tiger_cat")
    listed.replace([both, suggestion(uploads_folder, 1, unlike="")], SEARCH)
    page = operator.get("/review/suggestions").text
    assert [token["image"] for token in tokens(page)] == [each.image for each in listed.read().suggestions]
    assert tokens(page)[0] == {"image": both.image, "label": "tabby", "seen": "0", "upto": str(UPTO)}
    for words in (
        "The candidate answers <strong>tiger cat</strong>", "The best class has a low score", "Unlike all images",
        "Searched 40 stored images", "the candidate net/8", "Not searched: near a taught class, because the version",
        "No trainer is running",
    ):  # fmt: skip
        assert words in page
    assert [token["image"] for token in tokens(operator.get("/review/suggestions?reason=unsure").text)] == [both.image]
    assert tokens(operator.get("/review/suggestions?reason=near").text) == []


def test_pages_follow_one_another(operator: FlaskClient, listed: Suggestions, images: list[Suggestion]) -> None:
    listed.replace(images, SEARCH)
    first = operator.get("/review/suggestions?size=3").text
    assert 'id="next-page"' in first
    last = operator.get("/review/suggestions?size=3&start=3").text
    assert [len(tokens(page)) for page in (first, last)] == [3, 1]
    assert 'id="previous-page"' in last


def test_a_decision_makes_a_case_like_that_of_a_report_and_takes_the_image_off_the_list(
    operator: FlaskClient, listed: Suggestions, images: list[Suggestion]
) -> None:
    listed.replace(images, SEARCH)
    right, wrong, useless, left = images
    [accepted] = decide(operator, "accept", right, label="tabby")
    [corrected] = decide(operator, "correct", wrong, label="lynx")
    [rejected] = decide(operator, "reject", useless)
    assert [each["is_kept"] for each in (accepted, corrected, rejected)] == [True] * 3
    assert [each["status"] for each in (accepted, corrected, rejected)] == ["accepted", "corrected", "rejected"]
    assert listed.read().suggestions == [left]
    kept = rows(REPORTS_FILE)
    assert [(row["image_sha256"], row["label"], row["prediction"]) for row in kept] == [
        (right.image, "tabby", "tabby"),
        (wrong.image, "lynx", "tabby"),
        (useless.image, "", "tabby"),
    ]
    assert {(row["score"], row["model"], row["model_version"], row["comment"]) for row in kept} == {
        ("0.25", "net", "7", "suggested")
    }
    assert [(row["decision"], row["label"], row["reviewer"]) for row in rows(DECISIONS_FILE)] == [
        ("accept", "tabby", "Ann"),
        ("correct", "lynx", "Ann"),
        ("reject", "", "Ann"),
    ]
    assert [(row["image_sha256"], row["final_label"]) for row in report_store().cases(0)] == [
        (right.image, "tabby"),
        (wrong.image, "lynx"),
    ]
    done = [row for row in AuditFile(Path(settings.FEEDBACK_FILEPATH).parent).newest(9) if row.action == "decide"]
    assert [(row.who, row.outcome) for row in done] == [("Ann", "rejected"), ("Ann", "corrected"), ("Ann", "accepted")]


def test_a_decision_can_be_taken_back_and_made_anew(
    operator: FlaskClient, listed: Suggestions, images: list[Suggestion]
) -> None:
    listed.replace(images, SEARCH)
    [first] = decide(operator, "accept", images[0], label="tabby")
    [again] = decide(operator, "reopen", images[0], seen=first["seen"])
    assert (again["is_kept"], again["status"]) == (True, "open")
    [last] = decide(operator, "correct", images[0], label="lynx", seen=again["seen"])
    assert (last["is_kept"], last["label"]) == (True, "lynx")
    assert len(rows(REPORTS_FILE)) == 1


def test_of_two_people_the_second_is_shown_what_the_first_has_decided(
    operator: FlaskClient, listed: Suggestions, images: list[Suggestion]
) -> None:
    listed.replace(images, SEARCH)
    decide(operator, "correct", images[0], label="lynx")
    listed.replace(images, SEARCH)  # as if both were at it at the same moment
    [second] = decide(operator, "reject", images[0])
    assert (second["is_kept"], second["status"], second["label"]) == (False, "corrected", "lynx")
    assert len(rows(REPORTS_FILE)) == len(rows(DECISIONS_FILE)) == 1


def test_an_image_stays_on_the_list_until_its_report_is_kept(
    operator: FlaskClient, listed: Suggestions, images: list[Suggestion], monkeypatch: pytest.MonkeyPatch
) -> None:
    listed.replace(images, SEARCH)
    token = {"image": images[0].image, "seen": "0", "upto": str(UPTO), "label": "tabby"}
    with monkeypatch.context() as full:
        full.setattr(settings, "MIN_FREE_BYTES", 2**62)
        answer = operator.post("/review/images", json={"decision": "accept", "images": [token]}, headers=OWN)
        assert answer.status_code == 507
    assert listed.read().suggestions == images
    [decided] = decide(operator, "accept", images[0], label="tabby")
    assert decided["is_kept"]
    assert len(rows(REPORTS_FILE)) == 1


def test_an_image_that_someone_else_is_reporting_is_not_reported_twice(
    operator: FlaskClient, listed: Suggestions, images: list[Suggestion]
) -> None:
    listed.replace(images, SEARCH)
    everyone = [each.image for each in images]
    assert listed.claim(everyone[:1]) == set(everyone[:1])
    assert listed.claim(everyone[:2]) == {everyone[1]}
    assert [each["is_kept"] for each in decide(operator, "reject", *images)] == [False, False, True, True]
    assert len(rows(REPORTS_FILE)) == 2
    listed.release(everyone)
    assert [each["is_kept"] for each in decide(operator, "reject", *images[:2])] == [True, True]
    assert listed.claim(everyone) == set(everyone)


def test_what_is_gone_or_was_reported_meanwhile_leaves_the_list(
    operator: FlaskClient, listed: Suggestions, images: list[Suggestion], uploads_folder: Path
) -> None:
    listed.replace(images, SEARCH)
    (uploads_folder / images[0].filename).unlink()
    told = str({"filename": images[1].filename, "prediction": "tabby", "score": 0.25})
    assert operator.post("/feedback", data={"report": told}, headers=OWN).status_code == 200
    assert len(tokens(operator.get("/review/suggestions").text)) == 2
    assert listed.read().suggestions == images[2:]
    (uploads_folder / images[2].filename).unlink()
    [decided] = decide(operator, "accept", images[2], label="tabby")
    assert (decided["is_kept"], decided["status"]) == (False, "")
    assert len(rows(REPORTS_FILE)) == 1


def test_forms_decide_without_scripts(operator: FlaskClient, listed: Suggestions, images: list[Suggestion]) -> None:
    listed.replace(images, SEARCH)
    shown = tokens(operator.get("/review/suggestions").text)
    form = {"decision": "accept", "image": [json.dumps(token) for token in shown], "back": "/review/suggestions"}
    answer = operator.post("/review/images", data=form, headers=OWN)
    assert answer.location == "/review/suggestions"
    page = operator.get(answer.location).text
    assert "4 images: accepted." in page
    assert "Nothing here." in page


def test_a_search_is_ordered_and_what_became_of_it_is_shown(operator: FlaskClient, application: Flask) -> None:
    ordered = operator.post("/teach/orders", data={"kind": "suggest"}, headers=OWN)
    assert ordered.status_code == 303
    desk = TrainerDesk(address_of(settings), settings.REDIS_QUEUE, "tests")
    assert desk.lead()
    page = operator.get("/review/suggestions").text
    assert "A search is waiting for the trainer." in page
    assert "No trainer is running" not in page
    order_id = ordered.location.rsplit("/", 1)[1]
    assert desk.find(order_id).kind == SUGGEST
    assert desk.finish(order_id, Outcome("failed", reason="there is no version"))
    assert "The last search failed: there is no version" in operator.get("/review/suggestions").text
    desk.leave()


def test_an_image_is_erased_by_the_form_of_its_card(
    operator: FlaskClient, listed: Suggestions, images: list[Suggestion]
) -> None:
    listed.replace(images[:1], SEARCH)
    field = f'name="image" value="{images[0].filename}"'
    assert operator.get("/review/suggestions").text.count(field) == 1
    decide(operator, "accept", images[0], label="tabby")
    assert operator.get("/review?status=accepted").text.count(field) == 1
    answer = operator.post("/teach/orders", data={"kind": "erase", "image": images[0].filename}, headers=OWN)
    assert answer.status_code == 303
