"""KServe v1, TensorFlow Serving and Hugging Face: what they send, what they get, and what is refused."""

import base64
from typing import Any

import pytest
from flask.testing import FlaskClient

from sightline_testing import sample_images
from tests.serving import LABELS, MODEL, VERSION, EchoWorker, wait_until

CONTENT = sample_images.jpeg(64, 48)
TEXT = base64.b64encode(CONTENT).decode()
PREDICT = f"/v1/models/{MODEL}:predict"


@pytest.fixture(autouse=True)
def known(client: FlaskClient, worker: EchoWorker) -> None:
    wait_until(lambda: client.get("/readyz").status_code == 200, "the worker is registered")


@pytest.mark.parametrize("path", [PREDICT, "/v1/models/default:predict", f"/v1/models/{MODEL}/versions/1:predict"])
def test_each_instance_is_an_image(client: FlaskClient, path: str) -> None:
    instances = [{"b64": TEXT}, {"image_bytes": {"b64": TEXT}}, {"image": TEXT}, TEXT, f"data:image/jpeg;base64,{TEXT}"]
    answer = client.post(path, json={"instances": instances, "signature_name": "serving_default"})
    assert answer.status_code == 200, answer.text
    predictions = answer.get_json()["predictions"]
    assert [each["label"] for each in predictions] == [LABELS[0]] * len(instances)
    assert predictions[0]["predictions"][0] == {"label": LABELS[0], "score": predictions[0]["score"]}


@pytest.mark.parametrize("path", [PREDICT, f"/v1/models/{MODEL}/versions/1:predict"])
def test_a_verb_is_no_part_of_a_model_s_name(client: FlaskClient, path: str) -> None:
    assert client.get(path).status_code == 405
    assert set(client.options(path).allow) == {"OPTIONS", "POST"}


def test_a_body_without_images_is_400_and_says_what_to_send(client: FlaskClient) -> None:
    bodies: tuple[Any, ...] = (
        *({}, [], {"instances": []}, {"instances": "x"}, {"instances": [{}]}, {"instances": [{"b64": 1}]}),
        *({"instances": [{"b64": "no!"}]}, {"instances": [{"a": {"b64": TEXT}}]}, {"instances": [1]}),
        *({"instances": [{"b64": TEXT}] * 17}, {"inputs": [{"b64": TEXT}]}, {"instances": [[0.5]]}),
    )
    for body in bodies:
        answer = client.post(PREDICT, json=body)
        assert (answer.status_code, len(answer.headers["X-Error-Detail"]) > 20) == (400, True), body


def test_the_status_of_the_model_is_that_of_both_systems(client: FlaskClient) -> None:
    for path in (f"/v1/models/{MODEL}", f"/v1/models/{MODEL}/versions/1", f"/v1/models/{MODEL}/versions/{VERSION}"):
        status = client.get(path).get_json()
        assert (status["name"], status["ready"]) == (MODEL, True)
        assert status["model_version_status"][0]["state"] == "AVAILABLE"
    assert client.get("/v1/models").get_json() == {"models": [MODEL]}
    assert client.get("/v1/models/another").status_code == 404
    assert client.post("/v1/models/another:predict", json={"instances": [TEXT]}).status_code == 404


def test_hugging_face_gets_a_list_of_labels_with_scores(client: FlaskClient) -> None:
    bodies: tuple[dict[str, Any], ...] = (
        {"data": CONTENT},
        {"data": CONTENT, "content_type": "image/jpeg"},
        {"json": {"inputs": TEXT}},
        {"json": {"inputs": TEXT, "parameters": {"top_k": 1, "function_to_apply": None}}},
    )
    for body in bodies:
        answer = client.post(f"/hf/{MODEL}", **body)
        assert answer.status_code == 200, answer.text
        assert answer.get_json()[0]["label"] == LABELS[0]
    assert len(answer.get_json()) == 1


def test_what_hugging_face_cannot_have_meant_is_400(client: FlaskClient) -> None:
    for body in ({}, {"inputs": 1}, {"inputs": "no!"}, {"inputs": TEXT, "parameters": {"top_k": "many"}}, [TEXT]):
        assert client.post("/hf/default", json=body).status_code == 400
    assert client.post("/hf/another", data=CONTENT).status_code == 404


def test_triton_s_extensions_describe_what_is_served(client: FlaskClient) -> None:
    for path in (f"/v2/models/{MODEL}/config", f"/v2/models/{MODEL}/versions/{VERSION}/config"):
        assert client.get(path).get_json()["output"][2]["dims"] == [-1, len(LABELS)]
    assert client.post("/v2/repository/index").get_json()[0]["name"] == MODEL
    client.post("/predict", data=CONTENT)
    for path in ("/v2/models/stats", f"/v2/models/{MODEL}/stats", f"/v2/models/{MODEL}/versions/{VERSION}/stats"):
        [stats] = client.get(path).get_json()["model_stats"]
        assert (stats["name"], stats["version"], stats["inference_count"] > 0) == (MODEL, VERSION, True)
    assert client.get("/v2/models/another/stats").status_code == 404
