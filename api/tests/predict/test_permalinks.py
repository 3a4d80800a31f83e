"""An answer has an address, for as long as its image is kept, and for whom it belongs to."""

from io import BytesIO
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.auth.test_access_to_images import ALICE, BOB, OPERATOR, Asker, guarded, keys_file, make

__all__ = ["guarded", "keys_file", "make"]


@pytest.fixture
def told(client: FlaskClient, asked: list[str], image: bytes) -> dict[str, str]:
    answer = client.post("/predict?top_k=5", data=image, content_type="image/jpeg").get_json()
    return dict(answer)


def test_an_answer_is_shown_with_its_image_and_without_asking_the_model_again(
    client: FlaskClient, told: dict[str, str], asked: list[str]
) -> None:
    page = client.get(f"/p/{told['prediction_id']}")
    assert page.status_code == 200
    assert len(asked) == 1
    assert "tabby" in page.text
    assert "88%" in page.text
    assert f"/display/{told['filename']}" in page.text
    assert f'href="/p/{told["prediction_id"]}"' in page.text


def test_the_plain_form_links_to_its_answer(client: FlaskClient, asked: list[str], image: bytes) -> None:
    page = client.post("/", data={"file": (BytesIO(image), "a.jpg")}).text
    address = page.split('id="answer-link" href="')[1].split('"')[0]
    assert client.get(address).status_code == 200


@pytest.mark.parametrize("wrong", ["none", "a.b", "%00", "x" * 5000])
def test_an_id_that_nobody_was_given_shows_nothing(client: FlaskClient, told: dict[str, str], wrong: str) -> None:
    changed = told["prediction_id"][:-1] + ("A" if told["prediction_id"][-1] != "A" else "B")
    assert client.get(f"/p/{wrong}").status_code == 404
    assert client.get(f"/p/{changed}").status_code == 404


def test_the_address_ends_with_the_image(client: FlaskClient, told: dict[str, str], uploads_folder: Path) -> None:
    (uploads_folder / told["filename"]).unlink()
    assert client.get(f"/p/{told['prediction_id']}").status_code == 404


def test_with_api_keys_it_is_for_the_sender_and_the_operator(guarded: FlaskClient, image: bytes) -> None:
    address = f"/p/{Asker(guarded, ALICE).predict(image).get_json()['prediction_id']}"
    statuses = [Asker(guarded, key).send("GET", address).status_code for key in (ALICE, BOB, OPERATOR)]
    assert statuses == [200, 404, 200]
    assert guarded.get(address).status_code == 401
