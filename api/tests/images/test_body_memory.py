"""What requests hold in memory, and for how long; on the real server."""

import base64
import json
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from sightline_testing import sample_images
from sightline_testing.redis_server import RedisServer
from tests.serving import PATIENCE_S, EchoWorker, Served, read_answer, serving, wait_until

MIB = 1024**2
IMAGE_BYTES = 8 * MIB
CLIENTS = 6
# The allocator keeps some of what was freed; that does not grow with the requests.
KEPT_MIB = 30
BOUNDARY = b"--XX\r\nContent-Disposition: form-data; name="


@pytest.fixture(scope="module")
def worker(redis_process: RedisServer) -> Iterator[EchoWorker]:
    redis_process.command("FLUSHALL")
    with EchoWorker(redis_process.port) as running:
        yield running


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, worker: EchoWorker) -> Iterator[Served]:
    told = {"REDIS_PORT": worker.port, "REQUEST_TIMEOUT_S": PATIENCE_S}
    with serving(tmp_path_factory.mktemp("served"), told) as running:
        wait_until(lambda: running.ask(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")[0] == 200, "the service is ready")
        yield running


@contextmanager
def no_answers(worker: EchoWorker) -> Iterator[None]:
    """Have the worker take jobs and say nothing."""
    usual, worker.reply = worker.reply, lambda _: None
    try:
        yield
    finally:
        worker.reply = usual


def memory_mib(served: Served) -> float:
    [pid] = served.workers()
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


def post(path: str, body: bytes, kind: str = "application/json", more: str = "") -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n{more}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def image_of(seed: int, size: int = IMAGE_BYTES) -> bytes:
    return sample_images.jpeg(64, 48, seed=seed).ljust(size, b"\xaa")


def in_json(seed: int) -> bytes:
    return post("/predict", b'{"image": "' + base64.b64encode(image_of(seed)) + b'"}')


def beside_a_broken_one(seed: int) -> bytes:
    small = image_of(seed, 0)
    images = [base64.b64encode(content) for content in (small, b"no image".ljust(IMAGE_BYTES))]
    return post("/predict", b'{"images": ["' + b'", "'.join(images) + b'"]}')


def in_a_tensor(seed: int) -> bytes:
    tensor = b'{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["%b"]}' % base64.b64encode(image_of(seed))
    return post("/v2/models/default/infer", b'{"inputs": [' + tensor + b"]}")


def in_a_binary_tensor(seed: int) -> bytes:
    data = struct.pack("<I", IMAGE_BYTES) + image_of(seed)
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(data)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    length = f"Inference-Header-Content-Length: {len(head)}\r\n"
    return post("/v2/models/default/infer", head + data, "application/octet-stream", length)


def in_a_form(seed: int) -> bytes:
    file = BOUNDARY + b'"file"; filename="a.jpg"\r\n\r\n' + image_of(seed)
    return post("/predict", file + b"\r\n--XX--\r\n", "multipart/form-data; boundary=XX")


def beside_another_file(seed: int) -> bytes:
    small = image_of(seed, 0)
    file = BOUNDARY + b'"file"; filename="a.jpg"\r\n\r\n' + small
    other = BOUNDARY + b'"other"; filename="b.jpg"\r\n\r\n' + image_of(seed)
    return post("/predict", file + b"\r\n" + other + b"\r\n--XX--\r\n", "multipart/form-data; boundary=XX")


def as_a_body(seed: int) -> bytes:
    return post("/predict", image_of(seed), "image/jpeg")


@pytest.mark.parametrize(
    "request_of",
    [in_json, beside_a_broken_one, in_a_tensor, in_a_binary_tensor, in_a_form, beside_another_file],
    ids=lambda request_of: request_of.__name__,
)
def test_what_waits_for_its_answer_is_not_in_memory(
    served: Served, worker: EchoWorker, request_of: Callable[[int], bytes]
) -> None:
    assert served.ask(request_of(0))[0] == 200
    worker.images.clear()
    before = memory_mib(served)
    with no_answers(worker), ExitStack() as stack:
        for seed in range(1, CLIENTS + 1):
            connection = stack.enter_context(closing(served.connect()))
            connection.sendall(request_of(seed))
        wait_until(lambda: len(set(worker.images)) == CLIENTS, "all wait for their answers")
        assert memory_mib(served) - before < KEPT_MIB


@pytest.mark.parametrize("unit", [b"{},", b'"",', b"1,", b"[", b'"a":1,'])
def test_json_that_is_no_image_costs_no_memory(served: Served, unit: bytes) -> None:
    bomb = post("/predict", b'{"images":[' + unit * (16 * MIB // len(unit)))
    assert served.ask(post("/predict", b"{}"))[0] == 400
    before = memory_mib(served)
    with closing(served.connect()) as connection:
        connection.sendall(bomb)
        assert read_answer(connection)[0] == 400
        assert memory_mib(served) - before < KEPT_MIB


def test_a_form_of_very_many_fields_is_refused_and_a_page_reads_none(served: Served) -> None:
    fields = b"a&" * 100_000
    kind = "application/x-www-form-urlencoded"
    assert served.ask(post("/feedback", fields, kind))[0] == 413
    assert served.ask(post("/", fields * 40, kind))[0] == 302


@pytest.mark.parametrize("request_of", [in_json, in_a_tensor, in_a_binary_tensor, in_a_form, as_a_body])
def test_a_body_that_is_broken_off_is_nothing(
    served: Served, worker: EchoWorker, request_of: Callable[[int], bytes]
) -> None:
    worker.images.clear()
    with closing(served.connect()) as connection:
        connection.sendall(request_of(100)[: IMAGE_BYTES // 2])
        connection.shutdown(socket.SHUT_WR)
        assert read_answer(connection)[0] == 400
    assert worker.images == []
