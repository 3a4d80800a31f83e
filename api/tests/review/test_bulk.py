"""Decisions about many images: as JSON and as the form of the inbox, with labels of the model, and against others'."""

import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.datastructures import MultiDict
from werkzeug.test import TestResponse

from reports.record import report_store
from storage.audit.log import AuditFile
from storage.reports.port import MAX_PAGE_SIZE
from tests.reports.test_json_reports import problem_of
from tests.review.test_routes import HEADERS, OWN, _operator, cards_of, decided, folder, operator, report
from wire.tables.feedback import REPORTS, REPORTS_FILE

# What the page sends as JSON.
AT_ONCE = 100

__all__ = ["_operator", "folder", "operator"]


def cards(client: FlaskClient, query: str = "") -> list[dict[str, str]]:
    return cards_of(client.get(f"/review{query}", headers=HEADERS).text)


def decide(client: FlaskClient, decision: str, images: object, **more: str) -> TestResponse:
    return client.post("/review/images", json={"decision": decision, "images": images, **more}, headers=OWN)


def send_form(client: FlaskClient, decision: str, images: list[dict[str, str]], **more: str) -> TestResponse:
    fields = [("decision", decision), *more.items(), *(("image", json.dumps(image)) for image in images)]
    return client.post("/review/images", data=MultiDict(fields), headers=OWN)


@pytest.fixture
def reported(operator: FlaskClient, folder: Path) -> FlaskClient:
    """Three images: one with two reports, one that its reporter was not sure of."""
    report(folder, "a", label="lynx")
    report(folder, "a2", label="puma", image_path="uploads/a.jpg")
    report(folder, "b", label="Tiger_cat")
    report(folder, "c")
    return operator


def test_every_report_of_each_image_is_decided_about(reported: FlaskClient, folder: Path) -> None:
    images = [{**card, "label": ""} for card in cards(reported)]
    answer = decide(reported, "correct", images, label=" bar   chart ")
    assert [each["label"] for each in answer.get_json()["images"]] == ["bar chart"] * 3
    assert sorted(decided(folder)[1:]) == [[name, "correct", "bar chart", "Ann"] for name in ("a", "a2", "b", "c")]


def test_who_accepts_takes_what_most_reports_of_each_image_say(reported: FlaskClient, folder: Path) -> None:
    found = [card for card in cards(reported) if card["label"]]
    answer = decide(reported, "accept", found)
    assert {each["label"] for each in answer.get_json()["images"]} == {"puma", "Tiger_cat"}
    assert sorted(row[:3] for row in decided(folder)[1:]) == [
        ["a", "correct", "puma"],
        ["a2", "accept", "puma"],
        ["b", "accept", "Tiger_cat"],
    ]


def test_the_form_does_the_same_and_leads_back_to_its_list(reported: FlaskClient, folder: Path) -> None:
    answer = send_form(reported, "accept", cards(reported), back="/review?view=grid")
    assert (answer.status_code, answer.location) == (303, "/review?view=grid")
    assert len(decided(folder)[1:]) == 3, "images that were not named are left out"
    assert "2 images: accepted." in reported.get("/review?view=grid").text
    answer = send_form(reported, "correct", cards(reported), label="bar chart", back="//evil.example")
    assert answer.location == "/review"
    assert decided(folder)[-1] == ["c", "correct", "bar chart", "Ann"]


def test_what_others_have_decided_meanwhile_stays_and_is_told(reported: FlaskClient, folder: Path) -> None:
    shown = cards(reported)
    body = {"report_id": "b", "decision": "reject"}
    reported.application.test_client().post("/review/decisions", json=body, headers=HEADERS)
    outcomes = decide(reported, "correct", shown, label="lynx").get_json()["images"]
    assert [outcome["is_kept"] for outcome in outcomes] == [True, False, True]
    assert (outcomes[1]["status"], outcomes[1]["reviewer"]) == ("rejected", "operator")
    send_form(reported, "reject", shown)
    assert "Ann has decided about an image meanwhile: it is relabelled as lynx." in reported.get("/review").text
    again = decide(reported, "correct", [{**shown[1], "seen": outcomes[1]["seen"]}], label="lynx").get_json()
    assert again["images"][0]["is_kept"]


