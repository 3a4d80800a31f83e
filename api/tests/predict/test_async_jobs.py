"""Asynchronous jobs over HTTP."""

import json
from contextlib import closing
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import settings
from sightline_testing import sample_images
from sightline_testing.redis_server import RedisServer
from tests.conftest import Serve
from tests.serving import LABELS, EchoWorker, Served, raw_image, read_answer, wait_until
from wire import Failure

LATER = {"Prefer": "respond-async"}


@pytest.fixture
def ready(client: FlaskClient, worker: EchoWorker) -> EchoWorker:
    wait_until(lambda: client.get("/readyz").status_code == 200, "the worker is registered")
    return worker


def hand_in(client: FlaskClient, content: bytes, query: str = "", prefer: str = "respond-async") -> TestResponse:
    return client.post(f"/predict{query}", data=content, content_type="image/jpeg", headers={"Prefer": prefer})


def ended(client: FlaskClient, place: str) -> dict[str, Any]:
    wait_until(lambda: client.get(place).get_json()["status"] != "pending", "the job is done")
    return dict(client.get(place).get_json())


def test_a_job_is_taken_and_answered_later(client: FlaskClient, ready: EchoWorker, image: bytes) -> None:
    answer = hand_in(client, image, "?top_k=3")
    assert answer.status_code == 202
    place = answer.headers["Location"]
    assert answer.get_json() == {"id": place.removeprefix("/jobs/"), "status": "pending"}
    assert answer.headers["Preference-Applied"] == "respond-async"
    state = ended(client, place)
    assert state["status"] == "done"
    assert (state["result"]["success"], state["result"]["prediction"]) == (True, LABELS[0])
    assert [prediction["label"] for prediction in state["result"]["predictions"]][:3] == list(LABELS[:3])
    assert client.get(place).get_json() == state


def test_a_job_that_fails_says_why(client: FlaskClient, ready: EchoWorker, image: bytes) -> None:
    ready.reply = lambda delivery: Failure(delivery.job.id, "image_broken", "it ends early")
    state = ended(client, hand_in(client, image).headers["Location"])
    assert state["status"] == "failed"
    assert (state["problem"]["status"], state["problem"]["code"]) == (422, "image_broken")


def test_a_job_under_way_says_when_to_ask_again_and_can_be_taken_back(
    client: FlaskClient, ready: EchoWorker, image: bytes
) -> None:
    ready.reply = lambda delivery: None
    place = hand_in(client, image).headers["Location"]
    answer = client.get(place)
    assert (answer.status_code, answer.get_json()["status"], answer.headers["Retry-After"]) == (200, "pending", "1")
    assert client.delete(place).status_code == 204
    for again in (client.get(place), client.delete(place)):
        assert (again.status_code, again.get_json()["code"]) == (404, "unknown_job")


def test_a_preference_among_others_counts_and_any_other_does_not(
    client: FlaskClient, ready: EchoWorker, image: bytes
) -> None:
    assert hand_in(client, image, prefer="wait=10, Respond-Async; x=1").status_code == 202
    assert hand_in(client, image, prefer="wait=10").status_code == 200


def test_what_cannot_be_used_is_refused_at_once(client: FlaskClient, ready: EchoWorker) -> None:
    assert hand_in(client, b"").status_code == 400
    assert hand_in(client, b"text").status_code == 415


def test_no_more_are_kept_than_told(
    client: FlaskClient, ready: EchoWorker, image: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "MAX_JOBS", 1)
    first = hand_in(client, image)
    assert first.status_code == 202
    refused = hand_in(client, image)
    assert (refused.status_code, refused.get_json()["code"]) == (503, "queue_full")
    assert "Retry-After" in refused.headers
    assert client.delete(first.headers["Location"]).status_code == 204
    assert hand_in(client, image).status_code == 202


def test_without_redis_that_is_said(client: FlaskClient, image: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "REDIS_PORT", 1)
    assert hand_in(client, image).get_json()["code"] == "redis_unavailable"
    assert client.get(f"/jobs/{'0' * 32}-1-0-1-0").status_code == 503


def ask(served: Served, method: str, path: str) -> tuple[int, dict[str, Any]]:
    with closing(served.connect()) as connection:
        connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        status, _, body = read_answer(connection)
    return status, json.loads(body or b"{}")


