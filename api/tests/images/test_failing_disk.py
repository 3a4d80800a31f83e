"""A disk that is read-only, full or failing: each request gets its problem, the log stays short, readiness ends."""

import errno
import io
import json
import os
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

import error_handlers
import settings
from observability import health
from sightline_testing import sample_images
from storage.images.folder import ImageFolder
from tests.conftest import Serve
from tests.serving import EchoWorker, raw_image, wait_until

FAULTS = (
    errno.EROFS,
    errno.EPERM,
    errno.EACCES,
    errno.EIO,
    errno.ENFILE,
    errno.EMFILE,
    errno.ESTALE,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ENXIO,
    errno.ENOTCONN,
)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


Remount = Callable[[str], object]


@contextmanager
def mounted(folder: Path, options: str = "rw") -> Iterator[Remount]:
    """Mount a file system of its own on a folder; yield what mounts it again with other options."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system needs root")
    try:
        yield lambda options: subprocess.check_call(["mount", "-o", f"remount,{options}", folder])
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def disk(uploads_folder: Path) -> Iterator[Remount]:
    """A file system under the uploads folder."""
    with mounted(uploads_folder) as remount:
        yield remount


@pytest.fixture(autouse=True)
def _no_earlier_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CHECK_STORAGE_EVERY_S", 0.0)
    monkeypatch.setattr(error_handlers, "_disk_logged_at", {})


@pytest.fixture
def ready(client: FlaskClient, worker: EchoWorker) -> FlaskClient:
    wait_until(lambda: client.get("/readyz").status_code == 200, "the worker is registered")
    return client


def fail_with(monkeypatch: pytest.MonkeyPatch, folder: Path, error: int, *, reads: bool = False) -> None:
    """Have the operating system refuse every write to a folder, or all access to it."""

    def failing(name: str) -> Callable[..., Any]:
        usual = getattr(os, name)

        def call(path: Any, *arguments: Any, **told: Any) -> Any:
            is_writing = name != "open" or bool(arguments and arguments[0] & (os.O_CREAT | os.O_WRONLY))
            if (is_writing or reads) and isinstance(path, str | Path) and Path(path).is_relative_to(folder):
                raise OSError(error, os.strerror(error), str(path))
            return usual(path, *arguments, **told)

        return call

    for name in ("open", "link", "rename", "utime", "mkdir", *(("lstat", "stat", "statvfs") if reads else ())):
        monkeypatch.setattr(os, name, failing(name))


def send(client: FlaskClient, content: bytes, name: str = "a.jpg") -> tuple[int, str]:
    answer = client.post("/predict", data={"file": (io.BytesIO(content), name)})
    return answer.status_code, json.loads(answer.data).get("code", "")


@pytest.mark.parametrize("error", [*FAULTS, *FULL])
def test_an_upload_that_cannot_be_stored_has_a_problem_and_no_traceback(
    ready: FlaskClient,
    uploads_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: int,
) -> None:
    expected = (507, "storage_full") if error in FULL else (503, "storage_unavailable")
    known, unknown = sample_images.jpeg(64, 48), sample_images.jpeg(64, 49)
    assert send(ready, known) == (200, "")
    with monkeypatch.context() as failing:
        fail_with(failing, uploads_folder, error)
        assert [send(ready, unknown) for _ in range(3)] == [expected] * 3
        assert [record.exc_info for record in caplog.records] == [None]
        # A stored image is answered, under any name, and shown.
        assert [send(ready, known, name) for name in ("a.jpg", "b.jpeg", "blob")] == [(200, "")] * 3
        assert ready.get(f"/display/{stored_names(uploads_folder)[0]}").data == known
        not_ready = ready.get("/readyz")
        assert (not_ready.status_code, json.loads(not_ready.data)["code"]) == (503, expected[1])
        assert str(uploads_folder) not in not_ready.text
    assert send(ready, unknown) == (200, "")
    assert ready.get("/readyz").status_code == 200


@pytest.mark.parametrize("error", [errno.EIO, errno.ESTALE, errno.EMFILE])
def test_an_image_whose_answer_is_cached_is_answered_from_a_disk_that_says_nothing_at_all(
    ready: FlaskClient, worker: EchoWorker, uploads_folder: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    known = sample_images.jpeg(64, 48)
    wait_until(lambda: [send(ready, known)[0] for _ in range(2)] == [200, 200], "it is answered")
    asked = len(worker.images)
    with monkeypatch.context() as failing:
        fail_with(failing, uploads_folder, error, reads=True)
        assert send(ready, known) == (200, "")
        assert send(ready, sample_images.jpeg(64, 49)) == (503, "storage_unavailable")
        display = ready.get(f"/display/{worker.images[0]}")
        assert (display.status_code, json.loads(display.data)["code"]) == (503, "storage_unavailable")
    assert len(worker.images) == asked


def test_several_images_fail_each_with_the_problem_of_the_disk(
    ready: FlaskClient, uploads_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as failing:
        fail_with(failing, uploads_folder, errno.EROFS)
        files = [(io.BytesIO(sample_images.jpeg(64, 48 + number)), "a.jpg") for number in range(3)]
        results = ready.post("/predict", data={"file": files}).get_json()["results"]
    assert [result["problem"]["code"] for result in results] == ["storage_unavailable"] * 3
    assert [record.exc_info for record in caplog.records] == [None]


def test_a_folder_that_was_removed_is_made_again(ready: FlaskClient, uploads_folder: Path) -> None:
    assert send(ready, sample_images.jpeg(64, 48)) == (200, "")
    for path in uploads_folder.iterdir():
        path.unlink()
    uploads_folder.rmdir()
    assert ready.get("/readyz").status_code == 200
    assert send(ready, sample_images.jpeg(64, 48)) == (200, "")


def test_a_file_in_the_place_of_the_folder_is_a_disk_that_does_not_serve(
    ready: FlaskClient, uploads_folder: Path
) -> None:
    for path in uploads_folder.iterdir():
        path.unlink()
    uploads_folder.rmdir()
    uploads_folder.write_bytes(b"no folder")
    assert send(ready, sample_images.jpeg(64, 48)) == (503, "storage_unavailable")
    assert ready.get("/readyz").status_code == 503


def test_a_disk_with_less_than_the_floor_is_not_ready(
    ready: FlaskClient, uploads_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert send(ready, sample_images.jpeg(64, 48)) == (200, "")
    monkeypatch.setattr(settings, "MIN_FREE_BYTES", 2**62)
    not_ready = ready.get("/readyz")
    assert (not_ready.status_code, json.loads(not_ready.data)["code"]) == (503, "storage_full")
    assert send(ready, sample_images.jpeg(64, 48), "b.jpeg") == (200, "")
    assert send(ready, sample_images.jpeg(64, 49)) == (507, "storage_full")


def test_readiness_leaves_nothing_in_the_folder_and_writes_once_a_second_at_most(
    ready: FlaskClient, uploads_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "CHECK_STORAGE_EVERY_S", 60.0)
    checks: list[ImageFolder] = []
    usual = ImageFolder.check_writable

    def check(images: ImageFolder) -> None:
        checks.append(images)
        usual(images)

    monkeypatch.setattr(ImageFolder, "check_writable", check)
    ready.application.extensions["sightline.readiness"]._storage_checked_at = float("-inf")
    assert {ready.get("/readyz").status_code for _ in range(20)} == {200}
    assert len(checks) == 1
    assert stored_names(uploads_folder) == []


@pytest.mark.parametrize(
    ("options", "refusal"), [("ro", (503, "storage_unavailable")), ("nr_inodes=2", (507, "storage_full"))]
)
def test_the_server_on_a_real_disk_that_fails_answers_what_it_knows_and_recovers(
    *,
    serve: Serve,
    worker: EchoWorker,
    disk: Remount,
    uploads_folder: Path,
    options: str,
    refusal: tuple[int, str],
) -> None:
    known, unknown = sample_images.jpeg(64, 48), sample_images.jpeg(64, 49)
    with serve(REDIS_PORT=worker.port, MIN_FREE_BYTES=0) as running:

        def ask(content: bytes) -> tuple[int, str]:
            status, _, body = running.ask(raw_image(content))
            return status, json.loads(body).get("code", "")

        def readiness() -> int:
            return running.ask(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")[0]

        wait_until(lambda: readiness() == 200, "the service is ready")
        assert ask(known) == (200, "")
        # Long unused, so that it would have a new time stamp.
        os.utime(uploads_folder / stored_names(uploads_folder)[0], (1, 1))
        disk(options)
        wait_until(lambda: readiness() == 503, "the service is not ready")
        assert [ask(unknown) for _ in range(5)] == [refusal] * 5
        assert [ask(known) for _ in range(5)] == [(200, "")] * 5
        disk("rw,nr_inodes=1000")
        wait_until(lambda: readiness() == 200, "the service is ready again")
        assert ask(unknown) == (200, "")
        assert "Traceback" not in running.log
        assert running.log.count("the storage failed") <= 2


@pytest.mark.usefixtures("asked")
def test_reports_and_decisions_on_a_real_disk_that_is_full_or_read_only_have_the_same_problems(
    client: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(settings, "MIN_FREE_BYTES", 0)
    monkeypatch.setattr(settings, "OPERATOR_KEY", "k" * 40)
    answer = client.post("/predict?top_k=1", data=sample_images.jpeg(64, 48), content_type="image/jpeg")
    report = {"prediction_id": answer.get_json()["prediction_id"], "comment": "x" * 1000}
    operator = {"Authorization": f"Bearer {settings.OPERATOR_KEY}"}
    with mounted(tmp_path / "feedback", "size=2m") as remount:
        kept = client.post("/feedback", json=report).get_json()["report_id"]
        decision = {"report_id": kept, "decision": "correct", "label": "cat"}

        def refused(key: str) -> set[tuple[int, str]]:
            keyed = client.post("/feedback", json=report, headers={"Idempotency-Key": key})
            decided = client.post("/review/decisions", json=decision, headers=operator)
            return {(each.status_code, json.loads(each.data).get("code", "")) for each in (keyed, decided)}

        fill(tmp_path / "feedback" / "filler")
        assert refused("full") == {(507, "storage_full")}
        (tmp_path / "feedback" / "filler").unlink()
        remount("ro")
        assert refused("read-only") == {(503, "storage_unavailable")}
        remount("rw")
        assert refused("writable") == {(201, "")}
    assert [record for record in caplog.records if record.exc_info] == []


@pytest.mark.usefixtures("asked")
def test_a_report_is_kept_and_an_export_is_whole_where_an_image_cannot_be_read(
    client: FlaskClient, uploads_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "OPERATOR_KEY", "k" * 40)
    operator = {"Authorization": f"Bearer {settings.OPERATOR_KEY}"}
    answer = client.post("/predict?top_k=1", data=sample_images.jpeg(64, 48), content_type="image/jpeg").get_json()
    report = f"{{'filename': '{answer['filename']}', 'prediction': 'tabby', 'score': 0.5}}"
    kept = client.post("/feedback", json={"prediction_id": answer["prediction_id"], "label": "cat"}).get_json()
    decision = {"report_id": kept["report_id"], "decision": "accept"}
    assert client.post("/review/decisions", json=decision, headers=operator).status_code == 201
    with monkeypatch.context() as failing:
        fail_with(failing, uploads_folder, errno.EIO, reads=True)
        assert client.post("/feedback", data={"report": report}).status_code == 200
        archive = client.get("/review/cases.zip", headers=operator)
        assert (archive.status_code, zipfile.ZipFile(io.BytesIO(archive.data)).testzip()) == (200, None)
    assert Path(settings.FEEDBACK_FILEPATH).read_text().splitlines()[-1] == report


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(512))


def stored_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
