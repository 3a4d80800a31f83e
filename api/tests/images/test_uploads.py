import hashlib
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.datastructures import FileStorage
from werkzeug.test import EnvironBuilder

import settings
import utils
from images import uploads
from images.multipart import MemoryRequest
from predict import job_queue
from problems import Problem, UnusableFile
from sightline_testing import sample_images
from sightline_testing.redis_server import RedisServer
from storage.images.folder import image_folder
from tests.serving import LABELS, MODEL, VERSION, wait_until
from wire import Address, Heartbeat, QueueFull, WorkerInfo
from wire.decode_cost import decode_ms

JPEG = b"\xff\xd8\xff\xe0 an image"
NAME = hashlib.md5(JPEG, usedforsecurity=False).hexdigest() + ".jpg"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "some" / "uploads"


def request_with(body: bytes, content_type: str | None) -> MemoryRequest:
    return MemoryRequest(EnvironBuilder(method="POST", data=body, content_type=content_type).get_environ())


def receive(request: MemoryRequest, folder: Path, *, raw: bool) -> uploads.StoredImage:
    image = uploads.store_file(uploads.file_of(request, raw=raw), image_folder(folder))
    uploads.forget_body(request)
    return image


def form_request(content: bytes, name: str, field: str = "file") -> MemoryRequest:
    file = FileStorage(BytesIO(content), name)
    return MemoryRequest(EnvironBuilder(method="POST", data={field: file}).get_environ())


@pytest.mark.parametrize(
    "content_type",
    [
        *("image/jpeg", "image/png", "image/x-whatever", "application/octet-stream", None),
        "application/x-www-form-urlencoded",  # of curl, axios and Java, without an explicit type
        *("text/plain", "text/plain; charset=utf-8", "text/html", "application/pdf", "application/json"),
    ],
)
def test_a_raw_image_is_told_by_its_signature_whatever_its_type_says(folder: Path, content_type: str | None) -> None:
    assert receive(request_with(JPEG, content_type), folder, raw=True).name == NAME


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", None, "image/jpeg"])
@pytest.mark.parametrize("head", [b"data:image/jpeg;base64,", b"data:image/png;charset=utf-8;base64,"])
def test_a_data_url_is_the_image_in_it(folder: Path, head: bytes, content_type: str | None) -> None:
    assert receive(request_with(head + b64encode(JPEG), content_type), folder, raw=True).name == NAME
    unpadded = urlsafe_b64encode(JPEG).rstrip(b"=")
    assert receive(request_with(head + unpadded, content_type), folder, raw=True).name == NAME


@pytest.mark.parametrize("raw", [True, False])
def test_a_form_may_hold_a_data_url_as_a_text(folder: Path, raw: bool) -> None:
    text = "data:image/jpeg;base64," + b64encode(JPEG).decode()
    form = MemoryRequest(EnvironBuilder(method="POST", data={"file": text}, content_type=uploads.FORM).get_environ())
    assert receive(form, folder, raw=raw).name == NAME
    broken = EnvironBuilder(method="POST", data={"file": text[:30] + "!"}, content_type=uploads.FORM)
    with pytest.raises(UnusableFile):
        receive(MemoryRequest(broken.get_environ()), folder, raw=raw)


def test_a_stored_image_is_read_for_its_cost_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = image_folder(folder)
    names = [images.put(f"{number}.jpg", JPEG + bytes(number)) for number in range(3)]
    read: list[int] = []

    def estimate(content: bytes) -> int:
        read.append(len(content))
        return 7

    monkeypatch.setattr(uploads, "decode_ms", estimate)
    monkeypatch.setattr(uploads, "_costs", {})
    monkeypatch.setattr(uploads, "MAX_COSTS", 2)
    found = [uploads.stored_image(images, name) for name in names for _ in range(2)]
    assert [image and image.decode_ms for image in found] == [7] * 6
    assert read == [len(JPEG), len(JPEG) + 1, len(JPEG) + 2]
    assert len(uploads._costs) == 2
    images.erase(names[2])
    assert uploads.stored_image(images, names[2]) is None


def test_of_a_body_that_is_no_image_no_more_is_read_than_tells_it(folder: Path) -> None:
    request = request_with(b"words" * 1_000, "text/plain")
    with pytest.raises(UnusableFile, match="text/plain"):
        receive(request, folder, raw=True)
    assert len(request.stream.read()) == 5_000 - utils.HEAD_BYTES


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", None),
        (b"", "image/jpeg"),
        (b"words", None),
        (b"words", "application/octet-stream"),
        (b" " + JPEG, "text/plain"),
        (b"data:image/jpeg;base64,", "text/plain"),
        (b"data:image/jpeg;base64,no!", "text/plain"),
        (b"data:text/plain;base64,/9j/4CBhbiBpbWFnZQ==", "text/plain"),
        (b"file=words", "application/x-www-form-urlencoded"),
        (b"--x\r\n", "multipart/form-data; boundary=x"),
        (b"", "multipart/form-data"),
    ],
)
def test_a_body_without_a_usable_image_is_said_to_be_so(folder: Path, body: bytes, content_type: str | None) -> None:
    with pytest.raises(UnusableFile):
        receive(request_with(body, content_type), folder, raw=True)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("content", "name", "field"),
    [
        (JPEG, "a.jpg", "other"),
        (b"words", "", "file"),
        (b"words", "a.txt", "file"),
        (b"words", "a", "file"),
        (b"", "a.txt", "file"),
        (b"", "", "file"),
        (b"", "a.jpg", "file"),
    ],
)
def test_a_form_without_a_usable_file_is_said_to_be_so(folder: Path, content: bytes, name: str, field: str) -> None:
    with pytest.raises(UnusableFile):
        receive(form_request(content, name, field), folder, raw=True)


