"""The cost of images in object storage, compared with a folder: services of both kinds measured in turn, in one run.

    .venv/bin/python -m benchmarks.own.object_storage [--seconds 8] [--rounds 3]

Prints processor time of api and worker for each image, the median time at one client, and the goodput at many: as
measured, and as if the S3 server (and the proxy) had processors of their own. The third service reads from the same
server through a proxy that adds 15 ms to each GET.

What runs on the same few cores as a service makes it slower, by their caches. So the folder is measured again while
another process puts an image into the server and gets it for each that is answered: what the service of S3 takes in
addition to that is the cost of its api and worker alone.
"""

import argparse
import hashlib
import itertools
import multiprocessing
import os
import secrets
import socket
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from benchmarks import processes
from sightline_testing.client import Client
from sightline_testing.faults.questions import Question
from sightline_testing.faults.system import System, running_system
from sightline_testing.redis_server import free_port
from sightline_testing.s3_server import KEY, SECRET, S3Server
from sightline_testing.sample_images import encode, photograph
from storage.s3 import Bucket, Server

DELAY_S = 0.015
CLIENTS, CORES = 12, os.cpu_count() or 1
MODES = ("folder", "s3", "s3 + 15 ms")
# The folder's service, while the S3 server has as much to do as in the other two.
BESIDE = "folder, S3 in use"


class Row(NamedTuple):
    """What one service did in one window."""

    goodput: float
    with_own_server: float
    api_ms: float
    worker_ms: float
    p50_ms: float


def main() -> None:
    """Run the services, measure them in turn, and print the medians of all rounds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows: defaultdict[str, list[Row]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        systems, helpers, use = started(Path(folder), stack)
        for _, mode in itertools.product(range(options.rounds), (*MODES, BESIDE)):
            answered = partial(use.send_bytes, b".") if mode == BESIDE else lambda: None
            rows[mode].append(measured(systems[mode], helpers, options.seconds, answered))
        for mode in (*MODES, BESIDE):
            row = Row(*map(statistics.median, zip(*rows[mode], strict=True)))
            print(
                f"{mode:17} {row.goodput:6.1f} images/s, {row.with_own_server:6.1f} without the server's share; "
                f"api {row.api_ms:5.2f} ms CPU, worker {row.worker_ms:5.2f} ms CPU; p50 {row.p50_ms:5.1f} ms"
            )


def started(folder: Path, stack: ExitStack) -> tuple[dict[str, System], list[int], Connection]:
    """Return a service of each kind, the processes that stand for other machines, and what has the server used."""
    s3 = S3Server(folder)
    s3.start()
    stack.callback(s3.kill)
    port, (told_to_use, use_told) = free_port(), multiprocessing.Pipe(duplex=False)
    spawn = multiprocessing.get_context("spawn").Process
    proxy = spawn(target=delay, args=(port, s3.ports["s3.port"]), daemon=True)
    user = spawn(target=use_store, args=(told_to_use, s3.url), daemon=True)
    for each in (proxy, user):
        each.start()
        stack.callback(each.kill)
    store = {**s3.settings, "IMAGE_STORE": f"s3://bench/{secrets.token_hex(4)}"}
    told: dict[str, dict[str, str]] = {
        "folder": {},
        "s3": store,
        "s3 + 15 ms": {**store, "S3_ENDPOINT": f"http://127.0.0.1:{port}"},
    }
    systems = {
        mode: stack.enter_context(running_system(folder / str(number), told[mode], workers=1))
        for number, mode in enumerate(MODES)
    }
    systems[BESIDE] = systems["folder"]
    return systems, [s3.pid, proxy.pid or 0, user.pid or 0], use_told


def measured(system: System, helpers: list[int], seconds: float, answered: Callable[[], object]) -> Row:
    """Ask a service by one client, then by many, and call `answered` for each answer to these."""
    images = copies()
    alone: list[float] = []
    ask(system, images, 1, 2.0, alone)
    api, workers = system.api_pids(with_master=True), system.worker_pids()
    before = [processes.cpu_seconds(pids) for pids in (api, workers, helpers)]
    begin, many = time.monotonic(), list[float]()
    ask(system, images, CLIENTS, seconds, many, answered)
    took_s, count = time.monotonic() - begin, max(len(many), 1)
    after = [processes.cpu_seconds(pids) for pids in (api, workers, helpers)]
    api_s, worker_s, helper_s = (now - then for now, then in zip(after, before, strict=True))
    goodput = count / took_s
    own = goodput / (1 - helper_s / (CORES * took_s))
    return Row(goodput, own, 1000 * api_s / count, 1000 * worker_s / count, 1000 * statistics.median(alone))


def copies() -> Iterator[bytes]:
    """Yield new images of about 100 KB."""
    question = Question(encode(photograph(), "JPEG", quality=92), "")
    while True:
        yield question.copy(secrets.token_bytes(16))


def ask(  # noqa: PLR0913, PLR0917  what is sent, how, and what becomes of it
    system: System,
    images: Iterator[bytes],
    clients: int,
    seconds: float,
    times: list[float],
    answered: Callable[[], object] = lambda: None,
) -> None:
    """Send images by so many clients for so long; add what each answer took."""
    until, lock = time.monotonic() + seconds, threading.Lock()

    def send() -> None:
        client = Client(system.url)
        while time.monotonic() < until:
            with lock:
                image = next(images)
            begin = time.monotonic()
            if client.send("POST", "/predict", image, {"Content-Type": "image/jpeg"}).status == 200:
                times.append(time.monotonic() - begin)
                with lock:
                    answered()

    threads = [threading.Thread(target=send) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def use_store(told: Connection, url: str) -> None:
    """Put a new image and get it, as api and worker do, for each message."""
    bucket = Bucket(f"s3://bench/{secrets.token_hex(4)}", Server(url, "us-east-1", KEY, SECRET))

    def use(image: bytes) -> None:
        sha256 = hashlib.sha256(image).hexdigest()
        bucket.put_new(sha256, image, sha256)
        bucket.get(sha256)

    with ThreadPoolExecutor(CLIENTS) as pool:
        for image in copies():
            told.recv_bytes()
            pool.submit(use, image)


def delay(port: int, to: int) -> None:
    """Forward connections, and hold what follows a GET back for DELAY_S."""
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            client, _ = server.accept()
            upstream = socket.create_connection(("127.0.0.1", to))
            for each in (client, upstream):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            is_get = threading.Event()
            threading.Thread(target=forward, args=(client, upstream, is_get, True), daemon=True).start()
            threading.Thread(target=forward, args=(upstream, client, is_get, False), daemon=True).start()


def forward(source: socket.socket, target: socket.socket, is_get: threading.Event, is_request: bool) -> None:
    """Copy one direction of a connection."""
    with suppress(OSError):
        while data := source.recv(262_144):
            if is_request and data.startswith(b"GET "):
                is_get.set()
            elif not is_request and is_get.is_set():
                is_get.clear()
                time.sleep(DELAY_S)
            target.sendall(data)
    for each in (source, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    main()
