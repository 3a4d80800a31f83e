"""Several images in one request, and images as text."""

import base64
import json
import threading
import time
from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import settings
import views
from predict import job_queue
from sightline_testing import sample_images
from tests.serving import LABELS, EchoWorker, wait_until
from wire import Answer, Delivery, Failure, QueueFull

MALFORMED = {"success": False, "prediction": None, "score": None}


@pytest.fixture
def ready(client: FlaskClient, worker: EchoWorker) -> EchoWorker:
    wait_until(lambda: client.get("/readyz").status_code == 200, "the worker is registered")
    return worker


def post(client: FlaskClient, *files: tuple[bytes, str], query: str = "") -> TestResponse:
    return client.post(f"/predict{query}", data={"file": [(BytesIO(content), name) for content, name in files]})


def in_text(*contents: bytes) -> list[str]:
    return [base64.b64encode(content).decode() for content in contents]


def test_each_of_several_files_is_answered_in_order(client: FlaskClient, ready: EchoWorker) -> None:
    answer = post(client, *[(sample_images.jpeg(64, 48, seed=seed), f"{seed}.jpg") for seed in range(5)])
    assert answer.status_code == 200
    results = answer.get_json()["results"]
    assert [result["file"] for result in results] == [f"{seed}.jpg" for seed in range(5)]
    assert {(result["success"], result["prediction"]) for result in results} == {(True, LABELS[0])}
    assert len({result["prediction_id"] for result in results}) == len({result["filename"] for result in results}) == 5
    assert len(ready.images) == 5
    assert "predictions" not in results[0]


