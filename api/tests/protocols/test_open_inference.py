"""The Open Inference Protocol's messages, byte for byte, and the routes of other systems."""

import base64
import json
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient

import settings
from predict import job_queue
from problems import Problem
from protocols import open_inference
from sightline_testing import sample_images
from sightline_testing.redis_server import RedisServer
from tests.serving import CONFIDENCE, LABELS, MODEL, VERSION, EchoWorker, wait_until
from wire import Answer

INFER = f"/v2/models/{MODEL}/infer"
SCORES = [CONFIDENCE / (rank + 1) for rank in range(len(LABELS))]
ROUNDED = [round(score, 4) for score in SCORES]


@pytest.fixture
def ready(client: FlaskClient, worker: EchoWorker) -> EchoWorker:
    wait_until(lambda: client.get("/v2/health/ready").status_code == 200, "the worker is registered")
    wait_until(lambda: client.get(f"/v2/models/{MODEL}").get_json().get("outputs", [{}])[-1]["shape"][1] > 0, "labels")
    return worker


def tensor(*contents: bytes, **changes: Any) -> dict[str, Any]:
    data = [base64.b64encode(content).decode() for content in contents]
    return {"name": "image", "datatype": "BYTES", "shape": [len(contents)], "data": data} | changes


def request(*contents: bytes, **more: Any) -> dict[str, Any]:
    return {"inputs": [tensor(*contents)], **more}


def elements(*contents: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(content)) + content for content in contents)


def binary(*contents: bytes, **more: Any) -> tuple[bytes, dict[str, str]]:
    data = elements(*contents)
    head = {"name": "image", "datatype": "BYTES", "shape": [len(contents)]}
    document = json.dumps({"inputs": [head | {"parameters": {"binary_data_size": len(data)}}], **more}).encode()
    return document + data, {"Inference-Header-Content-Length": str(len(document))}


def test_an_image_in_json_is_answered_as_predict_answers_it(client: FlaskClient, ready: EchoWorker) -> None:
    answer = client.post(INFER, json=request(sample_images.jpeg(), id="7"))
    assert answer.status_code == 200
    assert answer.get_json() == {
        "model_name": MODEL,
        "model_version": VERSION,
        "id": "7",
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [1], "data": [LABELS[0]]},
            {"name": "score", "datatype": "FP32", "shape": [1], "data": [SCORES[0]]},
        ],
    }
    assert answer.headers["X-Prediction-Id"]


def test_binary_tensors_go_in_and_out(client: FlaskClient, ready: EchoWorker) -> None:
    body, headers = binary(sample_images.jpeg(), sample_images.jpeg(seed=1), parameters={"binary_data_output": True})
    answer = client.post(INFER, data=body, headers=headers)
    length = int(answer.headers["Inference-Header-Content-Length"])
    document = json.loads(answer.data[:length])
    assert [output["shape"] for output in document["outputs"]] == [[2], [2]]
    labels = elements(*[LABELS[0].encode()] * 2)
    assert answer.data[length:] == labels + struct.pack("<2f", SCORES[0], SCORES[0])
    assert [output["parameters"]["binary_data_size"] for output in document["outputs"]] == [len(labels), 8]


