"""Whose images, jobs and predictions a request may see where API keys are used, and where they are not."""

import csv
import hashlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import settings
from app import create_app
from commands import clean_uploads
from sightline_testing import sample_images
from tests.serving import EchoWorker, wait_until

ALICE, BOB, OPERATOR = "alices-key", "bobs-key", "operators-key"
LATER = {"Prefer": "respond-async"}


class Asker(NamedTuple):
    """A client with a key, or without one."""

    client: FlaskClient
    key: str = ""

    def send(self, method: str, path: str, **words: Any) -> TestResponse:
        headers = {**words.pop("headers", {}), **({"X-API-Key": self.key} if self.key else {})}
        return self.client.open(path, method=method, headers=headers, **words)

    def predict(self, image: bytes, query: str = "?top_k=1", **headers: str) -> TestResponse:
        return self.send("POST", f"/predict{query}", data=image, content_type="image/jpeg", headers=headers)

    def statuses(self, filename: str, prediction_id: str) -> list[int]:
        """Try every way to see an image, or to say something about it that names it."""
        return [
            self.send("GET", f"/display/{filename}").status_code,
            self.send("HEAD", f"/display/{filename}").status_code,
            self.send("GET", f"/display/{filename}", headers={"If-None-Match": f'"{filename}"'}).status_code,
            self.send("GET", f"/maps/{filename}/tabby.png").status_code,
            self.send("GET", f"/previews/{filename}.jpg").status_code,
            self.send("POST", "/feedback", json={"filename": filename}).status_code,
            self.send("POST", "/feedback", json={"prediction_id": prediction_id}).status_code,
        ]


ALLOWED = [200, 200, 304, 200, 200, 201, 201]
REFUSED = [404] * 7


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    names = {"alice": ALICE, "bob": BOB}
    path.write_text("".join(f"{name} {hashlib.sha256(key.encode()).hexdigest()}\n" for name, key in names.items()))
    return path


Make = Callable[..., FlaskClient]


