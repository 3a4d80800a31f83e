"""A better version from reviewed reports, promoted and rolled back under load.

What the promotion gate refuses is tested in model/tests/cli/test_promotion.py.
"""

import os
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from sightline_testing.client import Client
from sightline_testing.drawings import drawing_jpeg
from sightline_testing.feedback_loop import BASE, MODEL, FeedbackLoop
from sightline_testing.sample_images import jpeg
from sightline_testing.waiting import wait_until
from wire import Address
from wire.queue_stats import STALE_AFTER_S, QueueSnapshot, QueueStats

KIND, OTHER = "sheet_music", "floor_plan"
OLD, NEW = BASE, f"{MODEL}/2-int8"
SERVED_BEFORE = "1-int8"
PATIENCE_S = 120.0
FULL = bool(os.environ.get("FULL"))
ROUNDS = 2 if FULL else 1
# Between the requests of a client of the load: they are to be many, and to leave time to what is tested under them.
PAUSE_S = 0.05 if FULL else 0.2
PAUSES = 0 if FULL else 6  # times as long as the answer took, at least


@pytest.fixture(scope="module")
def loop(two_workers: FeedbackLoop) -> FeedbackLoop:
    two_workers.files.accept((drawing_jpeg(kind, seed), kind) for kind in (KIND, OTHER) for seed in range(8))
    assert f"made {NEW}" in two_workers.done("cli.improve")
    return two_workers


@dataclass
class Load:
    """Clients that send the same few images repeatedly, and record the answers."""

    loop: FeedbackLoop
    images: list[bytes]
    heard: set[tuple[int, str, str]] = field(default_factory=set)
    answered: int = 0
    faults: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self, clients: int) -> Iterator[None]:
        threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stopping.set()
            for thread in threads:
                thread.join(PATIENCE_S)

    def _ask(self) -> None:
        at, pause_s = 0, PAUSE_S
        while not self.stopping.wait(pause_s):
            number, began = at % len(self.images), time.monotonic()
            try:
                self.heard.add((number, *self.loop.ask(self.images[number])))
                self.answered += 1
            except Exception as fault:  # noqa: BLE001  whatever it was, the test fails and shows it
                self.faults.append(repr(fault))
            # Where other work has the cores, the load leaves what is tested its time as well.
            pause_s = max(PAUSE_S, PAUSES * (time.monotonic() - began))
            at += 1


def test_promotion_and_rollback_under_load_fail_and_mix_up_nothing(loop: FeedbackLoop) -> None:
    images = [drawing_jpeg(KIND, 1000), drawing_jpeg(OTHER, 1000), jpeg()]
    expected = set()
    load = Load(loop, images)
    with load.running(clients=4):
        for _ in range(ROUNDS):
            for words, version in ((("promote", NEW, "--force"), NEW), (("rollback",), OLD)):
                printed = loop.done("cli.models", *words)
                assert f"{version} is active; 2 workers serve it after" in printed
                # Every answer that begins from now on is of the version that was promoted.
                for number, image in enumerate(images):
                    label, named = loop.ask(image)
                    assert named == version
                    expected.add((number, label, named))
    assert load.faults == []
    assert load.answered > 0
    assert len(expected) == 2 * len(images)  # each version always gives the same answer for an image ...
    assert load.heard <= expected  # ... and there were no other answers
    assert {label for _, label, version in expected if version == NEW} > {KIND, OTHER}
    assert not {label for _, label, version in expected if version == OLD} & {KIND, OTHER}


def versions_of(look: QueueSnapshot) -> set[str]:
    return {info.version for info in look.workers}


def test_the_api_knows_the_new_labels_after_a_promotion(loop: FeedbackLoop) -> None:
    stats = QueueStats(Address(socket_path=str(loop.service.redis_socket)), "sightline", timeout_s=60.0)
    wait_until(lambda: SERVED_BEFORE in versions_of(stats.refresh()), "the workers are listed", PATIENCE_S)
    looks = [stats.refresh()]  # that of an api is a tenth of a second old, or two where it has much to do
    with ThreadPoolExecutor(1) as pool:
        promoted = pool.submit(loop.done, "cli.models", "promote", NEW, "--force")
        while not promoted.done():
            looks.append(stats.refresh())
            time.sleep(0.01)
        promoted.result()
    # An api that saw the other version last believes that look no longer, nor gives a kept answer for it.
    old = [look.as_of for look in looks if SERVED_BEFORE in versions_of(look)]
    assert not old or time.monotonic() - old[-1] > STALE_AFTER_S
    assert " active " not in loop.done("cli.models", "list").splitlines()[0]
    loop.done("cli.models", "rollback")
    finished = loop.command("cli.models", "rollback")
    assert finished.returncode == 1
    assert "nothing was promoted" in finished.stderr


def test_a_shadow_sees_live_jobs_and_answers_nobody(loop: FeedbackLoop) -> None:
    loop.done("cli.models", "shadow", NEW, "--share", "1")
    images = [drawing_jpeg(KIND, seed) for seed in range(3000, 3003)]

    def has_compared() -> bool:
        for image in images:
            assert loop.ask(image)[1] == OLD
        return f"{NEW}: " in (said := loop.done("cli.models", "shadow", "--status")) and "agrees on" in said

    wait_until(has_compared, "the candidate has seen a job", PATIENCE_S)
    assert "decode and inference" in loop.done("cli.models", "shadow", "--status")
    loop.done("cli.models", "shadow", "--stop")
    wait_until(
        lambda: "no worker has a second version" in loop.done("cli.models", "shadow"), "the trial has ended", PATIENCE_S
    )


def test_a_version_that_cannot_be_loaded_changes_nothing(loop: FeedbackLoop) -> None:
    bundles = loop.bundles
    shutil.copytree(bundles / NEW, bundles / MODEL / "torn")
    (bundles / MODEL / "torn" / "model.onnx").write_bytes(b"")
    finished = loop.command("cli.models", "promote", "torn", "--force")
    assert finished.returncode == 1
    assert "SHA-256" in finished.stderr
    # It is written into `active` by hand.
    (bundles / "active").write_text(f"{MODEL}/torn\n")
    log = loop.service.state_dir / "launcher.log" if loop.service.state_dir else Path()
    wait_until(lambda: "torn cannot be loaded" in log.read_text(), "a worker has tried", PATIENCE_S)
    assert loop.ask(drawing_jpeg(KIND, 1000))[1] == OLD
    wait_until(lambda: "torn cannot be loaded" in startup_error(loop), "the api reports the reason", PATIENCE_S)
    for content, reason in ((b"\xff\xfe", "is not UTF-8"), (b"", "is empty"), (b"m/\0", "expected <model>/<version>")):
        (bundles / "active").write_bytes(content)
        wait_until(partial(is_told, loop, reason), reason, PATIENCE_S)
        assert loop.ask(drawing_jpeg(KIND, 1000))[1] == OLD
    assert "Traceback" not in log.read_text()
    (bundles / "active").write_text(f"{OLD}\n")
    wait_until(lambda: not startup_error(loop), "all is well again", PATIENCE_S)
    shutil.rmtree(bundles / MODEL / "torn")


def is_told(loop: FeedbackLoop, reason: str) -> bool:
    return reason in startup_error(loop)


def startup_error(loop: FeedbackLoop) -> str:
    """Return the `startup_error` of /readyz about versions that cannot be loaded."""
    response = Client(loop.service.url).send("GET", "/readyz")
    assert response.status == 200
    return str(response.json().get("startup_error", ""))