def test_classes_are_told_as_triton_tells_them(client: FlaskClient, ready: EchoWorker) -> None:
    outputs = [{"name": "probabilities", "parameters": {"classification": 2}}]
    [output] = client.post(INFER, json=request(sample_images.jpeg(), outputs=outputs)).get_json()["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [1, 2])
    assert output["data"] == [f"{SCORES[0]:.6f}:0:{LABELS[0]}", f"{SCORES[1]:.6f}:1:{LABELS[1]}"]


def test_every_probability_is_told_in_the_order_of_the_labels(client: FlaskClient, ready: EchoWorker) -> None:
    outputs = [{"name": "probabilities"}]
    [output] = client.post(INFER, json=request(sample_images.jpeg(), outputs=outputs)).get_json()["outputs"]
    assert output["shape"] == [1, len(LABELS)]
    assert output["data"] == SCORES


def test_two_classes_of_one_name_have_a_place_each() -> None:
    wanted = open_inference.InferRequest("", [b""], [open_inference.RequestedOutput("label", classes=3)], None)
    body, _ = open_inference.answer(
        wanted, "m", "1", [[("crane", 0.5), ("cat", 0.3), ("crane", 0.1)]], ["crane", "crane", "cat"]
    )
    assert json.loads(body)["outputs"][0]["data"] == ["0.500000:0:crane", "0.300000:2:cat", "0.100000:1:crane"]


def test_one_broken_image_fails_the_whole_request(client: FlaskClient, ready: EchoWorker) -> None:
    answer = client.post(INFER, json=request(sample_images.jpeg(), b"text"))
    assert (answer.status_code, answer.get_json()["code"]) == (415, "unsupported_type")
    assert answer.get_json()["error"]


@pytest.mark.parametrize("model", ["other", f"{MODEL}/versions/0"])
def test_another_model_is_not_found(client: FlaskClient, ready: EchoWorker, model: str) -> None:
    for answer in (
        client.get(f"/v2/models/{model}"),
        client.get(f"/v2/models/{model}/ready"),
        client.post(f"/v2/models/{model}/infer", json=request(sample_images.jpeg())),
    ):
        assert (answer.status_code, answer.get_json()["code"]) == (404, "unknown_model")


@pytest.mark.parametrize("model", [f"{MODEL}/versions/{VERSION}", "default"])
def test_the_model_goes_by_its_version_and_by_a_name_for_any(
    client: FlaskClient, ready: EchoWorker, model: str
) -> None:
    assert client.get(f"/v2/models/{model}/ready").status_code == 200
    assert client.post(f"/v2/models/{model}/infer", json=request(sample_images.jpeg())).status_code == 200


GOOD = tensor(b"x")


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ("{", "no JSON"),
        ([], "no JSON object"),
        ({}, "one tensor"),
        ({"inputs": [GOOD, GOOD]}, "one tensor"),
        ({"inputs": [GOOD | {"datatype": "FP32"}]}, "FP32"),
        ({"inputs": [GOOD | {"data": 7}]}, "base64"),
        ({"inputs": [GOOD | {"data": ["%"]}]}, "base64"),
        ({"inputs": [GOOD | {"data": [7]}]}, "base64"),
        ({"inputs": [GOOD | {"data": []}]}, "0 images"),
        ({"inputs": [GOOD | {"data": ["eA=="] * 17, "shape": [17]}]}, "17 images"),
        ({"inputs": [GOOD | {"shape": [2]}]}, "shape"),
        ({"inputs": [GOOD | {"shape": [-1]}]}, "shape"),
        ({"inputs": [GOOD | {"shape": []}]}, "shape"),
        ({"inputs": [GOOD | {"shape": None}]}, "shape"),
        ({"inputs": [GOOD | {"shape": 1}]}, "shape"),
        ({"inputs": [GOOD | {"shape": ["1"]}]}, "shape"),
        ({"inputs": [GOOD | {"shape": [1.0]}]}, "shape"),
        ({"inputs": [GOOD | {"shape": [1, True]}]}, "shape"),
        ({"inputs": [GOOD | {"shape": [1, 1, 1]}]}, "shape"),
        ({"inputs": [GOOD | {"shape": [1, 2], "data": ["eA==", "eA=="]}]}, "shape"),
        ({"inputs": [GOOD | {"shape": [1] * 9 + [5]}]}, "shape"),
        ({"inputs": [{key: value for key, value in GOOD.items() if key != "shape"}]}, "shape"),
        ({"inputs": [{key: value for key, value in GOOD.items() if key != "name"}]}, "name=.None.*'image'"),
        ({"inputs": [GOOD | {"name": "img"}]}, "name=.img.*'image'"),
        ({"inputs": [GOOD | {"name": ["image"]}]}, "name"),
        ({"inputs": [GOOD | {"name": "Image"}]}, "name"),
        ({"inputs": [GOOD], "id": 7}, "id=7"),
        ({"inputs": [GOOD], "id": ["x"]}, "id"),
        ({"inputs": [GOOD], "id": "QUJD" * 600}, "id"),
        ({"inputs": [GOOD | {"shape": [10**400]}]}, "shape"),
        ({"inputs": [GOOD | {"shape": [True]}]}, "shape"),
        ({"inputs": [GOOD | {"parameters": {"binary_data_size": 5}}]}, "both data and binary_data_size"),
        ({"inputs": [GOOD | {"data": None, "parameters": {"binary_data_size": 5}}]}, "binary_data_size"),
        ({"inputs": [GOOD | {"parameters": 3}]}, "parameters"),
        ({"inputs": [GOOD], "parameters": []}, "parameters"),
        ({"inputs": [GOOD], "outputs": [{"name": "other"}]}, "other"),
        ({"inputs": [GOOD], "outputs": [{}] * 4}, "outputs"),
        ({"inputs": [GOOD], "outputs": [{"name": "label", "parameters": {"classification": -1}}]}, "classification"),
        ({"inputs": [GOOD], "outputs": [{"name": "label", "parameters": {"classification": "2"}}]}, "classification"),
    ],
)
def test_what_is_wrong_with_a_request_is_told(document: Any, told: str) -> None:
    body = document.encode() if isinstance(document, str) else json.dumps(document).encode()
    with pytest.raises(Problem, match=told) as problem:
        open_inference.parse(body, None)
    assert problem.value.status == 400


