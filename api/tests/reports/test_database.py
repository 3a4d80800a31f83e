"""Reports in PostgreSQL, over HTTP and gevent: hosts that share one database, and a database that is away."""

import csv
import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Connection

import settings
from reports import export, record
from review.suggestions import UPTO
from sightline_testing import sample_images
from sightline_testing.postgres_server import PostgresServer
from sightline_testing.redis_server import RedisServer
from sightline_testing.s3_server import KEY as KEY_OF_S3
from sightline_testing.s3_server import SECRET as SECRET_OF_S3
from sightline_testing.s3_server import S3Server
from storage.errors import DatabaseUnavailable, StorageUnavailable
from storage.images.opening import open_images
from storage.reports.postgres import transfer
from storage.s3 import Server
from tests.serving import EchoWorker, Served, raw_image, serving, wait_until
from wire.orders.suggestions import Search, Suggestion, Suggestions
from wire.redis.address import Address
from wire.tables.feedback import REPORTS_FILE

KEY = "the-operators-key"
Hosts = Callable[..., Any]


@pytest.fixture
def told(tmp_path: Path, database_url: str, redis_server: RedisServer) -> dict[str, Any]:
    """What all hosts share."""
    return {
        "DATABASE_URL": database_url,
        "REDIS_PORT": redis_server.port,
        "UPLOAD_FOLDER": tmp_path / "uploads",
        "SECRET_KEY": "the same everywhere",
        "OPERATOR_KEY": KEY,
    }


@contextmanager
def host(folder: Path, told: dict[str, Any]) -> Iterator[Served]:
    folder.mkdir()
    with serving(folder, told) as served:
        yield served


def ask(served: Served, method: str, path: str, body: object = None) -> tuple[int, bytes]:
    headers = {"Content-Type": "application/json", "X-API-Key": KEY}
    with closing(HTTPConnection("127.0.0.1", served.port, timeout=30)) as connection:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, response.read()


def report(served: Served, prediction: str, comment: str = "") -> tuple[int, str]:
    """Report a prediction; give the status, and the id or the problem's code."""
    status, answer = ask(
        served, "POST", "/feedback", {"prediction_id": prediction, "label": "lynx", "comment": comment}
    )
    document = json.loads(answer)
    return status, document.get("report_id") or document["code"]


def predict(served: Served, image: bytes) -> str:
    status, headers, answer = served.ask_patiently(raw_image(image))
    assert status == 200, answer
    return headers["x-prediction-id"]


def test_an_image_without_a_report_is_decided_about_where_images_and_reports_are_shared(
    told: dict[str, Any], tmp_path: Path, redis_server: RedisServer, s3_server: S3Server
) -> None:
    place, image = "s3://images/suggested", sample_images.jpeg(64, 48)
    told |= {**s3_server.settings, "IMAGE_STORE": place}
    images = open_images(place, Server(s3_server.url, "us-east-1", KEY_OF_S3, SECRET_OF_S3))
    name, sha256 = images.put(f"{'a' * 32}.jpg", image), hashlib.sha256(image).hexdigest()
    found = Suggestion(sha256, name, "tabby", 0.25, "net/7", {"unsure": ""}, 0)
    listed = Suggestions(Address(port=redis_server.port), "sightline", timeout_s=60.0)
    listed.replace([found, replace(found, image="b" * 64, filename=f"{'b' * 32}.jpg")], Search(0, 2, "net/7"))
    with host(tmp_path / "a", told) as served:
        status, page = ask(served, "GET", "/review/suggestions")
        assert (status, page.count(b"data-token=")) == (200, 1)
        assert listed.read().suggestions == [found], "what the bucket does not hold leaves the list"
        decision = {"image": sha256, "seen": "0", "upto": str(UPTO), "label": "lynx"}
        status, answer = ask(served, "POST", "/review/images", {"decision": "correct", "images": [decision]})
        assert (status, json.loads(answer)["images"][0]["status"]) == (200, "corrected")
        [case] = [json.loads(line) for line in ask(served, "GET", "/review/cases.jsonl")[1].splitlines()]
    assert case["label"] == "lynx"
    assert listed.read().suggestions == []
    assert images.read(name) == image


