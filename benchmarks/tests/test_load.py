"""The generator posts what it should and counts what comes back, against a real server on a real port."""

import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from benchmarks.errors import LoadError
from benchmarks.load import image_list, parse_result, put_load

needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")


class Recorder(ThreadingHTTPServer):
    """Keeps what was posted and answers every third request with 503."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[tuple[str, bytes]] = []
        self.statuses: list[int] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Recorder

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.headers["Content-Type"], body))
        status = 503 if len(self.server.received) % 3 == 0 else 200
        self.server.statuses.append(status)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Stay silent."""


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with Recorder() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.jpg" for number in range(5)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number]) * 3000 + b"\r\n\0--")
    return paths


@needs_wrk
@pytest.mark.parametrize("body", ["raw", "multipart"])
def test_every_image_is_posted_byte_for_byte(recorder: Recorder, images: list[Path], body: str) -> None:
    url = f"http://127.0.0.1:{recorder.server_port}/predict"

    contents, posted = {path.read_bytes() for path in images}, set[bytes]()
    while len(posted) < len(images):  # a second is short where the machine stands still
        put_load(url, image_list("test-load", images), body, connections=2, seconds=1)
        posted |= {_content(kind, received) for kind, received in recorder.received}

    assert posted == contents


@needs_wrk
def test_answers_that_are_not_200_are_counted_apart(recorder: Recorder, images: list[Path]) -> None:
    url = f"http://127.0.0.1:{recorder.server_port}/predict"

    listing = image_list("test-load", images)

    while not (result := put_load(url, listing, "raw", connections=1, seconds=1)).answers:
        recorder.statuses.clear()  # the machine stood still for all of the second

    # The answer to the last request may be cut off by the end of the run.
    assert len(recorder.statuses) - result.answers in {0, 1}
    assert result.not_200 == recorder.statuses[: result.answers].count(503)
    assert 0 < result.p50_ms <= result.p90_ms <= result.p99_ms <= result.max_ms


def test_a_run_without_a_result_is_an_error_that_shows_what_wrk_said() -> None:
    with pytest.raises(LoadError, match="unable to connect"):
        parse_result("unable to connect to 127.0.0.1:1 Connection refused\n")


def _content(kind: str, body: bytes) -> bytes:
    if not kind.startswith("multipart/form-data"):
        return body
    boundary = kind.partition("boundary=")[2].encode()
    part = body.split(b"--" + boundary)[1]
    return part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