@pytest.mark.parametrize("data", [b"\x05\0\0\0abc", b"\x01\0", b"\xff\xff\xff\xff" + b"x" * 20])
def test_binary_elements_that_do_not_fit_are_told(data: bytes) -> None:
    parameters = {"binary_data_size": len(data)}
    head = json.dumps({"inputs": [GOOD | {"data": None, "parameters": parameters}]}).encode()
    with pytest.raises(Problem, match="does not fit"):
        open_inference.parse(head + data, str(len(head)))


@pytest.mark.parametrize("length", ["-1", "many", "", "\u0662"])
def test_a_length_that_is_none_is_told(length: str) -> None:
    with pytest.raises(Problem, match="Inference-Header-Content-Length"):
        open_inference.parse(b"{}", length)


def test_a_nested_list_and_base64_in_a_binary_tensor_are_understood() -> None:
    image = sample_images.jpeg()
    nested = request(image, image)
    nested["inputs"][0] |= {"shape": [2, 1], "data": [[text] for text in nested["inputs"][0]["data"]]}
    assert open_inference.parse(json.dumps(nested).encode(), None).images == [image, image]
    body, headers = binary(base64.b64encode(image))
    assert open_inference.parse(body, headers["Inference-Header-Content-Length"]).images == [image]


def test_the_server_and_the_model_describe_themselves(client: FlaskClient, ready: EchoWorker) -> None:
    assert client.get("/v2").get_json()["extensions"][:2] == ["binary_tensor_data", "classification"]
    described = client.get(f"/v2/models/{MODEL}").get_json()
    assert (described["name"], described["versions"]) == (MODEL, [VERSION])
    assert described["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    assert [output["name"] for output in described["outputs"]] == ["label", "score", "probabilities"]


@pytest.mark.parametrize("path", ["/v2/health/ready", "/ping", "/health", f"/v2/models/{MODEL}/ready"])
def test_health_by_any_name_is_503_without_redis(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(settings, "REDIS_PORT", 1)
    answer = client.get(path)
    assert (answer.status_code, answer.get_json()["code"]) == (503, "redis_unavailable")
    for alive in ("/v2/health/live", "/healthz"):
        assert client.get(alive).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_torchserve_is_spoken(client: FlaskClient, ready: EchoWorker, method: str) -> None:
    assert client.get("/ping").get_json() == {"status": "Healthy"}
    expected = dict(zip(LABELS[:5], ROUNDED[:5], strict=True))
    for path in (f"/predictions/{MODEL}", f"/predictions/{MODEL}/{VERSION}"):
        assert client.open(path, method=method, data=sample_images.jpeg()).get_json() == expected
    as_form = client.open(
        f"/predictions/{MODEL}", method=method, data={"data": (BytesIO(sample_images.jpeg()), "cat.jpg")}
    )
    assert as_form.get_json() == expected
    assert client.post(f"/predictions/{MODEL}", data=b"").get_json()["code"] == "malformed"
    assert client.post("/predictions/other", data=sample_images.jpeg()).status_code == 404


def test_sagemaker_is_spoken(client: FlaskClient, ready: EchoWorker) -> None:
    for kind in ("image/jpeg", "application/x-image"):
        answer = client.post("/invocations", data=sample_images.jpeg(), content_type=kind)
        assert answer.get_json() == {"success": True, "prediction": LABELS[0], "score": ROUNDED[0]}


def test_a_number_of_thousands_of_digits_is_no_length() -> None:
    with pytest.raises(Problem, match="is no length"):
        open_inference.parse(json.dumps(request(b"x")).encode(), "9" * 5_000)


def test_a_time_that_no_clock_shows_is_a_long_one() -> None:
    body = json.dumps(request(b"x", parameters={"timeout": 10**400})).encode()
    assert open_inference.parse(body, None).timeout_s == 86_400


def test_what_is_wrong_is_said_in_few_words() -> None:
    with pytest.raises(Problem) as caught:
        open_inference.parse(json.dumps({"inputs": [tensor(b"x", datatype="B" * 1_000_000)]}).encode(), None)
    assert len(caught.value.detail) < 200


def bomb(data: bytes, **changes: Any) -> tuple[BytesIO, str]:
    """Give a request with so much of a binary tensor, and the length of its head."""
    head = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(data)}} | changes
    document = json.dumps({"inputs": [head]}).encode()
    return BytesIO(document + data), str(len(document))