@pytest.mark.parametrize(
    "request_", [lambda: form_request(b"words", "a.jpg"), lambda: request_with(b"words", "image/png")]
)
def test_what_only_claims_to_be_an_image_is_415(folder: Path, request_) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(Problem) as refusal:
        receive(request_(), folder, raw=True)
    assert (refusal.value.status, refusal.value.code) == (415, "unsupported_type")


def test_an_image_over_the_limit_is_413_and_names_both_numbers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "MAX_UPLOAD_BYTES", 1000)
    receive(form_request(JPEG.ljust(1000), "a.jpg"), folder, raw=True)
    with pytest.raises(Problem) as refusal:
        receive(form_request(JPEG.ljust(1001), "a.jpg"), folder, raw=True)
    assert refusal.value.status == 413
    assert "1001" in refusal.value.detail
    assert "1000" in refusal.value.detail


def test_the_server_hears_once_the_bytes_are_let_go(folder: Path) -> None:
    heard: list[bool] = []
    request = form_request(JPEG, "a.jpg")
    request.environ["sightline.forget_body"] = lambda: heard.append(request.files["file"].stream.closed)
    receive(request, folder, raw=True)
    assert heard == [True]


def test_files_that_nobody_asked_for_are_let_go_too(folder: Path) -> None:
    builder = EnvironBuilder(
        method="POST",
        data={"file": (BytesIO(JPEG), "a.jpg"), "other": [(BytesIO(JPEG), "b.jpg"), (BytesIO(b"x"), "c")]},
    )
    request = MemoryRequest(builder.get_environ())
    receive(request, folder, raw=True)
    assert [file.stream.closed for files in request.files.listvalues() for file in files] == [True] * 3


def test_a_large_image_is_stored_alike(folder: Path) -> None:
    content = JPEG + bytes(uploads.BLOCKING_BYTES)
    name = receive(request_with(content, None), folder, raw=True).name
    assert (folder / name).read_bytes() == content


def test_where_no_raw_image_is_taken_a_body_is_refused_with_the_address_that_takes_it(folder: Path) -> None:
    with pytest.raises(Problem, match=r"415.*/predict"):
        receive(request_with(JPEG, "image/jpeg"), folder, raw=False)
    assert receive(form_request(JPEG, "a.jpg"), folder, raw=False).name == NAME


@pytest.fixture
def idle_worker(queue: RedisServer) -> Iterator[None]:
    """A live worker that takes no job and has room for one expensive image at a time."""
    info = WorkerInfo("idle", "here", MODEL, VERSION, "none", max_batch=8, slowness=1.0, decode_budget_s=2.0)
    heartbeat = Heartbeat(Address(port=queue.port), "sightline", info, LABELS, speed=lambda: {"rate": 100.0})
    heartbeat.start()
    yield
    heartbeat.stop()


@pytest.mark.parametrize("is_cached", [True, False])
def test_an_expensive_image_that_is_known_to_find_no_room_is_not_stored(
    application: Flask, idle_worker: None, uploads_folder: Path, monkeypatch: pytest.MonkeyPatch, *, is_cached: bool
) -> None:
    monkeypatch.setattr(settings, "RESULT_CACHE", is_cached)
    monkeypatch.setattr(settings, "REQUEST_TIMEOUT_S", 2.0)
    image = sample_images.deep_png()
    images = [image + bytes((number,)) for number in range(3)]
    cost = decode_ms(image)
    job_queue.open_queue()
    wait_until(lambda: (now := job_queue.queue_state()) is not None and bool(now.workers), "the worker is known")

    def send(number: int, **headers: str) -> tuple[int, bool]:
        """Send an image; return the status, and whether the image is stored."""
        answer = application.test_client().post("/predict", data=images[number], headers=headers)
        names = {path.stem for path in uploads_folder.glob("*.png")}
        return answer.status_code, hashlib.md5(images[number], usedforsecurity=False).hexdigest() in names

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(send, 0)
        wait_until(
            lambda: (now := job_queue.queue_state()) is not None and now.expensive_depth == 1, "the job is queued"
        )
        # No one knows yet that there is no room.
        assert send(1) == (503, True)
        assert send(2) == (503, False)
        assert send(1) == (503, True)
        assert waiting.result() == (504, True)
    wait_until(lambda: (now := job_queue.queue_state()) is not None and now.expensive_depth == 0, "none waits")
    assert _has_room(cost)
    assert send(2, **{"X-Request-Timeout-Ms": "100"}) == (504, True)


def _has_room(cost: int) -> bool:
    try:
        job_queue.check_expensive(cost)
    except QueueFull:
        return False
    return True
