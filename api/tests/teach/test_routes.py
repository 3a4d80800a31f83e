"""Teaching over HTTP: who may, what becomes of examples, and what is ordered of the trainer."""

import json
import re
import secrets
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import settings
from images import uploads
from reports import record
from sightline_testing import sample_images
from sightline_testing.redis_server import RedisServer
from sightline_testing.s3_server import S3Server
from sightline_testing.slow_redis import SlowRedis
from storage.audit.log import AuditFile, AuditRow
from storage.errors import StorageUnavailable
from storage.images import bucket
from storage.images.bucket import ImageBucket
from storage.reports.port import Filters
from storage.s3 import Bucket
from storage.transfers.folder import FolderTransfers
from teach import examples, imports, orders
from tests.reports.test_json_reports import problem_of
from wire.orders import messages
from wire.orders.trainer_desk import TrainerDesk
from wire.redis.address import address_of

KEY = "the-operators-key"
HEADERS = {"X-API-Key": KEY}
OWN = {"Origin": "http://localhost"}
PAGE = {"Accept": "text/html"}


@pytest.fixture(autouse=True)
def _operator(queue: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "OPERATOR_KEY", KEY)


@pytest.fixture
def operator(client: FlaskClient) -> FlaskClient:
    """A user who has signed in with the key in a browser."""
    assert client.post("/review/login", data={"key": KEY, "name": "Ann"}, headers=OWN).status_code == 303
    return client


@pytest.fixture
def trainer() -> Iterator[TrainerDesk]:
    """The desk of a trainer that does nothing by itself."""
    desk = TrainerDesk(address_of(settings), settings.REDIS_QUEUE, "tests")
    assert desk.lead()
    yield desk
    desk.leave()


def image(number: int) -> tuple[BytesIO, str]:
    return BytesIO(sample_images.jpeg(64, 48 + number)), f"{number}.jpg"


def give(client: FlaskClient, label: str, *files: tuple[BytesIO, str], **headers: str) -> TestResponse:
    return client.post("/teach/examples", data={"label": label, "file": list(files)}, headers=headers or OWN)


def rows(application: Flask) -> list[AuditRow]:
    """The audit log without the sign-ins, oldest first."""
    found = AuditFile(Path(settings.FEEDBACK_FILEPATH).parent).newest(100)
    return [row for row in reversed(found) if not row.action.startswith("sign")]


@pytest.mark.parametrize("path", ["/teach", "/teach/orders/1-0"])
def test_nobody_comes_in_without_the_key(client: FlaskClient, path: str) -> None:
    assert problem_of(client.get(path)) == (401, "operator_key_needed")
    led = client.get(path, headers=PAGE)
    assert (led.status_code, led.location) == (302, f"/review/login?next={path}")


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {}])
def test_a_cookie_alone_orders_nothing_unless_our_page_sent_it(
    operator: FlaskClient, application: Flask, headers: dict[str, str]
) -> None:
    order = operator.post("/teach/orders", data={"kind": "rollback"}, headers=headers)
    assert order.status_code in {401, 403}
    given = operator.post("/teach/examples", data={"label": "lynx", "file": image(0)}, headers=headers)
    assert given.status_code in {401, 403}
    assert rows(application) == []
    assert "Nothing was ordered yet" in operator.get("/teach").text


def test_examples_become_accepted_reports_of_the_operator_with_what_the_model_says(
    operator: FlaskClient, application: Flask, asked: list[str]
) -> None:
    answer = give(operator, "Bar  chart", image(0), image(1), (BytesIO(b"no image"), "bad.txt"))
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.get_json()["examples"]
    assert answer.get_json()["label"] == "Bar chart"
    assert [each["success"] for each in found] == [True, True, False]
    assert [each.get("prediction") for each in found] == ["tabby", "tabby", None]
    assert "not an image" in found[2]["error"]
    with application.test_request_context():
        page = record.report_store().page(Filters("accepted"))
    kept = [(case["final_label"], case["reviewer"], case["prediction"]) for card in page.cards for case in card.reports]
    assert kept == [("Bar chart", "Ann", "tabby")] * 2
    [row] = rows(application)
    assert (row.who, row.address, row.action) == ("Ann", "127.0.0.1", "examples")
    assert row.subject == {"label": "Bar chart", "images": "2"}