@pytest.mark.parametrize("element", [b"\0\0\0\0", b"\1\0\0\0A", b"\4\0\0\0QUJD"])
def test_elements_are_counted_before_they_are_read(element: bytes) -> None:
    stream, length = bomb(element * 1_000_000)
    with pytest.raises(Problem, match="More than 16 images"):
        open_inference.parse(stream, length)
    assert stream.tell() < 1_000


@pytest.mark.parametrize(
    ("size", "data", "told"),
    [
        (-1, b"", "is no number of bytes"),
        (True, b"", "is no number of bytes"),
        (1.5, b"", "is no number of bytes"),
        ("1" * 5_000, b"", "is no number of bytes"),
        (10**100, b"\4\0\0\0abcd", "follow the JSON"),
        (9, b"\4\0\0\0abcd\0", "does not fit"),
        (8, b"\4\0\0\0abcd\0", "more bytes follow"),
        (8, b"\4\0\0\0abc", "follow the JSON"),
    ],
)
def test_a_size_that_is_not_that_of_the_data_is_told(size: Any, data: bytes, told: str) -> None:
    stream, length = bomb(data, parameters={"binary_data_size": size})
    with pytest.raises(Problem, match=told) as problem:
        open_inference.parse(stream, length)
    assert (problem.value.status, len(problem.value.detail) < 200) == (400, True)


@pytest.mark.parametrize("encode", [base64.encodebytes, base64.urlsafe_b64encode])
def test_other_base64_is_decoded_too(encode: Callable[[bytes], bytes]) -> None:
    image = b"\xff\xd8\xff\xfb\xff\xbf" + sample_images.jpeg()
    stream, length = bomb(elements(encode(image)))
    assert open_inference.parse(stream, length).images == [image]
    in_json = request(b"") | {"inputs": [tensor(b"x", data=[encode(image).decode()])]}
    assert open_inference.parse(json.dumps(in_json).encode(), None).images == [image]


@pytest.mark.parametrize("head", ["", "data:image/jpeg;base64,"])
def test_base64_in_a_binary_tensor_is_decoded_as_it_comes(head: str) -> None:
    image = sample_images.jpeg() + bytes(range(256)) * 1_000
    stream, length = bomb(elements((head + base64.b64encode(image).decode()).encode()))
    assert open_inference.parse(stream, length).images == [image]
    stream, length = bomb(elements(base64.b64encode(image)[:200_000] + b"%" * 100_000))
    with pytest.raises(Problem, match="begins as base64"):
        open_inference.parse(stream, length)


@pytest.mark.parametrize(
    ("id_", "echo"),
    [("\ud800", "?"), ("\0", "\0"), ("x" * 2_000, "x" * 2_000), ("\u00e9\U0001f63a", "\u00e9\U0001f63a"), (None, None)],
)
def test_an_id_comes_back_as_it_was_sent(client: FlaskClient, ready: EchoWorker, id_: Any, echo: str | None) -> None:
    answer = client.post(INFER, data=json.dumps(request(sample_images.jpeg(), id=id_)), content_type="application/json")
    assert (answer.status_code, answer.get_json().get("id")) == (200, echo)


def test_null_is_as_if_it_were_left_out(client: FlaskClient, ready: EchoWorker) -> None:
    null = request(sample_images.jpeg(), id=None, parameters=None, outputs=[{"name": "label", "parameters": None}])
    null["inputs"][0]["parameters"] = None
    assert client.post(INFER, json=null).get_json()["outputs"][0]["data"] == [LABELS[0]]
    assert len(client.post(INFER, json=null | {"outputs": None}).get_json()["outputs"]) == 2


def test_probabilities_are_as_exact_as_the_model_s(client: FlaskClient, ready: EchoWorker) -> None:
    scores = [0.123456789 / 2**rank for rank in range(len(LABELS))]
    usual = ready.reply
    ready.reply = lambda delivery: replace(usual(delivery), predictions=tuple(zip(LABELS, scores, strict=True)))  # type: ignore[type-var]
    outputs = [{"name": name} for name in ("probabilities", "score")]
    probabilities, score = client.post(INFER, json=request(sample_images.jpeg(), outputs=outputs)).get_json()["outputs"]
    assert (probabilities["data"], score["data"]) == (scores, scores[:1])


