"""One class, however its label is written, whether or not a worker is alive, and the last decision about an image."""

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

import settings
from reports import schema, submission
from storage.images.folder import image_folder
from storage.reports import files as store
from storage.reports import keys, port
from tests.reports.test_json_reports import rows_of
from tests.review.test_routes import HEADERS, KEY, decide, decided, report, shown
from tests.serving import EchoWorker, wait_until
from wire.tables.feedback import RENAMES, RENAMES_FILE

# One class each.
KNOWN_SPELLINGS = (
    "tiger cat",
    "Tiger_Cat",
    " TIGER\u00a0 cat",
    "\uff54\uff49\uff47\uff45\uff52 cat",
    "tiger\u200b cat",
    "tiger__cat",
)
NEW_SPELLINGS = (
    "cafe\u0301 chart",
    "Caf\u00e9  Chart",
    "caf\u00e9_chart",
    "CAF\u00c9 CHART",
    "caf\u00e9\u3000chart",
    "\ufeffcaf\u00e9 ch\u00adart",
)


@pytest.fixture(autouse=True)
def _operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "OPERATOR_KEY", KEY)


@pytest.fixture
def folder(application: Flask) -> Path:
    return Path(settings.FEEDBACK_FILEPATH).parent


def exported(client: FlaskClient) -> list[dict[str, Any]]:
    lines = client.get("/review/cases.jsonl", headers=HEADERS).text.splitlines()
    return [json.loads(line) for line in lines]


def exported_labels(client: FlaskClient) -> set[str]:
    return {case["label"] for case in exported(client)}


def test_what_is_reviewed_while_no_worker_is_alive_is_the_model_s_class_once_one_is(
    client: FlaskClient, folder: Path, request: pytest.FixtureRequest
) -> None:
    for number, label in enumerate(KNOWN_SPELLINGS):
        report(folder, f"a{number}", label=label)
        report(folder, f"c{number}")
        decide(client, f"a{number}", "accept", **HEADERS)
        decide(client, f"c{number}", "correct", label, **HEADERS)
    assert len(exported_labels(client)) == 1
    request.getfixturevalue("worker")
    wait_until(lambda: client.get("/readyz").status_code == 200, "the worker has a heartbeat")
    assert exported_labels(client) == {"tiger_cat"}
    assert {case["file_name"].partition("/")[0] for case in exported(client)} == {"tiger_cat"}


def test_what_was_reported_while_no_worker_was_alive_is_not_new_to_the_model(
    client: FlaskClient, folder: Path, worker: EchoWorker
) -> None:
    report(folder, "a", label="tiger cat")
    report(folder, "b", label="Tiger  CAT")
    wait_until(lambda: client.get("/readyz").status_code == 200, "the worker has a heartbeat")
    assert "new to the model" not in client.get("/review", headers=HEADERS).text
    report(folder, "c", label="bar chart")
    assert client.get("/review", headers=HEADERS).text.count("new to the model") == 1


def test_new_labels_that_differ_in_their_spelling_alone_are_one_class(client: FlaskClient, folder: Path) -> None:
    for number, label in enumerate(NEW_SPELLINGS):
        report(folder, f"a{number}", label=label)
        report(folder, f"c{number}")
        decide(client, f"a{number}", "accept", **HEADERS)
        decide(client, f"c{number}", "correct", label, **HEADERS)
    assert exported_labels(client) == {"caf\u00e9 chart"}
    assert {row[2] for row in decided(folder)[1:]} == {"caf\u00e9 chart"}
    page = client.get("/review", headers=HEADERS).text
    assert page.split('<datalist id="labels">')[1].count("<option") == 1
    for label in NEW_SPELLINGS:
        assert len(shown(client, f"?status=all&label={label}")) == 2 * len(NEW_SPELLINGS)


def test_decisions_of_an_earlier_release_are_one_class_too(client: FlaskClient, folder: Path) -> None:
    for number, label in enumerate(NEW_SPELLINGS):
        report(folder, f"a{number}")
        store.append_decision(folder, port.Decision(f"a{number}", "correct", label, "Ann"))
    assert exported_labels(client) == {"caf\u00e9 chart"}


def test_labels_that_differ_in_more_stay_apart(client: FlaskClient, folder: Path) -> None:
    labels = (
        "cafe chart",
        "caf\u00e9 chart",
        "caf\u00e9-chart",
        "caf\u00e9chart",
        "caf\u00e9 charts",
        "\u5716",
        "\u5716\u8868",
    )
    for number, label in enumerate(labels):
        report(folder, f"a{number}")
        decide(client, f"a{number}", "correct", label, **HEADERS)
    assert [case["label"] for case in exported(client)] == list(labels)


@pytest.mark.parametrize("label", ["\u200b", "_ _", "\ufeff\u00ad", "\u3164", "\x00\x07"])
def test_a_label_of_which_nothing_is_shown_is_none(client: FlaskClient, folder: Path, label: str) -> None:
    report(folder, "a", label=label)
    assert decide(client, "a", "accept", **HEADERS).status_code == 400
    assert decide(client, "a", "correct", label, **HEADERS).status_code == 400
    assert "Reported without a label." in client.get("/review", headers=HEADERS).text


@pytest.fixture
def said(client: FlaskClient, asked: list[str], image: bytes) -> str:
    """The prediction id of an answer that was given without a worker."""
    return str(client.post("/predict", data=image, content_type="image/jpeg").headers["X-Prediction-Id"])


