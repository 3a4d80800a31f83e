"""A report can be withdrawn by its reporter, the only one who has its id, until a reviewer has decided on it."""

import csv
from pathlib import Path

import pytest
from flask.testing import FlaskClient

import settings
from reports.submission import REPORTER
from tests.reports.test_json_reports import predicted, problem_of
from wire.tables.feedback import DECISIONS_FILE

__all__ = ["predicted"]

KEY = "the-operators-key"


@pytest.fixture
def report_id(client: FlaskClient, predicted: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(settings, "OPERATOR_KEY", KEY)
    answer = client.post("/feedback", json={"prediction_id": predicted["header"], "label": "lynx"})
    return str(answer.get_json()["report_id"])


def decisions(csv_path: Path) -> list[list[str]]:
    with csv_path.with_name(DECISIONS_FILE).open(newline="") as file:
        return [row[1:] for row in csv.reader(file, strict=True)][1:]


def decide(client: FlaskClient, report_id: str, decision: str) -> int:
    body = {"report_id": report_id, "decision": decision}
    return client.post("/review/decisions", json=body, headers={"X-API-Key": KEY}).status_code


def test_a_report_that_is_withdrawn_is_rejected_by_its_reporter_once(
    client: FlaskClient, report_id: str, csv_path: Path
) -> None:
    assert [client.delete(f"/feedback/{report_id}").status_code for _ in range(2)] == [204, 204]
    assert decisions(csv_path) == [[report_id, "reject", "", REPORTER]]


def test_what_was_reviewed_is_not_withdrawn_and_nobody_learns_by_whom(
    client: FlaskClient, report_id: str, csv_path: Path
) -> None:
    assert decide(client, report_id, "accept") == 201
    refused = client.delete(f"/feedback/{report_id}")
    assert problem_of(refused) == (409, "decided_meanwhile")
    assert "operator" not in refused.text
    assert len(decisions(csv_path)) == 1


def test_the_operator_may_decide_about_what_was_withdrawn(client: FlaskClient, report_id: str, csv_path: Path) -> None:
    client.delete(f"/feedback/{report_id}")
    assert decide(client, report_id, "accept") == 201
    assert [row[1] for row in decisions(csv_path)] == ["reject", "accept"]


@pytest.mark.parametrize("unknown", ["none", "%00", "..", "8e03978e-40d5-43e8-bc93-6894a57f9324"])
def test_what_nobody_has_reported_cannot_be_withdrawn(client: FlaskClient, report_id: str, unknown: str) -> None:
    assert client.delete(f"/feedback/{unknown}").status_code == 404


def test_a_page_of_another_site_withdraws_nothing(client: FlaskClient, report_id: str) -> None:
    assert client.delete(f"/feedback/{report_id}", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
