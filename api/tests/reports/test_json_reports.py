"""Reports as JSON: by the prediction's id or the image's name, once for each key."""

import csv
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import settings
from reports import submission
from reports.schema import MAX_COMMENT, MAX_LABEL
from tests.conftest import Serve
from tests.serving import LABELS, MODEL, VERSION, EchoWorker, raw_image, wait_until

REPORT = "/feedback"


@pytest.fixture
def predicted(client: FlaskClient, asked: list[str], image: bytes) -> dict[str, Any]:
    """What an image was answered, by a model without a queue."""
    answer = client.post("/predict?top_k=1", data=image, content_type="image/jpeg")
    return {**answer.get_json(), "header": answer.headers["X-Prediction-Id"]}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


def problem_of(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["code"]


def test_a_prediction_is_reported_by_its_id(
    client: FlaskClient, predicted: dict[str, Any], csv_path: Path, uploads_folder: Path
) -> None:
    assert predicted["prediction_id"] == predicted["header"]
    answer = client.post(REPORT, json={"prediction_id": predicted["header"], "label": "lynx", "comment": "wild"})
    assert answer.status_code == 201
    [row] = rows_of(csv_path)
    assert answer.get_json() == {"success": True, "report_id": row["report_id"], "label_known": None}
    assert row["image_path"] == str(uploads_folder / predicted["filename"])
    assert (row["prediction"], row["score"]) == ("tabby", "0.8765")
    assert (row["label"], row["comment"]) == ("lynx", "wild")
    said = f"{{'filename': '{predicted['filename']}', 'prediction': 'tabby', 'score': 0.8765}}\n"
    assert csv_path.with_name("feedback").read_text() == said


def test_an_image_is_reported_by_its_name_and_the_model_is_asked_what_it_says(
    client: FlaskClient, predicted: dict[str, Any], csv_path: Path, asked: list[str]
) -> None:
    assert client.post(REPORT, json={"filename": predicted["filename"]}).status_code == 201
    assert asked == [predicted["filename"]] * 2
    [row] = rows_of(csv_path)
    assert (row["prediction"], row["score"], row["label"]) == ("tabby", "0.8765", "")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ([], (400, "invalid_report")),
        ({"label": "lynx"}, (400, "invalid_report")),
        ({"report": "it is a lynx"}, (400, "invalid_report")),  # a form's field: refused, rather than lost
        ({"filename": 7}, (400, "invalid_report")),
        ({"filename": "a.jpg", "labels": "lynx"}, (400, "invalid_report")),
        ({"filename": "a.jpg", "label": "x" * 201}, (400, "invalid_report")),
        ({"filename": "a.jpg", "comment": "x" * 2001}, (400, "invalid_report")),
        ({"filename": "a.jpg"}, (404, "picture_unknown")),
        ({"filename": "../feedback/feedback"}, (404, "picture_unknown")),
        ({"prediction_id": "1f" * 16}, (404, "prediction_unknown")),
        ({"prediction_id": "invented", "filename": "a.jpg"}, (404, "prediction_unknown")),
    ],
)
def test_what_is_no_report_is_told_in_words_and_not_kept(
    client: FlaskClient, csv_path: Path, body: object, problem: tuple[int, str]
) -> None:
    assert problem_of(client.post(REPORT, json=body)) == problem
    assert not csv_path.exists()


DEEP = (b"[" * 3_000 + b"]" * 3_000, b'{"label":' * 3_000 + b"1" + b"}" * 3_000)


@pytest.mark.parametrize("body", [b"", b"{", b'{"filename": NaN', b"\xff", *DEEP])
def test_what_is_no_json_is_malformed(client: FlaskClient, csv_path: Path, body: bytes) -> None:
    answer = client.post(REPORT, data=body, content_type="application/json")
    assert problem_of(answer) == (400, "malformed")
    assert not csv_path.exists()


def test_a_retry_under_the_same_key_is_kept_once_and_answered_alike(
    client: FlaskClient, predicted: dict[str, Any], csv_path: Path
) -> None:
    body, headers = {"prediction_id": predicted["header"], "label": "'=lynx\n"}, {"Idempotency-Key": "one"}
    answers = [client.post(REPORT, json=body, headers=headers) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.get_json()["report_id"] for answer in answers}) == 1
    assert len(rows_of(csv_path)) == 1
    assert len(csv_path.with_name("feedback").read_text().splitlines()) == 1
    other = client.post(REPORT, json=body, headers={"Idempotency-Key": "two"})
    assert other.get_json()["report_id"] != answers[0].get_json()["report_id"]
    assert [client.post(REPORT, json=body).status_code for _ in range(2)] == [201, 201]
    assert len(rows_of(csv_path)) == 4


