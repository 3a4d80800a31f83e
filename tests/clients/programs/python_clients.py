"""Ask the service with Python's HTTP clients and those of Triton and KServe, each as its documentation does.

`python python_clients.py URL IMAGE` prints a JSON object: the label by client and way of sending.
"""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import requests
import tritonclient.http as triton
from huggingface_hub import InferenceClient
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

URL, IMAGE = sys.argv[1], Path(sys.argv[2])
PREDICT = f"{URL}/predict"
CONTENT = IMAGE.read_bytes()
TEXT = base64.b64encode(CONTENT).decode()
TIMEOUT_S = 60
LABELS: dict[str, str] = {}


def main() -> None:
    """Ask in every way, and print the labels."""
    model = requests.get(f"{URL}/readyz", timeout=TIMEOUT_S).json()["model_version"].partition("/")[0]
    ask_with_requests()
    asyncio.run(ask_with_httpx())
    ask_with_triton(model)
    asyncio.run(ask_with_kserve(model))
    asyncio.run(ask_with_kserve_v1(model))
    ask_with_hugging_face()
    sys.stdout.write(json.dumps(LABELS))


def ask_with_requests() -> None:
    """Send files, streams, bytes and JSON."""
    with requests.Session() as session, IMAGE.open("rb") as file, IMAGE.open("rb") as stream:
        named = ("cat.jpg", CONTENT, "image/jpeg", {"Expires": "0"})
        ways: dict[str, dict[str, Any]] = {
            "files": {"files": {"file": file}},
            "files with headers": {"files": {"file": named}},
            "files and fields": {"files": {"file": named}, "data": {"top_k": "1"}},
            "a stream": {"data": stream},
            "chunks": {"data": pieces()},
            "bytes": {"data": CONTENT},
            "JSON": {"json": {"image": TEXT}},
        }
        for way, body in ways.items():
            LABELS[f"requests, {way}"] = session.post(PREDICT, timeout=TIMEOUT_S, **body).json()["prediction"]
        several = [("file", ("a.jpg", CONTENT, "image/jpeg")), ("file", ("b.jpg", CONTENT, "image/jpeg"))]
        results = session.post(PREDICT, files=several, timeout=TIMEOUT_S).json()["results"]
        LABELS["requests, several files"] = results[1]["prediction"]


def pieces() -> Iterator[bytes]:
    """Yield the image in pieces, which clients send in chunks."""
    for at in range(0, len(CONTENT), 1000):
        yield CONTENT[at : at + 1000]


async def ask_with_httpx() -> None:
    """Send files, bytes and JSON, and streams in parallel."""

    async def streamed() -> AsyncIterator[bytes]:
        for piece in pieces():
            yield piece

    ways: dict[str, dict[str, Any]] = {
        "files": {"files": {"file": IMAGE.open("rb")}},
        "files and fields": {"files": {"file": ("cat.jpg", CONTENT, "image/jpeg")}, "data": {"top_k": "1"}},
        "content": {"content": CONTENT},
        "JSON": {"json": {"image": TEXT}},
    }
    for way, body in ways.items():
        LABELS[f"httpx, {way}"] = httpx.post(PREDICT, timeout=TIMEOUT_S, **body).json()["prediction"]
    async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
        answers = await asyncio.gather(*(client.post(PREDICT, content=streamed()) for _ in range(4)))
    LABELS["httpx, parallel streams"] = answers[3].json()["prediction"]


def ask_with_triton(model: str) -> None:
    """Send tensors as bytes and as JSON, plain and compressed."""
    with triton.InferenceServerClient(url=URL.removeprefix("http://"), network_timeout=TIMEOUT_S) as client:
        for compression in (None, "gzip", "deflate"):
            for is_binary in (True, False):
                image = triton.InferInput("image", [1], "BYTES")
                image.set_data_from_numpy(tensor(is_binary=is_binary), binary_data=is_binary)
                results = client.infer(
                    model,
                    [image],
                    outputs=[triton.InferRequestedOutput("label", binary_data=is_binary)],
                    request_compression_algorithm=compression,
                    response_compression_algorithm=compression,
                )
                LABELS[f"tritonclient, {kind(is_binary=is_binary)}, {compression}"] = text(results.as_numpy("label")[0])


async def ask_with_kserve(model: str) -> None:
    """Look whether all is well, and send tensors as bytes and as JSON."""
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=5, timeout=TIMEOUT_S))
    well = [
        await client.is_server_live(URL),
        await client.is_server_ready(URL),
        await client.is_model_ready(URL, model),
    ]
    LABELS["KServe, health"] = str(all(well))
    for is_binary in (True, False):
        image = InferInput(name="image", shape=[1], datatype="BYTES")
        image.set_data_from_numpy(tensor(is_binary=is_binary), binary_data=is_binary)
        response = await client.infer(URL, InferRequest(model_name=model, infer_inputs=[image]), model_name=model)
        LABELS[f"KServe, {kind(is_binary=is_binary)}"] = text(output(response, "label").as_numpy()[0])
    plain = InferInput(name="image", shape=[1], datatype="BYTES", data=[TEXT])
    response = await client.infer(URL, InferRequest(model_name=model, infer_inputs=[plain]), model_name=model)
    LABELS["KServe, a list"] = output(response, "label").data[0]
    await client.close()


async def ask_with_kserve_v1(model: str) -> None:
    """Look whether all is well, and send instances in the two usual forms."""
    client = InferenceRESTClient(RESTConfig(protocol="v1", retries=5, timeout=TIMEOUT_S))
    LABELS["KServe v1, health"] = str(await client.is_model_ready(URL, model))
    for way, instance in {"b64": {"b64": TEXT}, "named": {"image_bytes": {"b64": TEXT}}}.items():
        answer = await client.infer(URL, {"instances": [instance, instance]}, model_name=model)
        LABELS[f"KServe v1, {way}"] = answer["predictions"][1]["label"]
    await client.close()


def ask_with_hugging_face() -> None:
    """Send the image itself, its path, and the image with parameters, which goes as base64 in JSON."""
    client = InferenceClient(model=f"{URL}/hf/default", timeout=TIMEOUT_S)
    for way, found in {
        "bytes": client.image_classification(CONTENT),
        "a path": client.image_classification(str(IMAGE)),
        "parameters": client.image_classification(CONTENT, top_k=3),
    }.items():
        LABELS[f"Hugging Face, {way}"] = found[0].label


def tensor(*, is_binary: bool) -> Any:
    """Return the image as a tensor of bytes; in JSON they are base64."""
    return np.array([CONTENT if is_binary else TEXT.encode()], dtype=np.object_)


def output(response: Any, name: str) -> Any:
    """Return an output of KServe's response."""
    return next(each for each in response.outputs if each.name == name)


def kind(*, is_binary: bool) -> str:
    """Return a description of how a tensor is sent."""
    return "binary" if is_binary else "JSON"


def text(label: Any) -> str:
    """Return a label as text."""
    return label.decode() if isinstance(label, bytes) else str(label)


if __name__ == "__main__":
    main()