@pytest.fixture
def make(tmp_path: Path, uploads_folder: Path, worker: EchoWorker, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Make a client of an application with these settings and a real queue; all of them have the same folders."""

    def made(**told: str) -> FlaskClient:
        monkeypatch.setattr(settings, "FEEDBACK_FILEPATH", str(tmp_path / "feedback" / "feedback"))
        for name, value in told.items():
            monkeypatch.setattr(settings, name, value)
        application = create_app()
        application.config["UPLOAD_FOLDER"] = str(uploads_folder)
        client = application.test_client()
        wait_until(lambda: client.get("/readyz").status_code == 200, "the worker is registered")
        return client

    return made


@pytest.fixture
def guarded(make: Make, keys_file: Path) -> FlaskClient:
    return make(API_KEYS_FILE=str(keys_file), OPERATOR_KEY=OPERATOR)


def test_an_image_is_shown_explained_and_reported_by_those_who_sent_it(guarded: FlaskClient, image: bytes) -> None:
    alice, bob, operator = (Asker(guarded, key) for key in (ALICE, BOB, OPERATOR))
    told = alice.predict(image).get_json()
    names = (told["filename"], told["prediction_id"])
    assert alice.statuses(*names) == ALLOWED
    assert bob.statuses(*names) == REFUSED
    assert operator.statuses(*names) == ALLOWED
    again = bob.predict(image).get_json()
    assert again["filename"] == told["filename"]
    assert bob.statuses(told["filename"], again["prediction_id"]) == ALLOWED
    assert bob.statuses(*names)[-1] == 404
    assert Asker(guarded).statuses(*names) == [401] * 7


def test_the_operators_browser_shows_every_image_whatever_key_it_sends_along(
    guarded: FlaskClient, image: bytes
) -> None:
    filename = Asker(guarded, ALICE).predict(image).get_json()["filename"]
    browser = Asker(guarded.application.test_client(), BOB)
    assert browser.send("GET", f"/display/{filename}").status_code == 404
    assert browser.send("POST", "/review/login", data={"key": OPERATOR}).status_code == 303
    assert browser.send("GET", f"/display/{filename}").status_code == 200


def test_every_way_to_send_an_image_makes_it_the_senders(guarded: FlaskClient) -> None:
    alice, bob = Asker(guarded, ALICE), Asker(guarded, BOB)
    contents = [sample_images.jpeg(64 + number, 48) for number in range(6)]
    file = {"content_type": "image/jpeg"}
    form = {"file": [(BytesIO(content), "a.jpg") for content in contents[:2]]}
    several = alice.send("POST", "/predict", data=form).get_json()["results"]
    assert [one["success"] for one in several] == [True, True]
    alice.send("POST", "/", data={"file": (BytesIO(contents[2]), "a.jpg")})
    alice.send("POST", "/predictions/default", data=contents[3], **file)
    alice.send("PUT", "/predict", data=contents[4], **file)
    alice.send("POST", "/invocations", data=contents[5], **file)
    for content in contents:
        name = f"{hashlib.md5(content, usedforsecurity=False).hexdigest()}.jpg"
        assert alice.send("GET", f"/display/{name}").data == content
        assert bob.send("GET", f"/display/{name}").status_code == 404


def test_a_job_is_its_owners_and_the_operators(guarded: FlaskClient, image: bytes, worker: EchoWorker) -> None:
    alice, bob, operator = (Asker(guarded, key) for key in (ALICE, BOB, OPERATOR))
    place = alice.predict(image, **LATER).headers["Location"]
    wait_until(lambda: alice.send("GET", place).get_json()["status"] == "done", "the job is done")
    filename = alice.send("GET", place).get_json()["result"]["filename"]
    for method in ("GET", "HEAD", "DELETE"):
        assert bob.send(method, place).status_code == 404
    assert operator.send("GET", place).get_json()["result"]["filename"] == filename
    assert alice.send("DELETE", place).status_code == 204


def test_a_report_by_the_form_about_an_image_of_another_is_one_about_an_image_that_is_not_there(
    guarded: FlaskClient, image: bytes, csv_path: Path
) -> None:
    alice, bob = Asker(guarded, ALICE), Asker(guarded, BOB)
    filename = alice.predict(image).get_json()["filename"]
    for asker in (bob, alice):
        report = f"{{'filename': '{filename}', 'prediction': 'tabby', 'score': 0.5}}"
        assert asker.send("POST", "/feedback", data={"report": report}).status_code == 200
    rows = list(csv.DictReader(csv_path.read_text().splitlines()))
    assert [row["image_sha256"] for row in rows] == ["", hashlib.sha256(image).hexdigest()]
    assert (csv_path.parent / "feedback").read_text().splitlines() == [report] * 2


def test_without_keys_whoever_knows_a_name_may_use_it(make: Make, image: bytes, uploads_folder: Path) -> None:
    client = make()
    told = Asker(client).predict(image).get_json()
    assert Asker(make()).statuses(told["filename"], told["prediction_id"]) == ALLOWED
    assert [path.name for path in uploads_folder.iterdir()] == [told["filename"]]


def test_what_was_sent_before_there_were_keys_is_the_operators_until_it_is_sent_again(
    make: Make, keys_file: Path, image: bytes
) -> None:
    told = Asker(make()).predict(image).get_json()
    client = make(API_KEYS_FILE=str(keys_file), OPERATOR_KEY=OPERATOR)
    names = (told["filename"], told["prediction_id"])
    assert Asker(client, OPERATOR).statuses(*names) == ALLOWED
    assert Asker(client, ALICE).statuses(*names) == REFUSED
    Asker(client, ALICE).predict(image)
    assert Asker(client, ALICE).statuses(*names)[:5] == ALLOWED[:5]


def test_clean_up_forgets_who_sent_an_image_that_is_gone(
    guarded: FlaskClient, uploads_folder: Path, csv_path: Path
) -> None:
    alice = Asker(guarded, ALICE)
    gone, kept = (alice.predict(sample_images.jpeg(64, side)).get_json()["filename"] for side in (40, 50))
    (uploads_folder / gone).unlink()
    clean_uploads.clean(uploads_folder, csv_path.parent)
    left = [path.name for path in uploads_folder.rglob("*") if path.is_file()]
    assert sorted(left) == [kept, kept]
    assert alice.send("GET", f"/display/{kept}").status_code == 200


def test_a_key_cannot_have_the_operators_name(make: Make, keys_file: Path, image: bytes) -> None:
    with keys_file.open("a") as file:
        file.write(f"operator {hashlib.sha256(b'another-key').hexdigest()}\n")
    client = make(API_KEYS_FILE=str(keys_file), OPERATOR_KEY=OPERATOR, RATE_LIMIT="4/day")
    told = Asker(client, OPERATOR).predict(image).get_json()
    namesake = Asker(client, "another-key")
    assert namesake.statuses(told["filename"], told["prediction_id"]) == REFUSED
    assert namesake.send("DELETE", "/jobs/x").status_code == 429
