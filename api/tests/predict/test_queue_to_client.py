"""Through the routes to a real queue and back: what a worker answers reaches the client."""

import json
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.serving import CONFIDENCE, LABELS, MODEL, VERSION, EchoWorker, wait_until
from wire import Failure
from wire.messages import FailureCode


@pytest.fixture(autouse=True)
def _heard_of(client: FlaskClient, worker: EchoWorker) -> None:
    wait_until(lambda: client.get("/readyz").status_code == 200, "the worker is registered")


def predict(client: FlaskClient, image: bytes, query: str = "", **headers: str) -> TestResponse:
    """Ask until Redis answers: on a machine this busy, it may seem to be away for a moment."""
    while True:
        answer = client.post(f"/predict{query}", data=image, content_type="image/jpeg", headers=headers)
        if b"redis_unavailable" not in answer.data:
            return answer


def test_the_answer_comes_with_its_headers(client: FlaskClient, image: bytes) -> None:
    answer = predict(client, image, "?top_k=3")
    document = answer.get_json()
    assert document["prediction"] == LABELS[0]
    assert document["predictions"] == [
        {"label": label, "score": round(CONFIDENCE / rank, 4)} for rank, label in enumerate(LABELS[:3], 1)
    ]
    assert document["model_version"] == f"{MODEL}/{VERSION}" == answer.headers["X-Model-Version"]
    assert document["prediction_id"] == answer.headers["X-Prediction-Id"]
    assert answer.headers["Server-Timing"] == "queue;dur=1.25, decode;dur=2.5, infer;dur=4.12"


def test_more_classes_than_there_are_is_all_of_them(client: FlaskClient, image: bytes) -> None:
    answer = predict(client, image, "?top_k=1000")
    assert [entry["label"] for entry in answer.get_json()["predictions"]] == list(LABELS)


@pytest.mark.parametrize(
    ("code", "status", "told"),
    [
        ("unsupported_type", 415, "unsupported_type"),
        ("image_too_large", 422, "image_too_large"),
        ("image_broken", 422, "image_broken"),
        ("not_ready", 503, "not_ready"),
        ("not_explainable", 422, "not_explainable"),
        ("image_missing", 500, "image_missing"),
        ("poison", 500, "poison"),
        ("internal", 500, "internal"),
        ("expired", 504, "deadline_exceeded"),
    ],
)
def test_a_worker_s_failure_is_told_by_status_code_and_detail(
    *, client: FlaskClient, worker: EchoWorker, image: bytes, code: FailureCode, status: int, told: str
) -> None:
    worker.reply = lambda delivery: Failure(delivery.job.id, code, "1 x 30000 pixels; the limit is 50:1")
    answer = predict(client, image)
    document = json.loads(answer.data)
    assert (answer.status_code, document["code"]) == (status, told)
    if status in (415, 422):
        assert document["detail"] == "1 x 30000 pixels; the limit is 50:1"


def test_a_deadline_that_passes_is_504(client: FlaskClient, worker: EchoWorker, image: bytes) -> None:
    worker.reply = lambda _: None
    answer = predict(client, image, **{"X-Request-Timeout-Ms": "50"})
    assert answer.status_code == 504


def test_a_report_s_row_names_the_model_that_answers(client: FlaskClient, csv_path: Path) -> None:
    client.post("/feedback", data={"report": "{'filename': 'a.jpg', 'prediction': 'tabby', 'score': 0.5}"})
    assert f'"{MODEL}","{VERSION}"' in csv_path.read_text().splitlines()[1]