@contextmanager
def model_of(client: FlaskClient, queue: RedisServer, count: int) -> Iterator[list[float]]:
    """Let a worker serve a model of so many classes, and give their scores in the order of its labels."""
    labels = [f"class {number}" for number in range(count)]
    scores = [0.5 / (rank + 1) for rank in range(count)]
    with EchoWorker(queue.port, labels=labels) as worker:
        listed = tuple(zip(labels, scores, strict=True))
        worker.reply = lambda delivery: Answer(delivery.job.id, listed[: delivery.job.top_k], MODEL, VERSION)
        wait_until(lambda: client.get("/v2/health/ready").status_code == 200, "the worker is registered")
        described = f"/v2/models/{MODEL}"
        wait_until(lambda: client.get(described).get_json()["outputs"][-1]["shape"][1] == count, "labels")
        yield scores


@pytest.mark.parametrize("most", [3, 1_000])
def test_a_model_of_more_classes_than_an_answer_lists_has_its_probabilities(
    client: FlaskClient, queue: RedisServer, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Such as the default model of 1,000 classes once it has learned another one."""
    monkeypatch.setattr(settings, "MAX_TOP_K", most)
    with model_of(client, queue, 1_001) as scores:
        answer = client.post(INFER, json=request(sample_images.jpeg(), outputs=[{"name": "probabilities"}]))
        assert answer.status_code == 200
        assert answer.get_json()["outputs"][0]["data"] == scores
        outputs = [{"name": "probabilities", "parameters": {"classification": 4}}]
        answer = client.post(INFER, json=request(sample_images.jpeg(), outputs=outputs))
        assert answer.status_code == (200 if most >= 4 else 400)


def test_a_model_of_more_classes_than_a_worker_lists_has_no_probabilities(
    client: FlaskClient, queue: RedisServer
) -> None:
    with model_of(client, queue, 10_001):
        answer = client.post(INFER, json=request(sample_images.jpeg(), outputs=[{"name": "probabilities"}]))
        assert (answer.status_code, answer.get_json()["code"]) == (400, "malformed")
        assert "10001 classes of each image are more than 10000" in answer.get_json()["detail"]
        assert client.post(INFER, json=request(sample_images.jpeg())).status_code == 200


@pytest.mark.parametrize("path", ["/v2/models/nonsense/infer", INFER, "/v2/models/default/infer", "/predictions/other"])
def test_nothing_is_answered_for_a_model_while_the_queue_s_state_is_unknown(
    client: FlaskClient, asked: list[str], monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(settings, "REDIS_PORT", 1)
    sent = (
        {"data": sample_images.jpeg()} if path.startswith("/predictions") else {"json": request(sample_images.jpeg())}
    )
    answer = client.post(path, **sent)
    assert (answer.status_code, answer.get_json()["code"], asked) == (503, "redis_unavailable", [])


@pytest.mark.parametrize("output", ["probabilities", "label"])
def test_a_new_process_reads_what_is_served_before_it_answers(
    client: FlaskClient, ready: EchoWorker, output: str
) -> None:
    for model, status in ((MODEL, 200), ("nonsense", 404)):
        job_queue.close_queue()
        wanted = [{"name": output, "parameters": {"classification": 2}}]
        answer = client.post(f"/v2/models/{model}/infer", json=request(sample_images.jpeg(), outputs=wanted))
        assert answer.status_code == status
    assert job_queue.queue_state() is not None


def test_a_model_is_known_while_its_worker_is_being_restarted(client: FlaskClient, queue: RedisServer) -> None:
    with EchoWorker(queue.port):
        wait_until(lambda: client.get("/readyz").status_code == 200, "the worker is known")
        wait_until(lambda: bool(client.get("/labels").get_json()["labels"]), "its labels are known")
    wait_until(lambda: client.get("/readyz").status_code == 503, "the worker has left")
    assert client.post("/v2/models/nonsense/infer", json=request(sample_images.jpeg())).status_code == 404
    outputs = [{"name": "probabilities"}]
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.post, INFER, json=request(sample_images.jpeg(), outputs=outputs))
        with EchoWorker(queue.port):
            assert (answer.result().status_code, answer.result().get_json()["outputs"][0]["shape"]) == (200, [1, 8])


def test_classes_that_the_model_does_not_list_are_no_answer(client: FlaskClient, ready: EchoWorker) -> None:
    usual = ready.reply
    ready.reply = lambda delivery: replace(usual(delivery), predictions=(("another", 0.5),))  # type: ignore[type-var]
    for output in ({"name": "probabilities"}, {"name": "label", "parameters": {"classification": 1}}):
        answer = client.post(INFER, json=request(sample_images.jpeg(), outputs=[output]))
        assert (answer.status_code, answer.get_json()["code"]) == (503, "not_ready")
        assert answer.headers["Retry-After"]
