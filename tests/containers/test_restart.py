"""docker-compose's whole stack goes and comes back with its volumes: it answers as before, and its queue is empty.

FULL=1 does so three times in each way, instead of once.
"""

import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count

import pytest

from sightline_testing.client import Client
from sightline_testing.faults.keeper import IS_FULL
from sightline_testing.sample_images import jpeg
from sightline_testing.service import REPOSITORY
from sightline_testing.waiting import wait_until

TIMES = 3 if IS_FULL else 1
IMAGES = 250 if IS_FULL else 60
CLIENTS = 8
PATIENCE_S = 180.0

_seeds = count()


def compose(*words: str) -> str:
    done = subprocess.run(["docker-compose", *words], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def workers() -> int:
    return len(compose("ps", "-q", "model").split())


@pytest.fixture
def client() -> Client:
    return Client(os.environ["SIGHTLINE_URL"])


def new_image() -> bytes:
    """Return an image that the result cache does not know, also of an earlier run."""
    return jpeg(64, 48, seed=next(_seeds) + int.from_bytes(os.urandom(3)))


def statuses(client: Client, images: int = IMAGES) -> Counter[int]:
    """Ask for that many images, a few at a time, and count what is answered."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        return Counter(pool.map(lambda _: client.upload("/predict", new_image()).status, range(images)))


@contextmanager
def under_load(client: Client) -> Iterator[None]:
    """Send requests all through the block; their outcomes are not checked."""
    is_over = False

    def ask() -> None:
        while not is_over:
            try:
                client.upload("/predict", new_image())
            except OSError:
                continue

    with ThreadPoolExecutor(CLIENTS) as pool:
        for _ in range(CLIENTS):
            pool.submit(ask)
        try:
            yield
        finally:
            is_over = True


def start_again(client: Client, workers: int) -> None:
    compose("up", "-d", "--scale", f"model={workers}")
    wait_until(lambda: is_ready(client), "the stack is ready", PATIENCE_S)


def is_ready(client: Client) -> bool:
    try:
        return client.get("/readyz").status == 200
    except OSError:
        return False


def depth(client: Client) -> float:
    found = re.search(r"^sightline_queue_depth ([0-9.]+)$", client.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else -1.0


def assert_all_is_well(client: Client) -> None:
    assert statuses(client) == {200: IMAGES}
    wait_until(lambda: depth(client) == 0, "the queue is empty")


def test_the_stack_goes_and_comes_back_in_order(client: Client, workers: int) -> None:
    assert_all_is_well(client)
    for _ in range(TIMES):
        compose("down")
        start_again(client, workers)
        assert_all_is_well(client)


def test_the_stack_is_killed_under_load_and_comes_back(client: Client, workers: int) -> None:
    for _ in range(TIMES):
        with under_load(client):
            wait_until(lambda: depth(client) > 0, "the queue holds jobs")
            compose("kill")
        start_again(client, workers)
        assert_all_is_well(client)