def test_a_key_outlives_the_index(client: FlaskClient, predicted: dict[str, Any], csv_path: Path) -> None:
    body, headers = {"prediction_id": predicted["header"]}, {"Idempotency-Key": "one"}
    first = client.post(REPORT, json=body, headers=headers).get_json()
    for left in csv_path.parent.glob("reports.sqlite3*"):
        left.unlink()
    assert client.post(REPORT, json=body, headers=headers).get_json() == first
    assert len(rows_of(csv_path)) == 1


def test_another_report_under_a_used_key_is_refused(
    client: FlaskClient, predicted: dict[str, Any], csv_path: Path
) -> None:
    headers = {"Idempotency-Key": "one"}
    client.post(REPORT, json={"prediction_id": predicted["header"]}, headers=headers)
    other = client.post(REPORT, json={"prediction_id": predicted["header"], "label": "lynx"}, headers=headers)
    assert problem_of(other) == (422, "idempotency_key_reused")
    assert len(rows_of(csv_path)) == 1


@pytest.mark.parametrize("key", ["", "with blank", "x" * 256, "ä"])
def test_a_key_that_is_none_is_refused(client: FlaskClient, predicted: dict[str, Any], key: str) -> None:
    answer = client.post(REPORT, json={"prediction_id": predicted["header"]}, headers={"Idempotency-Key": key})
    assert problem_of(answer) == (400, "invalid_parameter")


def test_the_pages_of_other_sites_report_nothing(
    client: FlaskClient, predicted: dict[str, Any], csv_path: Path
) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    assert client.post(REPORT, json={"prediction_id": predicted["header"]}, headers=headers).status_code == 403
    assert not csv_path.exists()


def heard_of(client: FlaskClient) -> None:
    wait_until(lambda: client.get("/readyz").status_code == 200, "the worker is registered")


def test_a_label_is_kept_as_the_model_spells_it_and_an_unknown_one_is_kept_and_flagged(
    client: FlaskClient, worker: EchoWorker, image: bytes, csv_path: Path
) -> None:
    heard_of(client)
    assert client.get("/labels").get_json() == {"model_version": f"{MODEL}/{VERSION}", "labels": list(LABELS)}
    said = client.post("/predict", data=image, content_type="image/jpeg")
    body = {"prediction_id": said.headers["X-Prediction-Id"]}
    flags = [
        client.post(REPORT, json=body | {"label": label}).get_json()["label_known"]
        for label in ("Tiger  cat", "carpenter's kit", "bar chart", "")
    ]
    assert flags == [True, True, False, None]
    rows = rows_of(csv_path)
    assert [row["label"] for row in rows] == ["tiger_cat", "carpenter's_kit", "bar chart", ""]
    assert {(row["model"], row["model_version"]) for row in rows} == {(MODEL, VERSION)}


def test_the_plain_form_s_label_is_spelled_alike(client: FlaskClient, worker: EchoWorker, csv_path: Path) -> None:
    heard_of(client)
    report = "{'filename': 'a.jpg', 'prediction': 'tabby', 'score': 0.5}"
    client.post(REPORT, data={"report": report, "label": "TIGER cat"})
    assert rows_of(csv_path)[0]["label"] == "tiger_cat"


def test_without_workers_nobody_knows_what_the_model_can_say(client: FlaskClient) -> None:
    assert client.get("/labels").get_json() == {"model_version": None, "labels": []}


def test_retries_over_several_processes_at_once_are_kept_once(serve: Serve, worker: EchoWorker, image: bytes) -> None:
    with serve(REDIS_IP="127.0.0.1", REDIS_PORT=worker.port, API_WORKERS=4, REQUEST_TIMEOUT_S=60) as served:
        _, headers, _ = served.ask_patiently(raw_image(image))
        said = headers["x-prediction-id"]

        def report(number: int) -> tuple[int, str]:
            body = json.dumps({"prediction_id": said, "label": "lynx"}).encode()
            head = f"Host: localhost\r\nContent-Type: application/json\r\nIdempotency-Key: key-{number % 5}\r\n"
            request = f"POST /feedback HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
            status, _, answer = served.ask_patiently(request)
            return status, json.loads(answer)["report_id"]

        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(report, range(60)))
        assert {status for status, _ in answers} == {201}
        assert len({name for _, name in answers}) == 5
        rows = rows_of(served.folder / "feedback" / "feedback.csv")
        assert {row["report_id"] for row in rows} == {name for _, name in answers}
        assert len(rows) == 5


