"""What the processes of the real server write to the history: everything once, over reloads and restarts."""

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

import settings
from observability import metrics
from operate import recorder
from operate.recorder import Recorder
from sightline_testing.redis_server import RedisServer
from storage.history.folder import FolderHistory
from storage.history.port import DAY
from tests.conftest import Serve
from tests.serving import MODEL, VERSION, EchoWorker, Served, raw_image, wait_until

PREDICTIONS, REFUSED = 40, 7


def written(folder: Path) -> Counter[tuple[str, str, str]]:
    sums = FolderHistory(folder / "feedback").read(
        DAY, 0, time.time() + DAY, ["answers", "duration", "version", "label"]
    )
    return Counter({(each.name, each.key, each.detail): int(each.amount) for each in sums})


def send(served: Served, image: bytes) -> None:
    for _ in range(PREDICTIONS // 4):
        assert served.ask_patiently(raw_image(image))[0] == 200


def test_several_processes_write_everything_once_over_reloads_and_restarts(
    serve: Serve, queue: RedisServer, tmp_path: Path, image: bytes
) -> None:
    told = {"REDIS_PORT": queue.port, "API_WORKERS": 2, "RESULT_CACHE": 0}
    for round_ in (1, 2):
        with EchoWorker(queue.port), serve(**told) as served:
            wait_until(lambda: served.ask(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")[0] == 200, "it is ready")
            threads = [threading.Thread(target=send, args=(served, image)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            before = served.workers()
            os.kill(served.process.pid, signal.SIGHUP)
            wait_until(lambda: len(served.workers()) == 2 and not set(before) & set(served.workers()), "it is reloaded")  # noqa: B023
            for _ in range(REFUSED):
                assert served.ask(raw_image(b"no image"))[0] == 415
        found = written(tmp_path)
        assert found["answers", "200", ""] == PREDICTIONS * round_
        assert found["answers", "415", ""] == REFUSED * round_
        assert found["version", f"{MODEL}/{VERSION}", ""] == PREDICTIONS * round_
        assert found["label", f"{MODEL}/{VERSION}", "tabby"] == PREDICTIONS * round_
        timed = sum(count for (name, _, _), count in found.items() if name == "duration")
        assert timed == sum(count for (name, _, _), count in found.items() if name == "answers")


def test_what_cannot_be_written_now_is_written_later(
    client: FlaskClient, application: Flask, asked: list[str], image: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(settings.FEEDBACK_FILEPATH).parent
    writer = Recorder(application)
    client.post("/predict", data=image, content_type="image/jpeg")
    (folder / "history.sqlite3").mkdir(parents=True)
    for _ in range(3):
        writer.write()
    assert [each.message for each in caplog.records if "history cannot be written" in each.message] != []
    assert len(caplog.records) == 1
    (folder / "history.sqlite3").rmdir()
    writer.write()
    writer.write()
    [answers] = recorder.history().read(DAY, 0, time.time() + DAY, ["answers"])
    assert (answers.key, answers.amount) == ("200", 1)


def test_images_are_counted_by_the_routes_that_take_them(application: Flask) -> None:
    routes = metrics.image_routes(application)
    assert {"/predict", "/v2/models/<model>/infer", "/invocations"} <= routes
    assert not {"/", "/feedback", "/readyz", "/review/decisions"} & routes
