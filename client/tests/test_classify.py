"""Many images against a service that answers some requests badly."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sightline import Client, ServiceError
from sightline.classify import GROUP_BYTES, classify, groups
from sightline.results import Results

GOOD = {
    "prediction": "tabby", "score": 0.5, "predictions": [{"label": "tabby", "score": 0.5}],
    "prediction_id": "p", "model_version": "m/1",
}  # fmt: skip


def images_in(body: bytes) -> list[bytes]:
    """Return the images of a form, or the body itself."""
    if not body.startswith(b"--"):
        return [body]
    boundary = body.partition(b"\r\n")[0]
    return [part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for part in body.split(boundary)[1:-1]]


class Service(ThreadingHTTPServer):
    """Counts what it was sent; refuses `busy` images once each, and breaks off for those that are `deadly`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.sizes: list[int] = []
        self.sent: list[bytes] = []
        self.status = 200


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service

    def do_POST(self) -> None:
        images = images_in(self.rfile.read(int(self.headers["Content-Length"])))
        if any(b"deadly" in image for image in images):
            self.close_connection = True
            return
        self.server.sizes.append(len(images))
        results: list[dict[str, Any]] = [self.outcome(image) for image in images]
        self.server.sent += images
        if self.server.status != 200:
            self.reply(self.server.status, {"code": "no_key", "detail": "a key is needed"})
        elif len(images) > 1:
            self.reply(200, {"results": results})
        elif "problem" in results[0]:
            self.reply(results[0]["problem"]["status"], results[0]["problem"])
        else:
            self.reply(200, results[0])

    def do_GET(self) -> None:
        self.reply(200, {})

    def outcome(self, image: bytes) -> dict[str, Any]:
        if b"busy" in image and image not in self.server.sent:
            return {"problem": {"status": 503, "code": "queue_full", "detail": "busy"}}
        if b"broken" in image:
            return {"problem": {"status": 422, "code": "image_broken", "detail": "it ends early"}}
        return GOOD

    def reply(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Service]:
    with Service() as service:
        thread = threading.Thread(target=service.serve_forever)
        thread.start()
        try:
            yield service
        finally:
            service.shutdown()
            thread.join()


def folder_of(tmp_path: Path, contents: dict[str, bytes]) -> dict[str, Path]:
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: tmp_path / name for name in contents}


def classified(service: Service, images: dict[str, Path], output: Path) -> dict[str, str]:
    """Return the error of each image, empty for one that was classified."""
    with Client(service.url) as client, Results(output) as results:
        classify(client, images, results, most=32, advance=lambda: None, notice=lambda _: None)
    rows = [line.split(",") for line in output.read_text().splitlines()[1:]]
    assert len(rows) == len(images)
    return {row[0]: row[3].partition(":")[0] for row in rows}


def test_small_images_share_requests_and_each_has_its_own_outcome(tmp_path: Path) -> None:
    contents = {f"{number}.jpg": b"image %d" % number for number in range(200)}
    contents |= {"broken.jpg": b"broken", "busy.jpg": b"busy 1"}
    with serving() as service:
        found = classified(service, folder_of(tmp_path, contents), tmp_path / "results.csv")
    assert {name: error for name, error in found.items() if error} == {"broken.jpg": "image_broken"}
    assert max(service.sizes) == 8
    assert sum(service.sizes) == len(contents) + 1


def test_an_image_that_breaks_the_connection_fails_alone(tmp_path: Path) -> None:
    contents = {f"{number}.jpg": b"image %d" % number for number in range(60)} | {"30a.jpg": b"deadly"}
    with serving() as service:
        found = classified(service, folder_of(tmp_path, contents), tmp_path / "results.csv")
    assert {name: error for name, error in found.items() if error} == {"30a.jpg": "connection_lost"}


def test_what_is_no_regular_file_fails_alone_and_is_not_waited_for(tmp_path: Path) -> None:
    images = folder_of(tmp_path, {"a.jpg": b"image", "z.jpg": b"image"})
    os.mkfifo(tmp_path / "pipe.jpg")
    images |= {name: tmp_path / name for name in ("pipe.jpg", "nul\0.jpg", "gone.jpg")} | {"device": Path("/dev/zero")}
    with serving() as service:
        found = classified(service, images, tmp_path / "results.csv")
    failed = {name for name, error in found.items() if error == "cannot be read"}
    assert failed == {"pipe.jpg", "nul\\0.jpg", "gone.jpg", "device"}
    assert sum(service.sizes) == 2


def test_a_file_that_is_too_large_has_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightline.reading.MAX_FILE_BYTES", 5)
    with serving() as service:
        found = classified(service, folder_of(tmp_path, {"a": b"image", "b": b"image2"}), tmp_path / "results.csv")
    assert found == {"a": "", "b": "too_large"}


def test_a_key_that_is_missing_ends_the_run(tmp_path: Path) -> None:
    images = folder_of(tmp_path, {f"{number}.jpg": b"image" for number in range(40)})
    with serving() as service:
        service.status = 401
        with pytest.raises(ServiceError, match="a key is needed"):
            classified(service, images, tmp_path / "results.csv")


def test_groups_are_bounded_in_number_and_bytes(tmp_path: Path) -> None:
    sizes = [10] * 10 + [GROUP_BYTES - 5, 2 * GROUP_BYTES, 10, 5]
    images = folder_of(tmp_path, {f"{number}": bytes(size) for number, size in enumerate(sizes)})
    images["gone"] = tmp_path / "gone"
    assert [[name for name, _ in group] for group in groups(images, 8)] == [
        [str(number) for number in range(8)], ["8", "9"], ["10"], ["11"], ["12", "13", "gone"]
    ]  # fmt: skip