def test_an_id_of_a_host_with_another_key_is_unknown_and_the_log_says_once_what_to_do(
    client: FlaskClient, predicted: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(settings, "SECRET_KEY", "another")
    submission._warn_of_another_key.cache_clear()
    for made_up in ("invented", "1f" * 16, f"job.{'A' * 60}"):
        assert problem_of(client.post(REPORT, json={"prediction_id": made_up})) == (404, "prediction_unknown")
    assert caplog.messages == []
    for _ in range(3):
        answer = client.post(REPORT, json={"prediction_id": predicted["header"]})
        assert problem_of(answer) == (404, "prediction_unknown")
        assert "another SECRET_KEY" in answer.get_json()["detail"]
    [line] = caplog.messages
    assert "Set SECRET_KEY (or SECRET_KEY_FILE) to the same value for all api processes of all hosts." in line


FORM = {"report": "{'filename': 'a.jpg', 'prediction': 'tabby', 'score': 0.5}"}
LIMITS = {"label": 200, "comment": 2000, "model": 200, "model_version": 200}


@pytest.mark.parametrize("field", LIMITS)
def test_a_form_has_the_limits_of_json(client: FlaskClient, csv_path: Path, field: str) -> None:
    assert client.post(REPORT, data=FORM | {field: "ü" * LIMITS[field]}).status_code == 200
    size = csv_path.stat().st_size
    for too_long in (LIMITS[field] + 1, 30_000):
        assert problem_of(client.post(REPORT, data=FORM | {field: "x" * too_long})) == (400, "invalid_report")
    assert client.post(REPORT, data=FORM | {field: "x" * 140_000}).status_code == 413
    assert csv_path.stat().st_size == size
    assert len(csv_path.with_name("feedback").read_text().splitlines()) == 1


def test_every_field_at_its_limit_and_escaped_is_no_report_of_too_many_bytes(
    client: FlaskClient, predicted: dict[str, Any], csv_path: Path
) -> None:
    said = {"label": "😀" * MAX_LABEL, "comment": "😀" * MAX_COMMENT}
    assert client.post(REPORT, json={"prediction_id": predicted["header"], **said}).status_code == 201
    assert client.post(REPORT, data=FORM | said).status_code == 200
    assert [row["comment"] for row in rows_of(csv_path)] == [said["comment"]] * 2


@pytest.mark.parametrize("setting", [("MIN_FREE_BYTES", 2**60), ("MAX_REPORTS_BYTES", 1)], ids=["disk", "reports"])
def test_no_report_takes_what_is_kept_free(
    client: FlaskClient,
    predicted: dict[str, Any],
    csv_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    setting: tuple[str, int],
) -> None:
    body, headers = {"prediction_id": predicted["header"]}, {"Idempotency-Key": "one"}
    assert client.post(REPORT, json=body, headers=headers).status_code == 201
    before = sorted((path.name, path.read_bytes()) for path in csv_path.parent.iterdir())
    monkeypatch.setattr(settings, *setting)
    answers = [
        client.post(REPORT, data={"report": "free text"}),
        client.post(REPORT, data=FORM),
        client.post(REPORT, json=body),
        client.post(REPORT, json=body, headers={"Idempotency-Key": "two"}),
    ]
    assert {problem_of(answer) for answer in answers} == {(507, "storage_full")}
    assert all(answer.headers["Retry-After"] for answer in answers)
    assert sorted((path.name, path.read_bytes()) for path in csv_path.parent.iterdir()) == before


def test_a_name_that_no_file_can_have_is_kept_as_a_line_alone(client: FlaskClient, csv_path: Path) -> None:
    text = FORM["report"].replace("a.jpg", f"{'a' * 300}.jpg")
    assert client.post(REPORT, data={"report": text}).status_code == 200
    assert csv_path.with_name("feedback").read_text() == f"{text}\n"
    assert not csv_path.exists()
