"""Clients of other systems, unchanged, against the running service."""

import base64
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from sightline_testing.client import Client
from sightline_testing.plugin import missing
from sightline_testing.sample_images import bad, good, jpeg
from sightline_testing.service import Service


@pytest.fixture
def triton(service: Service) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(urlsplit(service.url).netloc, connection_timeout=60, network_timeout=60) as client:
        yield client


@pytest.fixture
def model(service: Service) -> str:
    return str(Client(service.url).get("/readyz").json()["model_version"].partition("/")[0])


IMAGES = [good("baseline.jpg").content, jpeg(300, 200, seed=5)]


def tensor(contents: list[bytes], *, as_binary: bool) -> InferInput:
    values = contents if as_binary else [base64.b64encode(content) for content in contents]
    image = InferInput("image", [len(values)], "BYTES")
    image.set_data_from_numpy(np.array(values, dtype=np.object_), binary_data=as_binary)
    return image


def test_triton_client_finds_everything_well(triton: InferenceServerClient, model: str) -> None:
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready(model)
    assert not triton.is_model_ready("another")
    assert triton.get_server_metadata()["name"] == "sightline"
    metadata = triton.get_model_metadata(model)
    assert metadata["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    assert triton.is_model_ready(model, metadata["versions"][0])


def test_triton_client_reads_the_configuration_the_index_and_the_statistics(
    service: Service, triton: InferenceServerClient, model: str
) -> None:
    version = triton.get_model_metadata(model)["versions"][0]
    configuration = triton.get_model_config(model, version)
    assert [(each["name"], each["data_type"]) for each in configuration["input"]] == [("image", "TYPE_STRING")]
    assert [each["name"] for each in configuration["output"]] == ["label", "score", "probabilities"]
    expected = {"name": model, "version": version, "state": "READY", "reason": ""}
    assert triton.get_model_repository_index() == [expected]
    before = triton.get_inference_statistics(model)["model_stats"][0]
    triton.infer(model, [tensor([jpeg(300, 200, seed=77)], as_binary=True)])
    after = triton.get_inference_statistics()["model_stats"][0]
    assert after["inference_count"] >= before["inference_count"] + 1
    assert after["inference_stats"]["success"]["ns"] > before["inference_stats"]["success"]["ns"]
    with pytest.raises(InferenceServerException, match="another"):
        triton.get_model_config("another")


@pytest.mark.parametrize("comes_back_binary", [True, False])
@pytest.mark.parametrize("goes_binary", [True, False])
def test_triton_client_is_answered_as_predict_answers(
    service: Service, triton: InferenceServerClient, model: str, goes_binary: bool, comes_back_binary: bool
) -> None:
    plain = [Client(service.url).upload("/predict", content).json() for content in IMAGES]
    outputs = [InferRequestedOutput(name, binary_data=comes_back_binary) for name in ("label", "score")]
    answer = triton.infer(model, [tensor(IMAGES, as_binary=goes_binary)], outputs=outputs, request_id="42")
    labels = [text.decode() if isinstance(text, bytes) else text for text in answer.as_numpy("label")]
    assert labels == [each["prediction"] for each in plain]
    assert answer.as_numpy("score") == pytest.approx([each["score"] for each in plain], abs=0.0002)
    assert answer.get_response()["id"] == "42"


def test_triton_client_asks_for_classes_and_for_all_probabilities(
    service: Service, triton: InferenceServerClient, model: str
) -> None:
    best = Client(service.url).upload("/predict?top_k=3", IMAGES[0]).json()["predictions"]
    wanted = [InferRequestedOutput("probabilities", class_count=3)]
    answer = triton.infer(model, [tensor(IMAGES[:1], as_binary=True)], outputs=wanted)
    classes = [text.decode().split(":", 2) for text in answer.as_numpy("probabilities")[0]]
    assert [label for _, _, label in classes] == [each["label"] for each in best]
    everything = triton.infer(
        model, [tensor(IMAGES[:1], as_binary=True)], outputs=[InferRequestedOutput("probabilities")]
    ).as_numpy("probabilities")
    assert everything.shape == (1, 1000)
    assert int(everything[0].argmax()) == int(classes[0][1])
    assert float(everything.sum()) == pytest.approx(1, abs=1e-4)


def test_triton_client_is_told_what_is_wrong(triton: InferenceServerClient, model: str) -> None:
    with pytest.raises(InferenceServerException, match="another") as unknown:
        triton.infer("another", [tensor(IMAGES, as_binary=True)])
    assert unknown.value.status() == "404"
    with pytest.raises(InferenceServerException) as broken:
        triton.infer(model, [tensor([bad("truncated.jpg").content], as_binary=True)])
    assert broken.value.status() == "422"


def test_torchserve_is_asked_as_its_readme_does(service: Service, model: str, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        missing("curl is not installed")
    (tmp_path / "kitten.jpg").write_bytes(IMAGES[0])
    command = ["curl", "--fail", "--silent", f"{service.url}/predictions/{model}", "-T", "kitten.jpg"]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    best = Client(service.url).upload("/predict", IMAGES[0]).json()["prediction"]
    assert finished.stdout.startswith(f'{{"{best}": 0.')