def test_the_same_image_again_is_the_same_example_and_another_class_takes_it_over(
    operator: FlaskClient, application: Flask, asked: list[str]
) -> None:
    for label in ("lynx", "lynx", "LYNX", "ocelot"):
        assert give(operator, label, image(0)).get_json()["examples"][0]["success"]
    with application.test_request_context():
        assert [case["final_label"] for case in record.report_store().cases(0)] == ["ocelot"]
        assert len(record.report_store().reports(0)) == 2


def test_the_page_shows_the_examples_and_what_they_are_confused_with(
    operator: FlaskClient, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examples, "FEWEST", 3)
    led = give(operator, "bar chart", image(0), image(1), Accept="text/html", **OWN)
    assert (led.status_code, led.location) == (303, "/teach?label=bar+chart")
    page = operator.get(led.location).text
    assert "2 of 2 for" in page
    assert page.count('class="example"') == 3  # the template's, too
    assert "1 more, and it can be trained" in page
    give(operator, "bar chart", image(2))
    assert 'value="train"' in operator.get(led.location).text


def test_a_form_with_a_broken_image_says_which(operator: FlaskClient, asked: list[str]) -> None:
    answer = give(operator, "lynx", image(0), (BytesIO(b"no image"), "bad.jpg"), Accept="text/html", **OWN)
    assert answer.status_code == 422
    assert "1 of 2 are kept. bad.jpg" in answer.text


