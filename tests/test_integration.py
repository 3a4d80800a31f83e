"""The whole system, over HTTP alone.

SIGHTLINE_URL (or API_URL) names a running service, `make serve` or docker-compose; without it one is started.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from typing import Any

import pytest

from sightline_testing import photographs
from sightline_testing.client import Client, Response
from sightline_testing.sample_images import BAD_NAMES, GOOD_NAMES, bad, good, jpeg, large_jpeg
from sightline_testing.service import BUNDLES, REPOSITORY, Service

MALFORMED = {"success": False, "prediction": None, "score": None}
STATUS_OF_CODE = {"unsupported_type": 415, "image_too_large": 422, "image_broken": 422}
# Scores are rounded to 4 decimals on both sides of the comparison.
ROUNDING = 0.00011

ASK_DIRECTLY = """
import json, sys
import ml_service
print(json.dumps({name: ml_service.predict(name) for name in sys.argv[1:]}))
"""


@pytest.fixture
def client(service: Service) -> Client:
    return Client(service.url)


def test_the_service_says_that_it_lives_and_is_ready(client: Client) -> None:
    assert client.get("/livez").status == 200
    assert client.get("/readyz").status == 200


def test_an_image_is_answered_with_exactly_three_keys(client: Client) -> None:
    response = client.upload("/predict", good("baseline.jpg").content)
    assert response.status == 200
    assert response.headers.get_content_type() == "application/json"
    document = response.json()
    assert list(document) == ["success", "prediction", "score"]
    assert document["success"] is True
    assert isinstance(document["prediction"], str)
    assert 0 < document["score"] <= 1
    assert document["score"] == round(document["score"], 4)


def test_more_is_told_to_those_who_ask_for_it(client: Client) -> None:
    plain = client.upload("/predict", good("baseline.jpg").content).json()
    document = client.upload("/predict?top_k=5", good("baseline.jpg").content).json()
    assert {key: document[key] for key in plain} == plain
    scores = [prediction["score"] for prediction in document["predictions"]]
    assert len(scores) == 5
    assert scores == sorted(scores, reverse=True)
    assert document["predictions"][0] == {"label": plain["prediction"], "score": plain["score"]}
    assert document["prediction_id"]
    assert document["model_version"].startswith("efficientnet-lite0/")


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_an_image_may_be_the_whole_body(client: Client, method: str) -> None:
    content = good("baseline.jpg").content
    wanted = client.upload("/predict", content).json()
    for headers in ({"Content-Type": "image/jpeg"}, {"Content-Type": "application/octet-stream"}):
        assert client.send(method, "/predict", content, headers).json() == wanted


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_an_image_of_any_kind_shows_the_same(client: Client, name: str) -> None:
    response = client.upload("/predict", good(name).content, name)
    assert response.status == 200, response.text
    if "transparent" not in name and "one_bit" not in name and "grey" not in name:
        wanted = client.upload("/predict", good("colour.png").content, "colour.png").json()
        assert response.json()["prediction"] == wanted["prediction"]


@pytest.mark.parametrize("megapixels", [(6_000, 5_000), (8_000, 8_000)], ids=["30", "64"])
def test_a_large_baseline_jpeg_is_answered(client: Client, megapixels: tuple[int, int]) -> None:
    assert client.upload("/predict", large_jpeg(*megapixels)).status == 200


@pytest.mark.parametrize("name", BAD_NAMES)
def test_an_image_that_cannot_be_used_is_refused_and_the_next_one_is_answered(client: Client, name: str) -> None:
    response = client.upload("/predict", bad(name).content, name)
    assert response.status == STATUS_OF_CODE[bad(name).code], response.text
    assert response.headers.get_content_type() == "application/problem+json"
    problem = response.json()
    assert problem["code"] == bad(name).code
    assert {key: problem[key] for key in MALFORMED} == MALFORMED
    assert problem["detail"]
    assert client.upload("/predict", good("baseline.jpg").content).status == 200


def without_a_usable_file(client: Client) -> Iterator[tuple[str, Response]]:
    content = good("baseline.jpg").content
    yield "no file", client.post_form("/predict", {"other": "field"})
    yield "no body", client.send("POST", "/predict")
    yield "wrong field", client.upload("/predict", content, field="image")
    yield "no name", client.upload("/predict", b"words", name="")
    yield "empty file", client.upload("/predict", b"")
    yield "no image and no image's name", client.upload("/predict", b"words", name="image.txt")
    yield (
        "JSON",
        client.send("POST", "/predict", json.dumps({"file": 1}).encode(), {"Content-Type": "application/json"}),
    )


def test_a_request_without_a_usable_file_gets_the_contracts_400(client: Client) -> None:
    for what, response in without_a_usable_file(client):
        assert (what, response.status) == (what, 400)
        assert (what, response.json()) == (what, MALFORMED)


@pytest.mark.parametrize("name", ["", "blob", "image.txt", "image.jfif"])
def test_an_image_is_answered_whatever_its_name(client: Client, name: str) -> None:
    answer = client.upload("/predict", good("baseline.jpg").content, name=name)
    assert (answer.status, answer.json()["success"]) == (200, True)


def test_too_many_bytes_are_413(client: Client) -> None:
    assert client.upload("/predict", jpeg() + bytes(21 * 1024 * 1024)).status == 413


def test_other_methods_and_addresses_are_refused(client: Client) -> None:
    assert client.get("/predict").status == 405
    assert client.get("/nothing/here").status == 404
    assert client.get("/display/..%2f..%2fetc%2fpasswd").status == 404


def test_the_page_shows_the_image_its_class_and_its_score(client: Client) -> None:
    content = good("baseline.jpg").content
    answer = client.upload("/predict?top_k=1", content).json()
    page = client.upload("/", content)
    assert page.status == 200
    assert page.headers.get_content_type() == "text/html"
    assert f"/display/{answer['filename']}" in page.text
    assert answer["prediction"].replace("_", " ") in page.text.replace("_", " ")
    stored = client.get(f"/display/{answer['filename']}")
    assert stored.body == content
    assert stored.headers["X-Content-Type-Options"] == "nosniff"


def test_the_page_without_a_usable_file_comes_back_with_a_message(client: Client) -> None:
    response = client.upload("/", b"text", name="notes.txt")
    assert response.status == 302
    cookie = response.headers["Set-Cookie"].split(";")[0]
    assert "<form" in client.get(response.headers["Location"], {"Cookie": cookie}).text


def test_the_page_says_what_is_wrong_with_a_broken_image(client: Client) -> None:
    response = client.upload("/", bad("truncated.jpg").content, "truncated.jpg")
    assert response.status == 422
    assert "<form" in response.text


def test_a_report_is_accepted_from_the_page_and_as_free_text(client: Client) -> None:
    assert client.get("/feedback").status == 200
    answer = client.upload("/predict?top_k=1", good("baseline.jpg").content).json()
    report = str({"filename": answer["filename"], "prediction": answer["prediction"], "score": answer["score"]})
    for fields in ({"report": report}, {"report": "=1+1\nthat's wrong"}, {}):
        assert client.post_form("/feedback", fields).status == 200


def test_photographs_are_named_rightly_and_as_the_model_itself_names_them(client: Client) -> None:
    images = photographs.required()
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda it: client.upload("/predict", it.path.read_bytes(), it.path.name), images))
    assert [response.status for response in responses] == [200] * len(images)
    answers = [response.json() for response in responses]
    right = sum(answer["prediction"] == it.label for answer, it in zip(answers, images, strict=True))
    assert right >= 0.85 * len(images)
    direct = ask_the_model_directly([it.path.name for it in images])
    for it, answer in zip(images, answers, strict=True):
        label, score = direct[it.path.name]
        assert (it.path.name, answer["prediction"]) == (it.path.name, label)
        assert answer["score"] == pytest.approx(score, abs=ROUNDING)


def ask_the_model_directly(names: list[str]) -> dict[str, Any]:
    """Return the result of ml_service.predict, in a process of its own and without Redis."""
    finished = subprocess.run(
        [sys.executable, "-c", ASK_DIRECTLY, *names],
        cwd=REPOSITORY / "model",
        env={"PYTHONPATH": ".", "UPLOAD_FOLDER": str(photographs.FOLDER), "BUNDLES_FOLDER": str(BUNDLES)},
        check=True,
        capture_output=True,
        text=True,
    )
    answers: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return answers


def test_a_thousand_requests_32_at_a_time_are_each_answered_rightly(client: Client) -> None:
    contents = [jpeg(seed=seed) for seed in range(1, 9)]
    wanted = {content: client.upload("/predict", content).json() for content in contents}
    with ThreadPoolExecutor(32) as pool:
        sent = list(islice(cycle(contents), 1000))
        responses = list(pool.map(lambda content: client.upload("/predict", content), sent))
    assert [response.status for response in responses] == [200] * 1000
    for content, response in zip(sent, responses, strict=True):
        answer = response.json()
        assert answer["prediction"] == wanted[content]["prediction"]
        assert answer["score"] == pytest.approx(wanted[content]["score"], abs=ROUNDING)
