"""Two hosts without a folder in common: images and models are in a bucket, whose server is killed and frozen."""

import os
import re
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import pytest

from sightline_testing import sample_images
from sightline_testing.client import Client
from sightline_testing.faketime import SkewedClock
from sightline_testing.faults.system import System, running_system
from sightline_testing.redis_server import RedisServer, free_port
from sightline_testing.s3_server import S3Server
from sightline_testing.service import BUNDLES, REPOSITORY
from sightline_testing.waiting import wait_for_end, wait_until

OPERATOR = {"OPERATOR_KEY": "k" * 40, "SECRET_KEY": "s" * 40}
UNAVAILABLE = (503, "storage_unavailable")
# Refusals of a slow machine, in any state of the bucket.
BUSY = {(503, "no_worker"), (503, "queue_full"), (503, "redis_unavailable")}
SENDERS = 3
# Between the images of a sender: refusals come immediately, thousands of them while the bucket is away.
PAUSE_S = 0.05


class Hosts(NamedTuple):
    """Two installations that share a queue and a bucket, each with a state folder of its own."""

    one: System
    other: System
    s3: S3Server
    settings: dict[str, str]

    def assert_nothing_is_in_folders(self) -> None:
        """Neither has stored an image for itself."""
        for host in (self.one, self.other):
            assert not list(host.state_dir.glob("uploads/*")), host.state_dir


