"""Heat maps: through the routes to a real queue and back, as numbers and as an image."""

import sys
from collections.abc import Callable
from dataclasses import replace
from types import FrameType
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from app import create_app
from auth import access
from predict import heat_maps
from tests.predict.test_queue_to_client import predict
from tests.serving import DRAWN, LABELS, EchoWorker, wait_until
from wire import Answer, Delivery, Failure

MOST_EVENTS = 8000
Explain = Callable[[str], dict[str, Any]]


@pytest.fixture
def stored(client: FlaskClient, worker: EchoWorker, image: bytes) -> str:
    """The name of an image that the service has."""
    wait_until(lambda: client.get("/readyz").status_code == 200, "the worker is registered")
    name: str = predict(client, image, "?top_k=1").get_json()["filename"]
    return name


@pytest.mark.parametrize(("asked", "label"), [("1", LABELS[0]), ("3", LABELS[2]), (LABELS[2], LABELS[2]), ("6", "6")])
def test_a_class_is_explained_by_its_place_or_its_name(
    client: FlaskClient, stored: str, image: bytes, asked: str, label: str
) -> None:
    document = predict(client, image, f"?explain={quote(asked)}").get_json()
    assert list(document) == [
        *("success", "prediction", "score", "explanation", "filename", "prediction_id", "model_version")
    ]
    png = f"/maps/{stored}/{label}.png"
    assert document["explanation"] == {
        **{"label": label, "rows": 2, "columns": 2, "values": [3.0, -1.0, 2.0, -2.0]},
        **{"picture": [400, 200], "view": [100, 0, 300, 200], "png": png},
    }
    assert "predictions" in predict(client, image, f"?top_k=2&explain={quote(asked)}").get_json()


def test_nobody_who_does_not_ask_pays_for_a_map(
    client: FlaskClient, stored: str, worker: EchoWorker, image: bytes
) -> None:
    jobs, reply = [], worker.reply

    def note(delivery: Delivery) -> Answer | Failure | None:
        jobs.append(delivery.job)
        return reply(delivery)

    worker.reply = note
    assert "explanation" not in predict(client, image, "?top_k=8").get_json()
    assert {job.is_explained for job in jobs} == {False}


@pytest.mark.parametrize("asked", ["", "%00", "x" * 1001])
def test_what_names_no_class_is_refused(client: FlaskClient, stored: str, image: bytes, asked: str) -> None:
    answer = predict(client, image, f"?explain={asked}")
    assert (answer.status_code, answer.get_json()["code"]) == (400, "invalid_parameter")


@pytest.mark.parametrize("label", ["tabby", "carpenter's_kit", "a/b", "../x", "=cmd"])
def test_the_map_of_a_stored_image_is_the_one_that_the_worker_has_drawn(
    client: FlaskClient, stored: str, label: str
) -> None:
    answer = client.get(f"/maps/{stored}/{quote(label, safe='')}.png")
    assert (answer.status_code, answer.content_type, answer.data) == (200, "image/png", DRAWN)
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"] == heat_maps.CACHING


def test_nothing_is_drawn_where_other_requests_wait(client: FlaskClient, stored: str) -> None:
    calls: list[str] = []
    events = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal events
        events += 1
        if event == "call" and frame.f_code.co_filename == heat_maps.__file__:
            calls.append(frame.f_code.co_name)

    sys.setprofile(count)
    try:
        assert client.get(f"/maps/{stored}/tabby.png").status_code == 200
    finally:
        sys.setprofile(None)
    assert calls == ["png", "map_of"]
    # Two for each call of a function, wherever it is; a map has some 7,000 pixels.
    assert events < MOST_EVENTS


def test_a_worker_of_an_earlier_release_that_draws_nothing_is_worth_another_try(
    client: FlaskClient, stored: str, worker: EchoWorker, image: bytes
) -> None:
    reply = worker.reply

    def without_png(delivery: Delivery) -> Answer | Failure | None:
        answer = reply(delivery)
        assert isinstance(answer, Answer)
        assert answer.activation_map is not None
        return replace(answer, activation_map=replace(answer.activation_map, png=b""))

    worker.reply = without_png
    assert predict(client, image, "?explain=1").get_json()["explanation"]["values"] == [3.0, -1.0, 2.0, -2.0]
    answer = client.get(f"/maps/{stored}/tabby.png")
    assert (answer.status_code, answer.get_json()["code"], answer.headers["Retry-After"]) == (503, "not_ready", "1")


@pytest.mark.parametrize("name", ["missing.png", "..%2ffeedback%2ffeedback", ".%2e"])
def test_of_what_is_not_stored_there_is_no_map(client: FlaskClient, stored: str, name: str) -> None:
    assert client.get(f"/maps/{name}/tabby.png").status_code == 404


def test_a_model_that_says_nothing_of_where_it_looked_is_told(
    client: FlaskClient, asked: list[str], image: bytes
) -> None:
    answer = client.post("/predict?explain=1", data=image, content_type="image/jpeg")
    assert (answer.status_code, answer.get_json()["code"]) == (422, "not_explainable")


def test_maps_count_as_work_though_they_are_asked_for_by_get() -> None:
    view = create_app().view_functions["app_router.activation_map"]
    assert getattr(view, "costs_a_job", False)
    assert "GET" in access.UNCOUNTED_METHODS