def test_decisions_are_taken_back(reported: FlaskClient, folder: Path) -> None:
    decide(reported, "reject", cards(reported))
    assert cards(reported) == []
    rejected = cards(reported, "?status=rejected")
    answer = decide(reported, "reopen", rejected).get_json()
    assert {image["status"] for image in answer["images"]} == {"open"}
    assert len(cards(reported)) == 3
    assert [row[1] for row in decided(folder)[-4:]] == ["reopen"] * 4


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ([], "invalid_decision"),
        ({"decision": "accept"}, "invalid_decision"),
        ({"decision": "accept", "images": {}}, "invalid_decision"),
        ({"decision": "approve", "images": []}, "invalid_decision"),
        ({"decision": ["accept"], "images": []}, "invalid_decision"),
        ({"decision": "reject", "images": [1]}, "invalid_decision"),
        ({"decision": "reject", "images": [{"image": "a"}]}, "invalid_decision"),
        ({"decision": "reject", "images": [{"image": "a", "seen": "-1", "upto": "1"}]}, "invalid_decision"),
        ({"decision": "reject", "images": [{"image": "a", "seen": 0, "upto": 1}]}, "invalid_decision"),
        ({"decision": "reject", "images": [{"image": "a", "seen": "0", "upto": "\u0663"}]}, "invalid_decision"),
        ({"decision": "correct", "label": 7, "images": []}, "invalid_decision"),
        ({"decision": "reject", "labels": "x", "images": []}, "invalid_decision"),
        (
            {"decision": "reject", "images": [{"image": "a", "of": "x", "seen": "0", "upto": "9"}]},
            "invalid_decision",
        ),
        ({"decision": "reject", "label": "x" * 201, "images": []}, "invalid_decision"),
        ({"decision": "reject", "images": [{"image": "a", "label": "x" * 201}]}, "invalid_decision"),
        ({"decision": "correct", "images": [{"image": "a", "seen": "0", "upto": "9"}]}, "label_needed"),
        ({"decision": "accept", "label": " ", "images": [{"image": "a", "seen": "0", "upto": "9"}]}, "label_needed"),
        ({"decision": "reject", "images": [{"image": "a"}] * (MAX_PAGE_SIZE + 1)}, "invalid_decision"),
    ],
)
def test_what_is_no_decision_is_told_and_not_kept(reported: FlaskClient, folder: Path, body: Any, code: str) -> None:
    assert problem_of(reported.post("/review/images", json=body, headers=OWN)) == (400, code)
    assert not (folder / "decisions.csv").exists()


def test_nobody_decides_without_the_key_or_from_another_page(reported: FlaskClient, folder: Path) -> None:
    body = {"decision": "reject", "images": cards(reported)}
    stranger = reported.application.test_client()
    assert problem_of(stranger.post("/review/images", json=body, headers=OWN)) == (401, "operator_key_needed")
    assert reported.post("/review/images", json=body, headers={"Origin": "https://evil.example"}).status_code == 403
    assert not (folder / "decisions.csv").exists()


def test_the_inbox_flags_contradictions_and_reports_that_differ(reported: FlaskClient, folder: Path) -> None:
    report(folder, "d", prediction="tabby", label="Tabby")
    page = reported.get("/review").text
    assert page.count("reported as predicted") == 1
    assert page.count("reports differ") == 1


def test_as_many_images_as_a_page_shows_are_decided_about_in_one_piece(
    reported: FlaskClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is counted are the writes; seconds are for benchmarks."""
    with (folder / REPORTS_FILE).open("a") as file:
        for number in range(MAX_PAGE_SIZE):
            named = {"report_id": f"more{number}", "image_path": f"{number}.jpg", "image_sha256": f"{number:064x}"}
            file.write(f"{REPORTS.line({'label': 'black and gold garden spider', 'prediction': 'tabby', **named})}\n")
    shown = cards(reported, "?size=500&view=grid")
    assert len(shown) == MAX_PAGE_SIZE
    synced: list[int] = []
    monkeypatch.setattr("storage.reports.files.os.fdatasync", synced.append)
    for at in range(0, MAX_PAGE_SIZE, AT_ONCE):
        answer = decide(reported, "accept", shown[at : at + AT_ONCE])
        assert answer.status_code == 200, answer.text
        assert len(answer.get_json()["images"]) == AT_ONCE
    assert len(synced) == 2 * MAX_PAGE_SIZE / AT_ONCE  # the decisions, and a row of the audit log
    assert report_store().find("more99")["status"] == "accepted"  # type: ignore[index]
    assert send_form(reported, "reject", cards(reported, "?size=500&status=accepted")).status_code == 303
    assert len(synced) == 2 * (MAX_PAGE_SIZE / AT_ONCE + 1)
    assert [(row.action, row.outcome, row.subject["images"]) for row in AuditFile(folder).newest(2)] == [
        ("decide", "rejected", str(MAX_PAGE_SIZE)),
        ("decide", "accepted", str(AT_ONCE)),
    ]
    assert report_store().find("more99")["status"] == "rejected"  # type: ignore[index]
