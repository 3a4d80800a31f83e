"""Previews of stored images: from a worker through the route, and where pages show them."""

from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

import settings
from app import create_app
from predict import previews
from sightline_testing.sample_images import FAST_HEIC, encode, scene
from tests.predict.test_queue_to_client import predict
from tests.review.test_routes import HEADERS, KEY, report
from tests.serving import PREVIEW, EchoWorker, wait_until
from wire import Answer, Delivery, Failure


def noted(worker: EchoWorker) -> list[int]:
    """What the jobs from now on ask for, as `preview_side`."""
    asked, reply = [], worker.reply

    def note(delivery: Delivery) -> Answer | Failure | None:
        asked.append(delivery.job.preview_side)
        return reply(delivery)

    worker.reply = note
    return asked


@pytest.fixture
def stored(client: FlaskClient, worker: EchoWorker) -> str:
    """The name of a HEIC that the service has."""
    wait_until(lambda: client.get("/readyz").status_code == 200, "the worker is registered")
    content = encode(scene(64, 48), "HEIF", **FAST_HEIC)
    name: str = predict(client, content, "?top_k=1").get_json()["filename"]
    return name


def test_a_preview_is_made_by_a_worker(client: FlaskClient, worker: EchoWorker, stored: str) -> None:
    asked = noted(worker)
    answer = client.get(f"/previews/{stored}.jpg")
    assert (answer.status_code, answer.content_type, answer.data) == (200, "image/jpeg", PREVIEW)
    assert "immutable" in answer.headers["Cache-Control"]
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert asked == [previews.SIDE]


def test_nobody_who_does_not_ask_pays_for_one(
    client: FlaskClient, worker: EchoWorker, stored: str, image: bytes
) -> None:
    asked = noted(worker)
    assert predict(client, image, "?top_k=8").status_code == 200
    assert set(asked) == {0}


def test_what_is_not_stored_or_comes_from_an_older_worker_has_none(
    client: FlaskClient, worker: EchoWorker, stored: str
) -> None:
    assert client.get("/previews/missing.heic.jpg").status_code == 404
    worker.reply = lambda delivery: Answer(delivery.job.id, (("tabby", 0.5),), "net", "0")
    answer = client.get(f"/previews/{stored}.jpg")
    assert (answer.status_code, answer.get_json()["code"], answer.headers["Retry-After"]) == (503, "not_ready", "1")


def test_an_image_that_is_broken_has_none(client: FlaskClient, worker: EchoWorker, stored: str) -> None:
    worker.reply = lambda delivery: Failure(delivery.job.id, "image_broken", "it ends early")
    assert client.get(f"/previews/{stored}.jpg").status_code == 422


@pytest.mark.parametrize(
    ("name", "address"),
    [
        *((f"a{suffix}", f"/previews/a{suffix}.jpg") for suffix in (".heic", ".HEIF", ".tif", ".tiff")),
        *((f"a{suffix}", f"/display/a{suffix}") for suffix in (".jpg", ".png", ".webp", ".avif", "")),
    ],
)
def test_pages_show_the_preview_where_browsers_cannot_show_the_image(
    application: Flask, name: str, address: str
) -> None:
    with application.test_request_context():
        assert previews.address_of(name) == address


def test_the_inbox_names_both(application: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "OPERATOR_KEY", KEY)
    for name in ("a.heic", "b.jpg"):
        report(Path(settings.FEEDBACK_FILEPATH).parent, name, image_path=f"uploads/{name}")
    page = create_app().test_client().get("/review", headers=HEADERS).text
    assert page.count('src="/previews/a.heic.jpg"') == page.count('src="/display/b.jpg"') == 1
    assert 'data-preview="/previews/b.jpg.jpg"' in page
