import json
import logging
import os
import pty
import re

import pytest

import settings
from observability import logs
from sightline_testing import sample_images
from sightline_testing.redis_server import RedisServer
from tests.conftest import Serve
from tests.serving import EchoWorker, raw_image, wait_until


def test_every_line_of_a_server_is_an_object_with_the_request_it_is_about(
    serve: Serve, redis_server: RedisServer, worker: EchoWorker
) -> None:
    with serve(REDIS_PORT=redis_server.port, ACCESS_LOG=1) as served:
        asked = raw_image(sample_images.jpeg(64, 48), headers="X-Request-Id: asked-1\r\n")
        _, headers, _ = served.ask_patiently(asked)
        wait_until(lambda: "asked-1" in served.log, "the request is in the log")
        lines = [json.loads(line) for line in served.log.splitlines()]
    assert {"time", "level", "logger", "message", "pid"} <= set(lines[0])
    about = [line for line in lines if line.get("request_id") == "asked-1"][-1]
    assert (about["method"], about["path"], about["status"]) == ("POST", "/predict", 200)
    assert about["prediction_id"] == headers["x-prediction-id"]


def test_no_address_forges_a_line_or_speaks_to_the_terminal(serve: Serve, redis_server: RedisServer) -> None:
    with serve(REDIS_PORT=redis_server.port, ACCESS_LOG=1, LOG_FORMAT="text") as served:
        request = "GET /a%0aforged%1b[2J%c2%85%e2%80%a8%0d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        served.ask(request.encode())
        wait_until(lambda: "/a" in served.log, "the request is in the log")
        log = served.log
    begin = re.compile(r"[\d-]+ [\d:,]+ \[\d+\] \[\w+\] \S+: ")
    assert [line for line in log.splitlines() if not begin.match(line)] == []
    assert "\x1b" not in log
    assert r"/a\nforged\x1b[2J" in log


def test_text_is_for_those_who_ask_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "LOG_FORMAT", "text")
    line = logs.formatter().format(logging.makeLogRecord({"name": "x", "levelname": "INFO", "msg": "all is well"}))
    assert line.endswith("[INFO] x: all is well")


def test_a_terminal_gets_text_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        assert "{" not in logs.formatter().format(logging.makeLogRecord({"msg": "all is well"}))
    os.close(ours)
