import json
from pathlib import Path

import pytest
from flask.testing import FlaskClient

import settings
from observability import health
from predict import job_queue
from sightline_testing.redis_server import RedisServer
from tests.serving import MODEL, VERSION, EchoWorker, wait_until
from wire import Address, Job
from wire.consumer.maintenance import Maintenance
from wire.redis.connection import Connection
from wire.redis.keys import GROUP, JOB_FIELD, Keys
from wire.redis.resp import checked, pack
from wire.worker_registry import report_startup_error


def test_the_process_lives_whatever_else_is_down(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "REDIS_PORT", 1)
    answer = client.get("/livez")
    assert answer.status_code == 200
    assert answer.get_json() == {"status": "ok"}


def test_it_is_ready_with_redis_and_a_worker(client: FlaskClient, worker: EchoWorker) -> None:
    wait_until(lambda: client.get("/readyz").status_code == 200, "the worker is registered")
    assert client.get("/readyz").get_json() == {
        "status": "ready",
        "model_version": f"{MODEL}/{VERSION}",
        "workers": 1,
    }


def test_what_a_worker_cannot_follow_is_told_though_it_is_ready(client: FlaskClient, worker: EchoWorker) -> None:
    wait_until(lambda: client.get("/readyz").status_code == 200, "the worker is registered")
    report_startup_error(Address(port=worker.port), settings.REDIS_QUEUE, "bundles/active is empty")
    ready = client.get("/readyz").get_json()
    assert ready["startup_error"] == ready["trouble"] == "bundles/active is empty"
    report_startup_error(Address(port=worker.port), settings.REDIS_QUEUE, "")
    assert not {"startup_error", "trouble"} & set(client.get("/readyz").get_json())


def test_a_process_has_started_once_redis_has_answered_it_and_outages_do_not_change_that(
    client: FlaskClient, queue: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = settings.REDIS_PORT
    monkeypatch.setattr(settings, "REDIS_PORT", 1)
    answer = client.get("/startupz")
    assert (answer.status_code, json.loads(answer.data)["code"]) == (503, "redis_unavailable")
    monkeypatch.setattr(settings, "REDIS_PORT", port)
    wait_until(lambda: client.get("/startupz").status_code == 200, "Redis has answered")
    assert client.get("/readyz").status_code == 503  # no worker
    monkeypatch.setattr(settings, "REDIS_PORT", 1)
    assert [client.get(path).status_code for path in ("/startupz", "/livez", "/readyz")] == [200, 200, 503]


def test_a_process_has_not_started_while_its_images_cannot_be_stored(
    client: FlaskClient, queue: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "UPLOAD_FOLDER", str(tmp_path / "file" / "uploads"))
    client.application.config["UPLOAD_FOLDER"] = settings.UPLOAD_FOLDER
    (tmp_path / "file").write_text("no folder")
    answer = client.get("/startupz")
    assert (answer.status_code, json.loads(answer.data)["code"]) == (503, "storage_unavailable")


def test_without_a_worker_it_is_not_ready(client: FlaskClient, queue: RedisServer) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert json.loads(answer.data)["code"] == "no_worker"
    assert "Retry-After" in answer.headers


def test_with_a_queue_that_is_full_and_stands_still_it_is_not_ready(
    client: FlaskClient, worker: EchoWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a restart of Redis from a file whose transactions it skipped: everything is refused as queue_full."""
    monkeypatch.setattr(health, "STANDSTILL_S", 0.2)
    monkeypatch.setattr(settings, "MAX_QUEUE_SIZE", 5)
    address, keys = Address(port=worker.port), Keys(settings.REDIS_QUEUE)
    wait_until(lambda: client.get("/readyz").status_code == 200, "the worker is registered")
    leave_orphans(address, keys, 5)
    wait_until(lambda: client.get("/readyz").status_code == 503, "it is not ready")
    answer = json.loads(client.get("/readyz").data)
    assert answer["code"] == "queue_full"
    assert "5 jobs" in answer["detail"]
    upkeep = Maintenance(address, settings.REDIS_QUEUE, "upkeep", lease_ms=100, max_batch_s=10)
    upkeep.sweep()
    upkeep.stop()
    wait_until(lambda: client.get("/readyz").status_code == 200, "the orphans are done")


def test_with_a_queue_that_stands_still_and_has_room_it_is_ready(
    client: FlaskClient, worker: EchoWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "STANDSTILL_S", 0.0)
    monkeypatch.setattr(settings, "MAX_QUEUE_SIZE", 5)
    wait_until(lambda: client.get("/readyz").status_code == 200, "the worker is registered")
    leave_orphans(Address(port=worker.port), Keys(settings.REDIS_QUEUE), 4)
    assert [client.get("/readyz").status_code for _ in range(5)] == [200] * 5


def leave_orphans(address: Address, keys: Keys, count: int) -> None:
    """Put jobs into the queue that were delivered to a consumer that was deleted."""
    jobs = [Job(str(number), "cat.jpg", "producer", 60_000).encode() for number in range(count)]
    commands = [pack("XADD", keys.jobs, "*", JOB_FIELD, job) for job in jobs]
    commands += [pack("XGROUP", "SETID", keys.jobs, GROUP, "$")]
    connection = Connection(address, "test")
    group = pack("XINFO", "GROUPS", keys.jobs)
    wait_until(lambda: isinstance(connection.exchange(group, 1)[0], list), "the worker has made its group")
    for reply in connection.exchange(pack("MULTI") + b"".join(commands) + pack("EXEC"), count + 3):
        checked(reply)
    connection.close()


def test_without_redis_it_is_not_ready(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "REDIS_PORT", 1)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert json.loads(answer.data)["code"] == "redis_unavailable"
    job_queue.close_queue()


def test_a_password_that_redis_refuses_is_told_as_such_and_not_shown(
    client: FlaskClient, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "REDIS_PORT", redis_server.port)
    monkeypatch.setattr(settings, "REDIS_USERNAME", "nobody")
    monkeypatch.setattr(settings, "REDIS_PASSWORD", "wr0ng")
    answer = client.get("/readyz")
    assert (answer.status_code, answer.get_json()["code"]) == (503, "redis_unavailable")
    told = answer.get_json()["detail"]
    assert "refuses the user name or the password: set REDIS_USERNAME and REDIS_PASSWORD_FILE" in told
    assert "wr0ng" not in told
    job_queue.close_queue()