def test_they_are_asked_for_at_once_and_not_one_after_the_other(
    client: FlaskClient, ready: EchoWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(3, timeout=30)

    def wait_for_the_others(name: str) -> tuple[str, float]:
        together.wait()
        return "tabby", 0.5

    monkeypatch.setattr(views, "model_predict", wait_for_the_others)
    answer = post(client, *[(sample_images.jpeg(64, 48, seed=seed), "a.jpg") for seed in range(3)])
    assert [result["success"] for result in answer.get_json()["results"]] == [True] * 3


def test_one_that_cannot_be_used_fails_alone(client: FlaskClient, ready: EchoWorker) -> None:
    good, broken = sample_images.jpeg(64, 48), sample_images.jpeg(64, 49)

    def refuse_the_broken(delivery: Delivery) -> Answer | Failure:
        if ready.images.index(delivery.job.image) == 1:
            return Failure(delivery.job.id, "image_broken", "it ends early")
        return ready._answer(delivery)

    monkey = post(client, (good, "a.jpg"), (b"", "b.jpg"), (b"text", "c.txt"), (b"text", "d.jpg"), (good, "e"))
    outcomes = [(each["success"], each.get("problem", {}).get("status")) for each in monkey.get_json()["results"]]
    assert outcomes == [(True, None), (False, 400), (False, 400), (False, 415), (True, None)]
    ready.images.clear()
    ready.reply = refuse_the_broken
    another = sample_images.jpeg(64, 48, seed=2)
    results = post(client, (another, "a.jpg"), (broken, "b.jpg")).get_json()["results"]
    assert sorted(result["success"] for result in results) == [False, True]
    [failed] = [result for result in results if not result["success"]]
    assert (failed["prediction"], failed["score"]) == (None, None)
    assert (failed["problem"]["status"], failed["problem"]["code"]) == (422, "image_broken")
    assert failed["problem"]["detail"] == "it ends early"


def test_top_k_is_for_each(client: FlaskClient, ready: EchoWorker) -> None:
    answer = post(client, (sample_images.jpeg(), "a.jpg"), (sample_images.jpeg(seed=1), "b.jpg"), query="?top_k=2")
    assert [len(result["predictions"]) for result in answer.get_json()["results"]] == [2, 2]


@pytest.mark.usefixtures("uploads_folder")
def test_images_that_were_answered_already_cost_no_job(client: FlaskClient, ready: EchoWorker) -> None:
    files = [(sample_images.jpeg(64, 48, seed=seed), f"{seed}.jpg") for seed in range(3)]
    while not wait_for_cache(client):
        time.sleep(0.05)
    first = post(client, *files[:2]).get_json()["results"]
    asked = len(ready.images)
    second = post(client, *files).get_json()["results"]
    in_json = client.post("/predict", json={"images": in_text(*(content for content, _ in files))})
    assert len(ready.images) == asked + 1
    answers = [[result["prediction"], result["score"]] for result in [*first, *second, *in_json.get_json()["results"]]]
    assert answers == [answers[0]] * 8


def wait_for_cache(client: FlaskClient) -> bool:
    """Return whether the cache is in use, as it is once the worker's version is known."""
    answer = client.post("/predict", data=sample_images.jpeg(seed=99), content_type="image/jpeg")
    return answer.headers.get("X-Cache") == "hit"


def test_they_count_as_many_at_admission(
    client: FlaskClient, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_queue, "room_fault", lambda count=1, client="": QueueFull(1, 3, 1.0) if count > 2 else None)
    fits = [(sample_images.jpeg(), "a.jpg"), (sample_images.jpeg(seed=1), "b.jpg")]
    assert post(client, *fits).status_code == 200
    answer = post(client, *fits, (sample_images.jpeg(seed=2), "c.jpg"))
    assert (answer.status_code, answer.json["code"]) == (503, "queue_full")  # type: ignore[index]
    assert "Retry-After" in answer.headers
    assert len(asked) == 2


def test_one_that_finds_no_room_after_all_says_so(
    client: FlaskClient, ready: EchoWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = iter([None, QueueFull(3, 3, 1.0)])

    def full_at_the_second(name: str) -> tuple[str, float]:
        fault = next(turns)
        if fault is not None:
            raise fault
        return "tabby", 0.5

    monkeypatch.setattr(views, "model_predict", full_at_the_second)
    results = post(client, (sample_images.jpeg(), "a.jpg"), (sample_images.jpeg(seed=1), "b.jpg")).get_json()["results"]
    assert sorted(result.get("problem", {}).get("code", "") for result in results) == ["", "queue_full"]


def test_more_than_a_form_may_have_are_refused(client: FlaskClient, asked: list[str]) -> None:
    answer = post(client, *[(sample_images.jpeg(64, 48, seed=seed), "a.jpg") for seed in range(17)])
    assert answer.status_code == 413
    assert asked == []


def test_together_they_are_no_larger_than_one_may_be(
    client: FlaskClient, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "MAX_UPLOAD_BYTES", 1000)
    large = sample_images.jpeg() + bytes(40_000)
    assert post(client, (large, "a.jpg"), (large, "b.jpg")).status_code == 413
    assert asked == []


def test_an_image_may_be_text(client: FlaskClient, ready: EchoWorker, image: bytes) -> None:
    [text] = in_text(image)
    as_bytes = client.post("/predict", data=image, content_type="image/jpeg").json
    for given in (text, f"data:image/jpeg;base64,{text}"):
        answer = client.post("/predict", json={"image": given})
        assert (answer.status_code, answer.json) == (200, as_bytes)
    assert len(set(ready.images)) == 1
    with_more = client.post("/predict?top_k=3", json={"image": text}).get_json()
    assert len(with_more["predictions"]) == 3


def test_several_may_be_text_and_a_list_of_one_is_a_list(client: FlaskClient, ready: EchoWorker) -> None:
    contents = [sample_images.jpeg(seed=seed) for seed in range(3)]
    results = client.post("/predict", json={"images": in_text(*contents)}).get_json()["results"]
    assert [result["success"] for result in results] == [True] * 3
    assert len(client.post("/predict", json={"images": in_text(contents[0])}).get_json()["results"]) == 1


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "7",
        "null",
        "{}",
        '{"image": null}',
        '{"image": 7}',
        '{"image": ""}',
        '{"image": "%%%"}',
        '{"image": "data:image/png;base64"}',
        '{"images": []}',
        '{"images": {}}',
        '{"images": [["deep"]]}',
        '{"file": "cat.jpg"}',
        json.dumps({"images": [""] * 17}),
        "[" * 100_000,
    ],
)
def test_json_without_an_image_is_answered_as_ever(client: FlaskClient, asked: list[str], body: str) -> None:
    answer = client.post("/predict", data=body, content_type="application/json")
    assert (answer.status_code, answer.json) == (400, MALFORMED)
    assert asked == []


def test_text_that_is_too_long_for_any_image_is_refused(
    client: FlaskClient, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "MAX_UPLOAD_BYTES", 1000)
    inside, outside = in_text(sample_images.jpeg()[:900], sample_images.jpeg() + bytes(200_000))
    assert client.post("/predict", json={"image": inside}).status_code == 200
    answer: Any = client.post("/predict", json={"image": outside})
    assert answer.status_code == 413