@pytest.mark.parametrize("is_file_of_keys_kept", [True, False])
@pytest.mark.parametrize("label", [*KNOWN_SPELLINGS, "bar \u200bchart", ""])
def test_a_retry_is_the_same_report_whatever_has_become_known_since(
    client: FlaskClient, said: str, request: pytest.FixtureRequest, label: str, is_file_of_keys_kept: bool
) -> None:
    form = {"report": "{'filename': 'a.jpg', 'prediction': 'tabby', 'score': 0.5}", "label": label}
    folder = Path(settings.FEEDBACK_FILEPATH).parent

    def send() -> tuple[int, str, int]:
        body, headers = {"prediction_id": said, "label": label}, {"Idempotency-Key": "one"}
        sent = client.post("/feedback", json=body, headers=headers)
        sent_form = client.post("/feedback", data=form, headers={"Idempotency-Key": "two"})
        return sent.status_code, sent.get_json().get("report_id", ""), sent_form.status_code

    first = send()
    if not is_file_of_keys_kept:
        (folder / keys.KEYS_NAME).unlink()
    request.getfixturevalue("worker")
    wait_until(lambda: client.get("/readyz").status_code == 200, "the worker has a heartbeat")
    assert [first, send()] == [(201, first[1], 200)] * 2
    assert len(rows_of(folder / "feedback.csv")) == 2


def test_for_one_image_the_last_decision_counts_and_not_the_last_report(client: FlaskClient, folder: Path) -> None:
    for name in ("first", "second"):
        report(folder, name, image_path="uploads/same.jpg")
    decide(client, "second", "correct", "puma", **HEADERS)
    decide(client, "first", "correct", "lynx", **HEADERS)
    assert [(case["label"], case["report_id"]) for case in exported(client)] == [("lynx", "first")]
    decide(client, "second", "correct", "ocelot", **HEADERS)
    assert [case["label"] for case in exported(client)] == ["ocelot"]
    # The label of a rejected report is not used; the decision about another one is kept.
    decide(client, "second", "reject", **HEADERS)
    assert [case["label"] for case in exported(client)] == ["lynx"]


def test_the_same_bytes_under_two_names_are_one_image(client: FlaskClient, folder: Path) -> None:
    for name in ("a.jpg", "a.jpeg"):
        report(folder, name, image_path=f"uploads/{name}", image_sha256="ab" * 32)
    decide(client, "a.jpeg", "correct", "puma", **HEADERS)
    decide(client, "a.jpg", "correct", "lynx", **HEADERS)
    assert [case["label"] for case in exported(client)] == ["lynx"]


def test_the_tables_and_pages_of_a_case_agree(client: FlaskClient, folder: Path) -> None:
    for name in ("first", "second"):
        report(folder, name, image_path="uploads/same.jpg")
    decide(client, "second", "correct", "puma", **HEADERS)
    decide(client, "first", "correct", "lynx", **HEADERS)
    table = list(csv.DictReader(io.StringIO(client.get("/review/cases.csv", headers=HEADERS).text)))
    assert [row["report_id"] for row in table] == [case["report_id"] for case in exported(client)]


def test_a_report_s_label_is_kept_without_what_nobody_sees(application: Flask, folder: Path) -> None:
    text = "{'filename': 'a.jpg', 'prediction': 'tabby', 'score': 0.5}"
    with application.test_request_context():
        sent = submission.Submission(text, schema.parse(text), {"label": "bar \u200b\u00ad chart\u202e"})
        submission.save(sent, image_folder(folder))
    assert rows_of(folder / "feedback.csv")[0]["label"] == "bar chart"


def test_what_was_renamed_or_merged_has_its_name_everywhere(client: FlaskClient, folder: Path) -> None:
    for number, label in enumerate(("bar chart", "Bar_Graph", "column chart", "lynx")):
        report(folder, f"a{number}", label=label)
        decide(client, f"a{number}", "accept", **HEADERS)
    report(folder, "later", label="BAR chart")
    rows = [("bar graph", "bar chart"), ("bar_chart", "Column chart"), ("lynx", "wild cat"), ("nothing", ""), ("", "x")]
    lines = [RENAMES.line({"label": label, "name": name}) for label, name in rows]
    (folder / RENAMES_FILE).write_text("\n".join((RENAMES.header_line, *lines, '"half a r')))
    assert [case["label"] for case in exported(client)] == ["Column chart"] * 3 + ["wild cat"]
    page = client.get("/review?status=all", headers=HEADERS).text
    assert page.split('<datalist id="labels">')[1].count("<option") == 2
    # What was reported stays as it was written.
    assert page.count("Reported as <strong>bar chart</strong>") == 1
    assert page.count("Accepted as <strong>Column chart</strong>") == 3
    for label in ("bar graph", "BAR chart", "column_chart"):
        assert len(shown(client, f"?status=all&label={label}")) == 4
    assert decide(client, "later", "accept", **HEADERS).get_json()["label"] == "Column chart"
    (folder / RENAMES_FILE).unlink()
    assert [case["label"] for case in exported(client)] == [
        "bar chart",
        "Bar_Graph",
        "column chart",
        "lynx",
        "column chart",
    ]


def test_a_rename_is_noticed_at_once_though_the_file_s_time_stays(client: FlaskClient, folder: Path) -> None:
    report(folder, "a", label="lynx")
    decide(client, "a", "accept", **HEADERS)
    path = folder / RENAMES_FILE
    lines = [RENAMES.header_line]
    for name in ("wild cat", "small cat"):
        lines.append(RENAMES.line({"label": "lynx", "name": name}))
        path.write_text("\n".join(lines) + "\n")
        os.utime(path, ns=(1, 1))
        assert exported_labels(client) == {name}