@pytest.fixture(scope="module")
def hosts(redis_process: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    folder = tmp_path_factory.mktemp("hosts")
    s3 = S3Server(folder)
    s3.start()
    told = {**s3.settings, "IMAGE_STORE": f"s3://images/{secrets.token_hex(4)}", **OPERATOR}
    with ExitStack() as stack:
        stack.callback(s3.kill)

        models = {**told, "MODEL_STORE": f"s3://images/models-{secrets.token_hex(4)}"}
        command = [sys.executable, "-m", "cli.models", "push"]
        own = {**os.environ, **models, "BUNDLES_FOLDER": str(BUNDLES), "PYTHONPATH": "."}
        subprocess.run(command, cwd=REPOSITORY / "model", env=own, check=True)

        def host(name: str, changes: dict[str, str]) -> System:
            started = running_system(folder / name, changes, workers=1, redis_socket=redis_process.socket_path)
            return stack.enter_context(started)

        # The other host has no model at first.
        places = {"BUNDLES_FOLDER": str(folder / "other/bundles"), "COMPILED_CACHE": str(folder / "other/compiled")}
        told["REDIS_SOCKET"] = str(redis_process.socket_path)
        yield Hosts(host("one", told), host("other", {**models, **places}), s3, told)


class Upload(NamedTuple):
    """An image that was sent, and what came of it."""

    content: bytes
    status: int
    code: str
    filename: str
    seconds: float


@contextmanager
def uploads(host: System) -> Iterator[list[Upload]]:
    """Send images one after the other from several threads until the block ends; yield what has come of them so far."""
    found: list[Upload] = []
    stopping = threading.Event()

    def send() -> None:
        while not stopping.wait(PAUSE_S):
            content = sample_images.jpeg(64, 48, seed=secrets.randbelow(2**31))
            begin = time.monotonic()
            with suppress(OSError, HTTPException):
                response = Client(host.url).upload("/predict?top_k=1", content)
                told = response.json()
                took_s = time.monotonic() - begin
                found.append(Upload(content, response.status, told.get("code", ""), told.get("filename", ""), took_s))

    with ThreadPoolExecutor(SENDERS) as pool:
        sending = [pool.submit(send) for _ in range(SENDERS)]
        try:
            yield found
        finally:
            stopping.set()
    for each in sending:
        each.result()


@pytest.mark.parametrize("fault", ["frozen", "killed"])
def test_while_the_bucket_s_server_is_away_images_are_refused_and_none_is_lost(hosts: Hosts, fault: str) -> None:
    with uploads(hosts.one) as sent:
        wait_until(lambda: count(sent, (200, "")) > 5, "images are answered")
        (hosts.s3.pause if fault == "frozen" else hosts.s3.kill)()
        wait_until(lambda: count(sent, UNAVAILABLE) > 5, "images are refused")
        (hosts.s3.resume if fault == "frozen" else hosts.s3.launch)()
        answered = count(sent, (200, ""))
        wait_until(lambda: count(sent, (200, "")) > answered + 5, "images are answered again")
    assert {(each.status, each.code) for each in sent} - BUSY == {(200, ""), UNAVAILABLE}
    print(f"{fault}: slowest 503 {max(each.seconds for each in sent if each.status == 503):.2f} s")  # noqa: T201
    stored = [each for each in sent if each.filename]
    shown = [Client(hosts.other.url).get(f"/display/{each.filename}").body for each in stored]
    assert shown == [each.content for each in stored]
    hosts.assert_nothing_is_in_folders()


@pytest.mark.parametrize(("skew_s", "named"), [(1200, "ahead of"), (-1200, "behind")])
def test_a_host_whose_clock_is_wrong_refuses_images_with_the_reason_until_it_is_right(
    hosts: Hosts, tmp_path: Path, skew_s: int, named: str
) -> None:
    """S3 servers take requests that are dated 15 minutes off at most."""
    clock = SkewedClock(tmp_path, skew_s)
    with api_beside(hosts, tmp_path, clock.environment(".")) as client:
        wait_until(lambda: status_of(client, "/livez") == 200, "it serves")
        refused = client.upload("/predict?top_k=1", sample_images.jpeg(seed=secrets.randbelow(2**31)))
        assert (refused.status, refused.json()["code"]) == UNAVAILABLE
        for answer in (refused, client.get("/readyz"), client.get("/startupz")):
            assert answer.status == 503
            detail = answer.json()["detail"]
            assert re.search(rf"this host's clock is {named} that of the S3 server by 1[12]\d\d s", detail), detail
        clock.set(0)
        wait_until(lambda: status_of(client, "/readyz") == 200, "it is ready by itself")
        wait_until(lambda: is_answered(client), "images are answered")


def is_answered(client: Client) -> bool:
    return client.upload("/predict?top_k=1", sample_images.jpeg(seed=secrets.randbelow(2**31))).status == 200


def status_of(client: Client, path: str) -> int:
    with suppress(OSError):
        return client.get(path).status
    return 0


@contextmanager
def api_beside(hosts: Hosts, folder: Path, told: dict[str, str]) -> Iterator[Client]:
    """Run an api process of another host, which shares queue and bucket with these."""
    port = free_port()
    own = {**os.environ, **hosts.settings, **told, "HOST": "127.0.0.1", "PORT": str(port), "REQUEST_TIMEOUT_S": "60"}
    own |= {"FEEDBACK_FILEPATH": str(folder / "feedback" / "feedback"), "UPLOAD_FOLDER": str(folder / "uploads")}
    with (folder / "api.log").open("w") as log:
        process = subprocess.Popen([sys.executable, "app.py"], cwd=REPOSITORY / "api", env=own, stderr=log)
    try:
        yield Client(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        wait_for_end(process, "the api of the other host ended after SIGTERM")


def count(sent: list[Upload], outcome: tuple[int, str]) -> int:
    return sum((each.status, each.code) == outcome for each in list(sent))


def test_an_image_of_one_host_is_answered_by_another_that_had_no_model(hosts: Hosts) -> None:
    """What becomes of it further is in tests/chart/test_pods.py."""
    with hosts.one.held_workers():
        answer = Client(hosts.one.url).upload(
            "/predict?top_k=1", sample_images.jpeg(300, 200, seed=secrets.randbelow(2**31))
        )
    assert answer.status == 200, answer.text
    hosts.assert_nothing_is_in_folders()
    answered_by = hosts.other.state_dir / "bundles" / answer.json()["model_version"]
    assert {path.name for path in answered_by.iterdir()} >= {"bundle.toml", "labels.txt", "model.onnx"}
    assert not (answered_by / "compiled").exists()
    assert list((hosts.other.state_dir / "compiled").iterdir())
