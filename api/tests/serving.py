"""The real server as a process of its own, plain sockets to talk to it, and a worker without a model."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO, Self

from sightline_testing.redis_server import free_port
from wire import (
    ActivationMap,
    Address,
    Answer,
    Consumer,
    Delivery,
    Failure,
    Heartbeat,
    Job,
    QueueUnavailable,
    WorkerInfo,
)
from wire.messages import CandidateAnswer

API = Path(__file__).parent.parent
PATIENCE_S = 100.0
MODEL, VERSION = "echo-net", "7"
LABELS = ("tabby", "tiger_cat", "carpenter's_kit", "=cmd", "ocelot", "lynx", "puma", "lion")
DRAWN = b"\x89PNG, as a worker draws it"
PREVIEW = b"\xff\xd8\xff, as a worker makes it"
CONFIDENCE = 0.654321


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Return once the condition holds; raise AssertionError with `what` after a timeout."""
    until = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"timed out after {PATIENCE_S} s: {what}")
        time.sleep(0.02)


class EchoWorker:
    """A model worker without a model: it answers LABELS in order, or the result of `reply`."""

    def __init__(self, port: int, version: str = VERSION, rate: float = 100.0, labels: Sequence[str] = LABELS) -> None:
        address = Address(port=port)
        self.port = port
        self.version = version
        self.images: list[str] = []
        # What it reports of the bytes that it read: without a folder to read from, nothing.
        self.digest_of: Callable[[str], str] = lambda image: ""
        self.reply: Callable[[Delivery], Answer | Failure | None] = self._answer
        # Its shadow version.
        self.shadow = ""
        self._consumer = Consumer(address, "sightline", f"echo-{version}", lease_ms=1000, max_batch_s=10)
        info = WorkerInfo(f"echo-{version}", "here", MODEL, version, "none", max_batch=8)
        self._heartbeat = Heartbeat(
            address, "sightline", info, labels, speed=lambda: {"rate": rate}, shadow=lambda: (self.shadow, {})
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def __enter__(self) -> Self:
        self._heartbeat.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._heartbeat.stop()
        self._consumer.close()

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                for delivery in self._consumer.receive(8, 50):
                    self._settle(delivery)
            except QueueUnavailable:
                continue

    def _settle(self, delivery: Delivery) -> None:
        self.images.append(delivery.job.image)
        outcome = self.reply(delivery)
        if outcome is not None:
            self._consumer.answer([(delivery, outcome)])

    def _answer(self, delivery: Delivery) -> Answer:
        scores = tuple((label, CONFIDENCE / (rank + 1)) for rank, label in enumerate(LABELS))
        timings = {"queue": 1.25, "decode": 2.5, "infer": 4.125}
        found = self._map(delivery.job) if delivery.job.is_explained else None
        digest = self.digest_of(delivery.job.image)
        preview = PREVIEW if delivery.job.preview_side else b""
        best = scores[: delivery.job.top_k]
        answer = Answer(delivery.job.id, best, MODEL, self.version, timings, found, sha256=digest, preview=preview)
        if not (delivery.job.candidate and self.shadow):
            return answer
        return replace(answer, candidate=CandidateAnswer(self.shadow, best[1:]))

    def _map(self, job: Job) -> ActivationMap:
        """Return a heat map with all evidence on the left of the centre square, in an image of two squares."""
        label = job.explain_label or LABELS[job.explain_rank - 1]
        return ActivationMap(label, 2, 2, (3.0, -1.0, 2.0, -2.0), (400, 200), (100, 0, 300, 200), DRAWN)


def digest_in(folder: Path) -> Callable[[str], str]:
    """Give what a worker reports that reads its images from a folder; nothing of one that is not there."""

    def digest_of(image: str) -> str:
        path = folder / image
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""

    return digest_of


@dataclass
class Served:
    """A running server."""

    port: int
    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)

    def ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send one request over a connection of its own and give status, headers and body."""
        with closing(self.connect()) as connection:
            connection.sendall(request)
            return read_answer(connection)

    def ask_patiently(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """Ask again after a 503, as a client would: on a machine this busy, Redis may seem to be away for a moment."""
        while (answer := self.ask(request))[0] == HTTPStatus.SERVICE_UNAVAILABLE:
            time.sleep(0.1)
        return answer

    def workers(self) -> list[int]:
        """Give the ids of the processes that serve."""
        return [
            int(pid) for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        ]

    def connections(self) -> int:
        """Count the connections that the server holds."""
        established, port = "01", f":{self.port:04X}"
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
        return len([line for line in lines if line[1].endswith(port) and line[3] == established])

    def is_live(self) -> bool:
        try:
            return self.ask(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")[0] == 200
        except OSError:
            return False


def read_answer(source: socket.socket | BinaryIO, *, body: bool = True) -> tuple[int, dict[str, str], bytes]:
    """Read one answer, from a stream where more follow; raises ConnectionError where the connection ends first."""
    stream = source.makefile("rb") if isinstance(source, socket.socket) else source
    status_line = stream.readline()
    if not status_line:
        raise ConnectionResetError("the connection ended before an answer")
    headers = {}
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode().partition(":")
        assert name.lower() not in headers, f"{name} is there twice"
        headers[name.strip().lower()] = value.strip()
    content = stream.read(int(headers.get("content-length", "0"))) if body else b""
    return int(status_line.split()[1]), headers, content


def raw_image(content: bytes, *, path: str = "/predict", headers: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n{headers}"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


@contextmanager
def serving(
    folder: Path, told: Mapping[str, Any], cwd: Path = API, command: Sequence[str] = (str(API / "app.py"),)
) -> Iterator[Served]:
    """Run `python app.py`, and end it; its log is shown where it does not start."""
    port = free_port()
    environment = {
        **os.environ,
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "PYTHONWARNINGS": "default",
        "UPLOAD_FOLDER": str(folder / "uploads"),
        "FEEDBACK_FILEPATH": str(folder / "feedback" / "feedback"),
        **{name: str(value) for name, value in told.items()},
    }
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, *command], cwd=cwd, env=environment, stdout=output, stderr=output)
    served = Served(port, process, folder)
    try:
        wait_until(lambda: served.is_live() or process.poll() is not None, "the server answers")
        assert process.poll() is None, served.log
        yield served
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)