def test_a_bucket_that_is_away_is_waited_for_once_also_where_the_image_is_known(
    operator: FlaskClient, asked: list[str], s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = ImageBucket(s3_server.bucket(f"s3://images/{secrets.token_hex(4)}"))
    monkeypatch.setattr(uploads, "image_store", lambda: images)
    for name in ("TRUSTED_S", "PROBE_EVERY_S"):
        monkeypatch.setattr(bucket, name, 0.0)
    assert give(operator, "lynx", image(0)).status_code == 200
    waits: list[object] = []

    def wait_in_vain(_: Bucket, work: object) -> None:
        waits.append(work)
        raise StorageUnavailable("away")

    monkeypatch.setattr(Bucket, "_call", wait_in_vain)
    assert problem_of(give(operator, "lynx", image(0))) == (503, "storage_unavailable")
    assert len(waits) == 1


@pytest.mark.parametrize("label", ["", "  ", "_", "x" * 201, "\u200b"])
def test_a_class_needs_a_name(operator: FlaskClient, asked: list[str], label: str) -> None:
    assert problem_of(give(operator, label, image(0))) == (400, "label_needed")
    assert asked == []


def test_an_order_is_placed_followed_and_shown(operator: FlaskClient, application: Flask, trainer: TrainerDesk) -> None:
    placed = operator.post("/teach/orders", json={"kind": "evaluate", "version": "m/2-int8"}, headers=OWN)
    assert placed.status_code == 201, placed.text
    order = placed.get_json()
    assert (order["state"], order["by"], order["arguments"]) == ("queued", "Ann", {"version": "m/2-int8"})
    address = f"/teach/orders/{order['id']}"
    waiting = operator.get(address, headers=PAGE).text
    assert "It waits for the trainer" in waiting
    assert '<noscript><meta http-equiv="refresh"' in waiting
    taken = trainer.take(0.1)
    assert taken is not None
    trainer.begin(taken)
    trainer.report(messages.Progress(order["id"], 1, 2, 14, "synthetic images", 64, 256, 3.0, total_left_s=41.6))
    running = operator.get(address, headers=PAGE).text
    assert "Step 2 of 14: synthetic images" in running
    assert "64 of 256, about 3 s left in this step; about 42 s left in all" in running
    assert operator.get(address).get_json()["total_left_s"] == 41.6
    trainer.done(order["id"], RESULT)
    done = operator.get(address, headers=PAGE).text
    assert 'http-equiv="refresh"' not in done
    for text in ("3 of 4", "pinwheel", "Serve it all the same", "/display/lost.jpg", "only 0 images"):
        assert text in done
    assert operator.get(address).get_json()["result"] == RESULT
    [row] = rows(application)
    assert (row.action, row.outcome, row.order, row.who) == ("evaluate", "ordered", order["id"], "Ann")


def test_what_is_done_is_answered_as_done_if_the_audit_log_fails(
    operator: FlaskClient, asked: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    log = Path(settings.FEEDBACK_FILEPATH).parent / "audit.jsonl"
    log.unlink()
    log.mkdir()
    placed = operator.post("/teach/orders", json={"kind": "evaluate", "version": "m/2-int8"}, headers=OWN)
    assert placed.status_code == 201, placed.text
    assert placed.get_json()["id"] in caplog.text
    assert give(operator, "lynx", image(0)).get_json()["examples"][0]["success"]
    assert '"label": "lynx"' in caplog.text
    assert operator.post("/review/logout", headers=OWN).status_code == 303


def test_a_form_orders_too_and_leads_to_the_page_of_the_order(operator: FlaskClient, trainer: TrainerDesk) -> None:
    led = operator.post("/teach/orders", data={"kind": "rollback"}, headers=OWN)
    assert led.status_code == 303
    assert "/teach/orders/" in led.location
    order_id = led.location.rpartition("/")[2]
    trainer.failed(order_id, "nothing was promoted <b>")
    page = operator.get(led.location, headers=PAGE).text
    assert "nothing was promoted &lt;b&gt;" in page
    listed = operator.get("/teach").text
    assert 'data-state="failed"' in listed


def test_an_image_is_erased_by_an_order_and_the_log_keeps_a_digest_of_its_name_alone(
    operator: FlaskClient, application: Flask, trainer: TrainerDesk
) -> None:
    name = "0123456789abcdef0123456789abcdef.jpg"
    led = operator.post("/teach/orders", data={"kind": "erase", "image": f"/display/{name}"}, headers=OWN)
    order_id = led.location.rpartition("/")[2]
    assert trainer.find(order_id).arguments == {"image": f"/display/{name}"}
    trainer.done(order_id, {"images": 1, "reports": 2, "answers": 0, "evaluations": 0, "trained": []})
    assert "1 stored images, 2 reports" in operator.get(led.location, headers=PAGE).text
    [row] = rows(application)
    assert list(row.subject) == ["image_digest"]
    assert name.partition(".")[0] not in AuditFile(Path(settings.FEEDBACK_FILEPATH).parent).path.read_text()


def test_a_training_takes_all_classes_or_those_that_were_chosen(
    operator: FlaskClient, trainer: TrainerDesk, asked: list[str]
) -> None:
    for number, label in enumerate(("lynx", "bar chart", "lynx")):
        give(operator, label, image(number))
    page = operator.get("/teach").text
    assert [part.partition('"')[0] for part in page.split('name="only" value="')[1:]] == ["lynx", "bar chart"]
    assert '<span class="count">2</span>' in page

    def ordered(only: list[str]) -> TestResponse:
        form = {"kind": "train", "choose": "1", "only": only}
        return operator.post("/teach/orders", data=form, headers=OWN)

    def arguments_of(led: TestResponse) -> dict[str, str]:
        return dict(trainer.find(led.location.rpartition("/")[2]).arguments)

    assert arguments_of(ordered(["bar chart", "lynx"])) == {}
    chosen = ordered(["bar chart"])
    assert arguments_of(chosen) == {"only": "bar chart"}
    assert "those of bar chart." in operator.get(chosen.location, headers=PAGE).text
    assert problem_of(ordered([])) == (400, "invalid_order")


def test_an_export_is_offered_for_download_as_long_as_it_is_there(
    operator: FlaskClient, application: Flask, trainer: TrainerDesk
) -> None:
    led = operator.post("/teach/orders", data={"kind": "export"}, headers=OWN)
    order_id, transfers = led.location.rpartition("/")[2], FolderTransfers(Path(settings.FEEDBACK_FILEPATH).parent)
    assert problem_of(operator.get(f"{led.location}/archive")) == (404, "archive_gone")
    transfers.archive(order_id).write_bytes(b"PK" * 100_000)
    trainer.done(order_id, {"images": 1, "missing": 2, "bytes": 200_000})
    page = operator.get(led.location, headers=PAGE).text
    assert f'href="{led.location}/archive"' in page
    assert "1 image, " in page
    assert "2 reviewed images are gone" in page
    with operator.get(f"{led.location}/archive") as sent:
        assert (sent.data, sent.content_type) == (b"PK" * 100_000, "application/zip")
        assert sent.headers["Content-Disposition"].startswith('attachment; filename="reviewed-cases-20')
        assert sent.headers["Cache-Control"] == "no-store"
    other = operator.post("/teach/orders", data={"kind": "rollback"}, headers=OWN).location
    assert problem_of(operator.get(f"{other}/archive")) == (404, "archive_gone")
    assert [(row.action, row.order) for row in rows(application)][1] == ("download", order_id)
    operator.post("/review/logout", headers=OWN)
    assert operator.get(f"{led.location}/archive").status_code == 401


def test_a_network_is_stored_for_the_trainer_and_its_import_ordered(
    operator: FlaskClient, application: Flask, trainer: TrainerDesk
) -> None:
    form = {
        "preset": "torchvision",
        "name": "",
        "model": file("my.onnx"),
        "labels": file("names.csv"),
        "config": file(""),
    }
    led = operator.post("/teach/models", data=form, headers={**OWN, **PAGE})
    assert led.status_code == 303, led.text
    arguments = dict(trainer.find(led.location.rpartition("/")[2]).arguments)
    folder = FolderTransfers(Path(settings.FEEDBACK_FILEPATH).parent).received(arguments.pop("upload"))
    assert folder is not None
    assert arguments == {"file": "my.onnx", "preset": "torchvision"}
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "model.onnx": b"my.onnx", "labels.csv": b"names.csv",
    }  # fmt: skip
    [row] = rows(application)
    assert (row.action, row.outcome, row.subject["file"]) == ("import", "ordered", "my.onnx")
    trainer.done(led.location.rpartition("/")[2], {"version": "my/1-fp32"})
    page = operator.get(led.location, headers=PAGE).text
    assert "my/1-fp32 is imported" in page
    assert 'value="evaluate"' in page


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({}, "invalid_order"),
        ({"model": "text"}, "invalid_order"),
        ({"model": "", "preset": "caffe"}, "invalid_order"),
        ({"model": "", "size": "--size"}, "invalid_order"),
        ({"model": "", "name": "x" * 61}, "invalid_order"),
        ({"model": "", "config": "other.json"}, "invalid_order"),
        ({"model": "large"}, "too_large"),
    ],
)
def test_what_cannot_be_imported_is_refused_and_not_stored(
    operator: FlaskClient, monkeypatch: pytest.MonkeyPatch, form: dict[str, str], code: str
) -> None:
    monkeypatch.setattr(imports, "MAX_MODEL_BYTES", 20)
    sent: dict[str, object] = dict(form)
    if form.get("model") != "text" and "model" in form:
        sent["model"] = file("my.onnx" * (1 + 9 * (form["model"] == "large")))
    if "config" in form:
        sent["config"] = file(form["config"])
    answer = operator.post("/teach/models", data=sent, content_type="multipart/form-data", headers=OWN)
    assert problem_of(answer) == (413 if code == "too_large" else 400, code)
    assert not (Path(settings.FEEDBACK_FILEPATH).parent / "transfers").exists()


