"""Plain requests for what is not under the clock: the first right answer, and the check of every answer."""

import http.client
import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.errors import NoAnswerError

ANSWER_TIMEOUT_S = 30
CHECK_CONNECTIONS = 4
ATTEMPT_INTERVAL_S = 0.01
_BOUNDARY = "sightline-bench-check"


@dataclass(frozen=True)
class Endpoint:
    """Where images are posted to, and as what body: raw, multipart or kserve, a raw body as Triton takes it."""

    url: str
    body: str

    def post(self, content: bytes) -> tuple[int, dict[str, Any]]:
        """Post one image; return the status and the JSON answer."""
        parts = urlsplit(self.url)
        headers = {"Content-Type": "image/jpeg"}
        if self.body == "multipart":
            headers["Content-Type"] = f"multipart/form-data; boundary={_BOUNDARY}"
            content = _multipart(content)
        if self.body == "kserve":
            headers["Inference-Header-Content-Length"] = "0"
        connection = http.client.HTTPConnection(parts.netloc, timeout=ANSWER_TIMEOUT_S)
        try:
            connection.request("POST", parts.path, content, headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if length := answer.headers.get("Inference-Header-Content-Length"):
            return answer.status, _of_tensors(text, int(length))
        return answer.status, json.loads(text) if text.startswith(b"{") else {}

    def outcome(self, content: bytes) -> str:
        """Post one image; return its label, or a description of the response without one."""
        try:
            status, answer = self.post(content)
        except (OSError, http.client.HTTPException) as error:
            return repr(error)
        return str(answer.get("prediction")) if status == http.HTTPStatus.OK else f"status {status}"


def _of_tensors(text: bytes, head_length: int) -> dict[str, Any]:
    """Return the texts among an answer's tensors, whose bytes follow their JSON, each text after its length."""
    found: dict[str, Any] = {}
    tensors, at = json.loads(text[:head_length])["outputs"], head_length
    for tensor in tensors:
        end = at + tensor["parameters"]["binary_data_size"]
        if tensor["datatype"] == "BYTES":
            found[tensor["name"]] = text[at + 4 : end].decode()
        at = end
    return found


def _multipart(content: bytes) -> bytes:
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="image.jpg"\r\n'
    return f"{head}Content-Type: image/jpeg\r\n\r\n".encode() + content + f"\r\n--{_BOUNDARY}--\r\n".encode()


def wait_for_first_answer(
    endpoint: Endpoint, image: Path, label: str, *, timeout_s: float, is_running: Callable[[], bool]
) -> None:
    """Ask again and again until one image is answered with its label; fail when that takes too long."""
    content = image.read_bytes()
    deadline = time.monotonic() + timeout_s
    outcome = "no connection"
    while time.monotonic() < deadline and is_running():
        outcome = endpoint.outcome(content)
        if outcome == label:
            return
        time.sleep(ATTEMPT_INTERVAL_S)
    state = "is running" if is_running() else "has ended"
    raise NoAnswerError(
        f"{endpoint.url} should have answered {label!r} for {image.name}; last: {outcome}; the server {state}"
    )


def collect_answers(endpoint: Endpoint, images: list[Path]) -> dict[str, str]:
    """Return the outcome for each image by file name."""
    with ThreadPoolExecutor(CHECK_CONNECTIONS) as pool:
        outcomes = list(pool.map(lambda image: endpoint.outcome(image.read_bytes()), images))
    return dict(zip((image.name for image in images), outcomes, strict=True))


def share_equal(answers: Mapping[str, str], expected: Mapping[str, str]) -> float:
    """Return the share of images whose answer is the expected one."""
    return sum(answers.get(name) == label for name, label in expected.items()) / len(expected)
