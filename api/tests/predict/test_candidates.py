"""Answers of the shadow version: only on request, and only for clients that may use the prediction."""

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from tests.predict.test_queue_to_client import predict
from tests.serving import EchoWorker, wait_until
from wire import Answer, Delivery, Failure

TRIED = "echo-net/8"


@pytest.fixture
def prediction_id(client: FlaskClient, worker: EchoWorker, image: bytes) -> str:
    """An answer of a worker that tries a version."""
    worker.shadow = TRIED
    wait_until(lambda: client.get("/readyz").status_code == 200, "the worker is registered")
    wait_until(lambda: "Compare with version" in client.get("/").text, "its candidate is known")
    found: str = predict(client, image, "?top_k=1").get_json()["prediction_id"]
    return found


@pytest.fixture
def noted(worker: EchoWorker) -> Iterator[list[bool]]:
    """Which jobs ask for the candidate."""
    asked, reply = [], worker.reply

    def note(delivery: Delivery) -> Answer | Failure | None:
        asked.append(delivery.job.candidate)
        return reply(delivery)

    worker.reply = note
    yield asked
    worker.reply = reply


def test_the_candidate_s_answer_is_asked_for_by_the_id_of_a_prediction(
    client: FlaskClient, prediction_id: str, noted: list[bool]
) -> None:
    found = client.get(f"/p/{prediction_id}/candidate").get_json()
    assert found["model_version"] == TRIED
    assert found["predictions"][0] == {"label": "tiger_cat", "score": 0.3272}
    assert noted == [True]
    page = client.get(f"/p/{prediction_id}/candidate", headers={"Accept": "text/html"}).text
    for words in ("echo-net/7", TRIED, "tiger cat, 33%", "tabby, 65%", f'href="/p/{prediction_id}"'):
        assert words in page
    assert f'href="/p/{prediction_id}/candidate"' in client.get(f"/p/{prediction_id}").text


def test_nobody_who_does_not_ask_pays_for_it(
    client: FlaskClient, prediction_id: str, noted: list[bool], image: bytes
) -> None:
    assert predict(client, image, "?top_k=8").status_code == 200
    assert noted == [False]
    assert client.get(f"/p/{prediction_id}x/candidate").status_code == 404
    assert noted == [False]


def test_without_a_candidate_there_is_no_button_and_no_answer(
    client: FlaskClient, worker: EchoWorker, prediction_id: str
) -> None:
    worker.shadow = ""
    answer = client.get(f"/p/{prediction_id}/candidate")
    assert (answer.status_code, answer.headers.get("Retry-After")) in {(503, "1"), (404, None)}
    wait_until(lambda: "Compare with version" not in client.get("/").text, "no worker tries a version")
    assert client.get(f"/p/{prediction_id}/candidate").status_code == 404