def test_files_of_an_import_that_cannot_be_ordered_are_removed(operator: FlaskClient) -> None:
    for _ in range(20):
        assert operator.post("/teach/orders", json={"kind": "rollback"}, headers=OWN).status_code == 201
    answer = operator.post("/teach/models", data={"model": file("my.onnx")}, headers=OWN)
    assert problem_of(answer) == (409, "orders_full")
    assert list((Path(settings.FEEDBACK_FILEPATH).parent / "transfers" / "imports").iterdir()) == []


def file(name: str) -> tuple[BytesIO, str]:
    return BytesIO(name.encode()), name


def test_a_promotion_that_has_to_be_confirmed_offers_that(operator: FlaskClient, trainer: TrainerDesk) -> None:
    led = operator.post("/teach/orders", data={"kind": "promote", "version": "m/2-int8"}, headers=OWN)
    order_id = led.location.rpartition("/")[2]
    outcome = messages.Outcome(
        messages.FAILED, 0, "shows no harm, but provisionally", {"version": "m/2-int8", "needs_confirmation": True}
    )
    trainer.finish(order_id, outcome)
    page = operator.get(led.location, headers=PAGE).text
    assert 'name="provisional" value="1" required' in page


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        ({"kind": "rm"}, "none of"),
        ({}, "none of"),
        ({"kind": "promote"}, "needs"),
        ({"kind": "promote", "version": "x" * 300}, "more than"),
        ({"kind": "train", "only": "類" * 8_000}, "name fewer"),
        ({"kind": ["train"]}, "object of texts"),
        ([], "object of texts"),
    ],
)
def test_what_is_no_order_is_refused(operator: FlaskClient, application: Flask, order: object, reason: str) -> None:
    answer = operator.post("/teach/orders", json=order, headers=OWN)
    assert problem_of(answer) == (400, "invalid_order")
    assert reason in json.loads(answer.text)["detail"]
    assert rows(application) == []


