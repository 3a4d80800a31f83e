"""Where did it look: through the routes to a real queue and back, as numbers and as a picture."""

import io
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from PIL import Image

from app import create_app
from auth import access
from predict import heat_maps
from tests.predict.test_queue_to_client import predict
from tests.serving import LABELS, EchoWorker, wait_until
from wire import ActivationMap, Answer, Delivery, Failure

Explain = Callable[[str], dict[str, Any]]


@pytest.fixture
def stored(client: FlaskClient, worker: EchoWorker, picture: bytes) -> str:
    """The name of a picture that the service has."""
    wait_until(lambda: client.get("/readyz").status_code == 200, "the worker is heard of")
    name: str = predict(client, picture, "?top_k=1").get_json()["filename"]
    return name


@pytest.mark.parametrize(("asked", "label"), [("1", LABELS[0]), ("3", LABELS[2]), (LABELS[2], LABELS[2]), ("6", "6")])
def test_a_class_is_explained_by_its_place_or_its_name(
    client: FlaskClient, stored: str, picture: bytes, asked: str, label: str
) -> None:
    document = predict(client, picture, f"?explain={quote(asked)}").get_json()
    assert list(document) == [
        *("success", "prediction", "score", "explanation", "filename", "prediction_id", "model_version")
    ]
    png = f"/maps/{stored}/{label}.png"
    assert document["explanation"] == {
        **{"label": label, "rows": 2, "columns": 2, "values": [3.0, -1.0, 2.0, -2.0]},
        **{"picture": [400, 200], "view": [100, 0, 300, 200], "png": png},
    }
    assert "predictions" in predict(client, picture, f"?top_k=2&explain={quote(asked)}").get_json()


def test_nobody_who_does_not_ask_pays_for_a_map(
    client: FlaskClient, stored: str, worker: EchoWorker, picture: bytes
) -> None:
    jobs, reply = [], worker.reply

    def note(delivery: Delivery) -> Answer | Failure | None:
        jobs.append(delivery.job)
        return reply(delivery)

    worker.reply = note
    assert "explanation" not in predict(client, picture, "?top_k=8").get_json()
    assert {job.is_explained for job in jobs} == {False}


@pytest.mark.parametrize("asked", ["", "%00", "x" * 1001])
def test_what_names_no_class_is_refused(client: FlaskClient, stored: str, picture: bytes, asked: str) -> None:
    answer = predict(client, picture, f"?explain={asked}")
    assert (answer.status_code, answer.get_json()["code"]) == (400, "invalid_parameter")


@pytest.mark.parametrize("label", ["tabby", "carpenter's_kit", "a/b", "../x", "=cmd"])
def test_the_map_of_a_stored_picture_is_a_picture_of_its_proportions(
    client: FlaskClient, stored: str, label: str
) -> None:
    answer = client.get(f"/maps/{stored}/{quote(label, safe='')}.png")
    assert answer.status_code == 200
    assert answer.content_type == "image/png"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    drawn = Image.open(io.BytesIO(answer.data))
    assert (drawn.size, drawn.mode) == ((96, 48), "RGBA")
    left, right = drawn.getpixel((30, 12)), drawn.getpixel((65, 12))
    assert isinstance(left, tuple)
    assert isinstance(right, tuple)
    assert left[3] > 150
    assert right[3] < 20
    assert drawn.getpixel((5, 24)) == drawn.getpixel((90, 24)) == tuple(heat_maps._UNSEEN)


@pytest.mark.parametrize("name", ["missing.png", "..%2ffeedback%2ffeedback", ".%2e"])
def test_of_what_is_not_stored_there_is_no_map(client: FlaskClient, stored: str, name: str) -> None:
    assert client.get(f"/maps/{name}/tabby.png").status_code == 404


def test_a_model_that_says_nothing_of_where_it_looked_is_told(
    client: FlaskClient, asked: list[str], picture: bytes
) -> None:
    answer = client.post("/predict?explain=1", data=picture, content_type="image/jpeg")
    assert (answer.status_code, answer.get_json()["code"]) == (422, "not_explainable")


def test_maps_count_as_work_though_they_are_asked_for_by_get() -> None:
    view = create_app().view_functions["app_router.activation_map"]
    assert getattr(view, "costs_a_job", False)
    assert "GET" in access.UNCOUNTED_METHODS


@pytest.mark.parametrize("size", [(1, 50), (50, 1), (12_000, 8_000)])
def test_pictures_of_any_proportions_can_be_drawn(size: tuple[int, int]) -> None:
    found = ActivationMap("x", 7, 7, tuple(range(49)), size, (0, 0, *size))
    drawn = Image.open(io.BytesIO(heat_maps.png(found)))
    assert max(drawn.size) == heat_maps.LONGEST_SIDE


def test_where_nothing_speaks_for_a_class_nothing_is_coloured() -> None:
    found = ActivationMap("x", 2, 2, (-3.0, -1.0, -2.0, -2.0), (100, 100), (0, 0, 100, 100))
    drawn = Image.open(io.BytesIO(heat_maps.png(found)))
    assert drawn.getchannel("A").getextrema() == (0, 0)
