import json

import pytest
from flask.testing import FlaskClient

import middleware
import settings
from sightline_testing.redis_server import RedisServer
from tests.serving import MODEL, VERSION, EchoWorker, wait_until


def test_the_process_lives_whatever_else_is_down(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "REDIS_PORT", 1)
    answer = client.get("/livez")
    assert answer.status_code == 200
    assert answer.get_json() == {"status": "ok"}


def test_it_is_ready_with_redis_and_a_worker(client: FlaskClient, worker: EchoWorker) -> None:
    wait_until(lambda: client.get("/readyz").status_code == 200, "the worker is heard of")
    assert client.get("/readyz").get_json() == {
        "status": "ready",
        "model_version": f"{MODEL}/{VERSION}",
        "workers": 1,
    }


def test_without_a_worker_it_is_not_ready(client: FlaskClient, queue: RedisServer) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert json.loads(answer.data)["code"] == "no_worker"
    assert "Retry-After" in answer.headers


def test_without_redis_it_is_not_ready(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "REDIS_PORT", 1)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert json.loads(answer.data)["code"] == "redis_unavailable"
    middleware.close_queue()