def test_no_more_orders_wait_than_may(operator: FlaskClient) -> None:
    statuses = [operator.post("/teach/orders", json={"kind": "rollback"}, headers=OWN).status_code for _ in range(21)]
    assert statuses == [201] * 20 + [409]


@pytest.mark.parametrize("order_id", ["1-0", "x", "1-0-0", "9" * 30 + "-1", "%2e%2e"])
def test_an_unknown_order_is_told(operator: FlaskClient, order_id: str) -> None:
    assert operator.get(f"/teach/orders/{order_id}").status_code in {400, 404}


def test_the_versions_are_shown_with_their_buttons_and_the_lack_of_a_trainer_is_said(
    operator: FlaskClient, trainer: TrainerDesk
) -> None:
    taught = {"made_at": "2026-01-01T00:00:00+00:00", "cases": 5, "taught": ["pie_chart"], "taught_count": 1}
    trainer.publish_versions(
        [
            {"version": "m/1-int8", "state": "before", "labels": 1000, "bytes": 5_000_000},
            {
                "version": "m/2-int8",
                "state": "active",
                "labels": 1001,
                "bytes": 5_000_000,
                "base": "m/1-int8",
                **taught,
            },
            {"version": "m/3-int8", "state": "", "labels": 1001, "bytes": 5_000_000, "base": "m/1-int8", **taught},
            {"version": "m/4-int8", "state": "", "fault": "model.onnx is <missing>"},
        ]
    )
    page = operator.get("/teach").text
    assert [version.split('"')[0] for version in page.split('data-version="')[1:]] == [
        "m/4-int8", "m/3-int8", "m/2-int8", "m/1-int8",
    ]  # fmt: skip
    assert "No trainer is running" not in page
    assert page.count('value="rollback"') == 1
    assert page.count('value="discard"') == 1
    assert "pie chart" in page
    assert "&lt;missing&gt;" in page
    trainer.leave()
    assert "No trainer is running" in operator.get("/teach").text