def test_a_job_outlives_the_process_that_took_it(serve: Serve, redis_server: RedisServer, worker: EchoWorker) -> None:
    handed_in = raw_image(sample_images.jpeg(64, 48), headers="Prefer: respond-async\r\n")
    with serve(REDIS_PORT=redis_server.port, API_WORKERS=2) as served:
        status, headers, _ = served.ask_patiently(handed_in)
        assert status == 202
    with serve(REDIS_PORT=redis_server.port, API_WORKERS=2) as served:
        place = headers["location"]
        wait_until(lambda: ask(served, "GET", place)[1].get("status") == "done", "the job is done")
        assert {ask(served, "GET", place)[0] for _ in range(6)} == {200}
        assert ask(served, "DELETE", place)[0] == 204
        assert {ask(served, "GET", place)[0] for _ in range(6)} == {404}


def test_a_handle_made_of_ones_own_and_another_job_finds_and_deletes_nothing(
    client: FlaskClient, ready: EchoWorker, image: bytes
) -> None:
    own = hand_in(client, image).headers["Location"]
    ended(client, own)
    ready.reply = lambda delivery: None
    victim = hand_in(client, sample_images.jpeg(48, 64)).headers["Location"]
    secret, _, places = victim.removeprefix("/jobs/").partition("-")
    forged = f"/jobs/{own.removeprefix('/jobs/')[:32]}-{places}"
    for answer in (client.get(forged), client.delete(forged)):
        assert (answer.status_code, answer.get_json()["code"]) == (404, "unknown_job")
    assert client.get(victim).get_json()["status"] == "pending"
    assert secret not in str(client.get(own).get_json())


@pytest.mark.parametrize("number", ["9" * 20, str(2**64), "01"])
def test_a_handle_beyond_every_place_is_an_unknown_job(client: FlaskClient, ready: EchoWorker, number: str) -> None:
    for path in (
        f"/jobs/{'0' * 32}-{number}-0-1-0",
        f"/jobs/{'0' * 32}-1-0-{number}-0",
        "/jobs/%00",
        "/jobs/" + "9" * 9000,
    ):
        for answer in (client.get(path), client.delete(path)):
            assert (answer.status_code, answer.get_json()["code"]) == (404, "unknown_job")


def test_the_prediction_id_of_a_job_does_not_give_its_handle_away(
    client: FlaskClient, ready: EchoWorker, image: bytes
) -> None:
    place = hand_in(client, image, "?top_k=1").headers["Location"]
    prediction_id = ended(client, place)["result"]["prediction_id"]
    assert prediction_id == ended(client, place)["result"]["prediction_id"]
    assert place.removeprefix("/jobs/")[:32] not in prediction_id
    report = client.post("/feedback", json={"prediction_id": prediction_id})
    assert report.status_code == 201


def test_jobs_are_taken_while_no_worker_is_alive_where_an_autoscaler_starts_some(
    client: FlaskClient, queue: RedisServer, image: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_until(lambda: client.get("/readyz").headers["X-Error-Code"] == "no_worker", "it is known that there is none")
    assert hand_in(client, image).headers["X-Error-Code"] == "no_worker"
    monkeypatch.setattr(settings, "ADMIT_WITHOUT_WORKERS", True)
    wait_until(lambda: client.get("/readyz").headers["X-Error-Code"] == "no_worker", "it is known that there is none")
    answer = hand_in(client, image)
    assert answer.status_code == 202
    assert client.get(answer.headers["Location"]).get_json()["status"] == "pending"
    # A waiting client gets the answer immediately.
    assert client.post("/predict", data=image, content_type="image/jpeg").headers["X-Error-Code"] == "no_worker"


def test_a_job_that_no_replica_has_is_not_accepted(
    client: FlaskClient, ready: EchoWorker, image: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "JOBS_WAIT_REPLICAS", 1)
    for _ in range(2):
        answer = hand_in(client, image)
        assert (answer.status_code, answer.headers["X-Error-Code"]) == (503, "not_replicated")
        assert "0 of 1 replicas" in answer.get_json()["detail"]
        assert int(answer.headers["Retry-After"]) >= 1
    assert client.post("/predict", data=image, content_type="image/jpeg").status_code == 200