def test_what_one_host_stores_another_reports_and_a_third_decides_is_one_row_of_the_same_bytes(
    told: dict[str, Any], tmp_path: Path, redis_server: RedisServer, database_url: str, s3_server: S3Server
) -> None:
    image, place = sample_images.jpeg(64, 48), "s3://images/hosts"
    told |= {**s3_server.settings, "IMAGE_STORE": place}
    images = open_images(place, Server(s3_server.url, "us-east-1", KEY_OF_S3, SECRET_OF_S3))
    with host(tmp_path / "a", told) as a, host(tmp_path / "b", told) as b, EchoWorker(redis_server.port) as worker:
        worker.digest_of = lambda name: hashlib.sha256(images.read(name)).hexdigest()
        prediction = predict(a, image)
        status, report_id = report(b, prediction, "the ears")
        assert status == 201
        decision = {"report_id": report_id, "decision": "accept", "seen": "0"}
        assert ask(a, "POST", "/review/decisions", decision)[0] == 201
        late = {"report_id": report_id, "decision": "reject", "seen": "0"}
        status, answer = ask(b, "POST", "/review/decisions", late)
        assert (status, json.loads(answer)["code"]) == (409, "decided_meanwhile")
        detail = json.loads(answer)["detail"]
        assert "operator has decided about this report meanwhile: it is accepted as lynx" in detail
        cases = [ask(each, "GET", "/review/cases.jsonl")[1] for each in (a, b)]
        [case] = [json.loads(line) for line in cases[0].splitlines()]
        shown = ask(b, "GET", f"/display/{case['file_name'].partition('/')[2]}")
    assert cases[0] == cases[1]
    assert shown == (200, image)
    assert (case["label"], case["status"]) == ("lynx", "accepted")
    database = transfer.open_database(database_url)
    transfer.export_folder(database, tmp_path / "out")
    database.close()
    [row] = rows_in(tmp_path / "out")
    assert rows_in(tmp_path / "b" / "feedback") == [row]
    assert not (tmp_path / "a" / "feedback" / REPORTS_FILE).exists()
    assert row["image_sha256"] == hashlib.sha256(image).hexdigest() == case["sha256"]
    assert images.read(Path(row["image_path"]).name) == image


def rows_in(folder: Path) -> list[dict[str, str]]:
    with (folder / REPORTS_FILE).open(newline="") as file:
        return list(csv.DictReader(file, strict=True))


def test_a_database_that_is_away_or_silent_is_a_503_that_keeps_nobody_else_waiting(
    told: dict[str, Any], tmp_path: Path, redis_server: RedisServer, postgres_process: PostgresServer
) -> None:
    with host(tmp_path / "a", told) as served, EchoWorker(redis_server.port):
        prediction = predict(served, sample_images.jpeg(64, 48))
        assert report(served, prediction)[0] == 201
        postgres_process.kill()
        assert report(served, prediction) == (503, "database_unavailable")
        for path in ("", "/cases.csv", "/cases.jsonl", "/cases.zip", "/label-studio.zip"):
            status, body = ask(served, "GET", f"/review{path}")
            assert (status, json.loads(body)["code"]) == (503, "database_unavailable"), path
        postgres_process.start()
        assert report(served, prediction)[0] == 201
        postgres_process.pause()
        answers: list[tuple[int, str]] = []
        senders = [
            threading.Thread(target=lambda: answers.append(report(served, prediction, "while it is silent")))
            for _ in range(12)
        ]
        try:
            for sender in senders:
                sender.start()
            count = 0
            while not answers:
                assert predict(served, sample_images.jpeg(64, 48))
                count += 1
            for sender in senders:
                sender.join()
        finally:
            postgres_process.resume()
        assert count > 0
        assert answers == [(503, "database_unavailable")] * 12
        wait_until(lambda: report(served, prediction)[0] == 201, "reports are kept again")
        assert "the database of the reports cannot be used: " in served.log
        assert "Traceback" not in served.log


def test_a_request_waits_once_for_a_database_that_is_silent(
    application: Flask, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "DATABASE_URL", database_url)
    database = record.database(timeout_s=0.001)

    def wait(_: Connection) -> None:
        time.sleep(0.01)
        raise DatabaseUnavailable("no answer")

    with application.app_context():
        with pytest.raises(DatabaseUnavailable):
            database.run(wait)
        with pytest.raises(DatabaseUnavailable):
            database.run(lambda _: pytest.fail("it is queried again"))

    def is_answered() -> bool:
        with application.app_context(), suppress(DatabaseUnavailable):  # it may take longer than that
            return database.run(lambda _: True)
        return False

    wait_until(is_answered, "another request is answered")


def test_an_archive_without_its_images_is_refused_where_their_place_does_not_serve() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        nobody = Server(f"http://127.0.0.1:{taken.getsockname()[1]}", "us-east-1", "key", "secret", 30.0)
    row = {"filename": f"{'0' * 32}.jpg", "image_sha256": ""}
    with pytest.raises(StorageUnavailable):
        export.content_of(open_images("s3://images/x", nobody), row)


def test_a_service_begins_without_its_database(
    told: dict[str, Any], tmp_path: Path, redis_server: RedisServer, postgres_process: PostgresServer
) -> None:
    postgres_process.kill()
    with host(tmp_path / "a", told) as served, EchoWorker(redis_server.port):
        prediction = predict(served, sample_images.jpeg(64, 48))
        assert report(served, prediction) == (503, "database_unavailable")
        postgres_process.start()
        assert report(served, prediction)[0] == 201


def test_a_service_does_not_begin_with_the_tables_of_another_version(
    told: dict[str, Any], tmp_path: Path, postgres_process: PostgresServer
) -> None:
    postgres_process.execute("UPDATE alembic_version SET version_num = '0000'", "reports")
    try:
        with pytest.raises(AssertionError) as refused, host(tmp_path / "a", told):
            pass
    finally:
        postgres_process.execute("UPDATE alembic_version SET version_num = '0004'", "reports")
    assert "DATABASE_URL: the database has revision 0000 of the tables, this version needs 0004" in str(refused.value)
    assert "run `python -m commands.migrate`" in str(refused.value)
    assert "Traceback" not in str(refused.value)