RESULT = {
    "version": "m/2-int8",
    "first": "m/1-int8",
    "comparisons": [
        {
            "title": "Unreported images",
            "images": 2,
            "agreeing": 1,
            "notes": [],
            "changed": {
                "count": 1,
                "shown": [
                    {"name": "lost.jpg", "is_stored": True, "label": "", "first": "pinwheel", "second": "pie chart"}
                ],
            },
        }
    ],
    "classes": {
        "new": [{"label": "pie chart", "images": 4, "right": 3}],
        "look_alikes": [{"label": "pinwheel", "examples": 4, "images": 2, "kept": 1}],
        "others": {"images": 0, "kept": 0},
    },
    "verdict": {"outcome": "provisional", "reasons": ["only 0 images"], "labelled": [], "changes": []},
    "took_s": 5.0,
    "lines": ["made m/2-int8"],
    "warnings": [],
}


@pytest.mark.parametrize("as_form", [True, False], ids=["form", "JSON"])
def test_an_order_whose_reply_was_lost_is_placed_once_when_it_is_sent_again(
    operator: FlaskClient, application: Flask, monkeypatch: pytest.MonkeyPatch, as_form: bool
) -> None:
    key = re.findall(r'name="idempotency_key" value="([0-9a-f]{32})"', operator.get("/teach").text)[0]
    form, other = {"kind": "train", "idempotency_key": key}, {"kind": "rollback", "idempotency_key": key}

    def send(order: dict[str, str]) -> TestResponse:
        if as_form:
            return operator.post("/teach/orders", data=order, headers=OWN)
        keyed = {"Idempotency-Key": order["idempotency_key"], **OWN}
        return operator.post("/teach/orders", json={"kind": order["kind"]}, headers=keyed)

    def id_of(answer: TestResponse) -> str:
        return answer.location.rpartition("/")[2] if as_form else str(answer.get_json()["id"])

    with SlowRedis(settings.REDIS_PORT) as relay:
        with monkeypatch.context() as patched:
            patched.setattr(settings, "REDIS_PORT", relay.port)
            first = send({"kind": "suggest", "idempotency_key": "0" * 32})  # so that Redis knows the script
            relay.hold()
            lost = send(form)
            relay.cut()
        assert (lost.status_code, "Retry-After" in lost.headers) == (503, True)
    sent = [send(form), send(form)]
    assert {answer.status_code for answer in sent} == {303 if as_form else 201}
    [again] = set(map(id_of, sent))
    with application.test_request_context():
        assert [each.order.id for each in orders.book().orders] == [again, id_of(first)]
    # The answer to the first was lost, so it has no row.
    assert [row.outcome for row in rows(application)] == ["ordered", "ordered again", "ordered again"]
    if as_form:
        assert id_of(send(other)) != again  # of a page that the browser has kept
    else:
        assert problem_of(send(other)) == (422, "idempotency_key_reused")


def test_an_import_whose_reply_was_lost_keeps_its_files_and_is_placed_once(
    operator: FlaskClient, application: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = {"Idempotency-Key": "one", **OWN}

    def send(content: bytes = b"a graph") -> TestResponse:
        form = {"model": (BytesIO(content), "my.onnx"), "preset": "torchvision"}
        return operator.post("/teach/models", data=form, headers=headers)

    with SlowRedis(settings.REDIS_PORT) as relay, monkeypatch.context() as patched:
        patched.setattr(settings, "REDIS_PORT", relay.port)
        assert operator.post("/teach/orders", json={"kind": "suggest"}, headers=OWN).status_code == 201
        relay.hold()
        assert send().status_code == 503
    assert send().status_code == 201
    assert problem_of(send(b"another graph")) == (422, "idempotency_key_reused")
    with application.test_request_context():
        known, _ = orders.book().orders
    received = FolderTransfers(Path(settings.FEEDBACK_FILEPATH).parent).received(known.order.arguments["upload"])
    assert received is not None
    assert [path.name for path in received.parent.iterdir()] == [received.name]
