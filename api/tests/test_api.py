"""The contract of the routes, seen from outside; the model is substituted as the contract allows, and no Redis runs."""

import hashlib
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

import middleware
import settings
import views
from predict import job_queue
from problems import Problem
from sightline_testing import sample_images
from tests.serving import API, EchoWorker, wait_until
from wire import QueueFull, errors

MALFORMED = {"success": False, "prediction": None, "score": None}
PROBLEM = "application/problem+json"


def form(content: bytes, name: str = "dog.jpeg", field: str = "file") -> dict[str, Any]:
    return {field: (io.BytesIO(content), name)}


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def check_problem(answer: TestResponse, status: int, code: str) -> dict[str, Any]:
    """Check the shape that every failure has, and give its document."""
    assert answer.status_code == status
    assert answer.mimetype == PROBLEM
    document = json.loads(answer.data)
    assert document["status"] == status
    assert document["code"] == code
    assert document["type"].endswith(code)
    assert document["request_id"] == answer.headers["X-Request-Id"]
    assert document["title"]
    assert document["detail"] == document["error"]
    assert {key: document[key] for key in MALFORMED} == MALFORMED
    return dict(document)


class TestImport:
    @pytest.mark.parametrize("module", ["app", "settings", "utils", "views", "middleware"])
    def test_a_module_is_imported_without_a_connection_a_folder_or_a_thread(self, module: str, tmp_path: Path) -> None:
        program = (
            "import socket, sys, threading\n"
            "def refuse(*_): raise AssertionError('a connection at import')\n"
            "socket.socket.connect = socket.socket.connect_ex = refuse\n"
            f"import {module}\n"
            "assert threading.active_count() == 1, threading.enumerate()\n"
        )
        environment = {"PYTHONPATH": str(API), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-W", "error", "-c", program]
        outcome = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert outcome.returncode == 0, outcome.stderr
        assert list(tmp_path.iterdir()) == []

    def test_the_names_of_the_contract_are_there(self) -> None:
        from app import app  # noqa: PLC0415  as a user of the contract writes it

        assert isinstance(app, Flask)
        assert app.config["UPLOAD_FOLDER"] == settings.UPLOAD_FOLDER
        assert views.router.name == "app_router"
        assert vars(views)["model_predict"] is middleware.model_predict
        for view in ("index", "upload_image", "display_image", "predict", "feedback"):
            assert f"app_router.{view}" in app.view_functions


class TestPage:
    @pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", "application/x-www-form-urlencoded", ""])
    def test_an_image_that_is_no_form_is_not_sent_back_to_the_page(
        self, client: FlaskClient, asked: list[str], image: bytes, kind: str
    ) -> None:
        answer = client.post("/", data=image, content_type=kind)
        assert (answer.status_code, answer.headers["X-Error-Code"]) == (415, "unsupported_type")
        assert "/predict" in answer.headers["X-Error-Detail"]
        assert asked == []

    def test_json_is_no_form_either(self, client: FlaskClient) -> None:
        assert client.post("/", json={"image": "eA=="}).status_code == 415

    @pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "", "multipart/form-data"])
    @pytest.mark.parametrize("body", [b"", b"file=cat.jpg"])
    def test_a_form_without_a_file_goes_back_to_the_page(self, client: FlaskClient, kind: str, body: bytes) -> None:
        assert client.post("/", data=body, content_type=kind).status_code == 302

    def test_the_page_is_there(self, client: FlaskClient) -> None:
        answer = client.get("/")
        assert answer.status_code == 200
        assert answer.mimetype == "text/html"
        assert 'name="file"' in answer.text

    @pytest.mark.parametrize(
        "data",
        [
            {},
            form(b"x", field="other"),
            form(b"x", name=""),
            form(b"x", name="a.txt"),
            form(b"", name="a.txt"),
            form(b""),
            form(b"no image"),
        ],
    )
    def test_a_file_that_cannot_be_used_is_told_on_the_page(self, client: FlaskClient, data: dict[str, Any]) -> None:
        answer = client.post("/", data=data)
        assert answer.status_code == 302
        assert answer.headers["Location"] == "/"
        page = client.get("/")
        assert page.status_code == 200
        assert "That did not work" in page.text
        assert "hoose" in page.text
        assert "hoose" not in self.error_shown(client.get("/").text)

    def error_shown(self, page: str) -> str:
        return page.partition('id="error-line">')[2].partition("</p>")[0]

    def test_the_answer_is_on_the_page_with_the_image(
        self, client: FlaskClient, asked: list[str], image: bytes
    ) -> None:
        answer = client.post("/", data=form(image))
        assert answer.status_code == 200
        assert asked == [f"{md5(image)}.jpeg"]
        assert "tabby" in answer.text
        assert f"/display/{asked[0]}" in answer.text
        assert "0.8765" in answer.text
        assert "0.876543" not in answer.text

    def test_the_page_s_report_is_a_row_when_it_is_sent(
        self, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, image: bytes, csv_path: Path
    ) -> None:
        monkeypatch.setattr(views, "model_predict", lambda _: ("carpenter's_kit", 0.5))
        page = client.post("/", data=form(image)).text
        literal = page.partition('name="report"')[2].partition('value="')[2].partition('"')[0].replace("&#39;", "'")
        assert literal == f"{{'filename': '{md5(image)}.jpeg', 'prediction': 'carpenter's_kit', 'score': 0.5}}"
        assert client.post("/feedback", data={"report": literal}).status_code == 200
        assert csv_path.read_text().splitlines()[1].count("carpenter's_kit") == 1

    def test_any_other_failure_is_the_page_with_its_status_and_the_message(
        self, client: FlaskClient, asked: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(settings, "MAX_UPLOAD_BYTES", 1999)
        answer = client.post("/", data=form(sample_images.jpeg(64, 48).ljust(2000)))
        assert answer.status_code == 413
        assert answer.mimetype == "text/html"
        assert self.error_shown(answer.text)
        assert asked == []

    def test_a_failure_of_the_service_is_the_page_too(
        self, client: FlaskClient, image: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(views, "model_predict", raising(errors.NoWorker()))
        answer = client.post("/", data=form(image))
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] in {"1", "2", "3"}
        assert "No model worker" in self.error_shown(answer.text)

    def test_what_a_label_says_is_text_on_the_page(
        self, client: FlaskClient, image: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(views, "model_predict", lambda _: ("<script>alert(1)</script>", 0.5))
        assert "<script>alert" not in client.post("/", data=form(image)).text


class TestPredict:
    @pytest.mark.parametrize("method", ["POST", "PUT"])
    def test_exactly_three_keys_by_default(
        self, client: FlaskClient, asked: list[str], image: bytes, method: str
    ) -> None:
        answer = client.open("/predict", method=method, data=form(image))
        assert answer.status_code == 200
        assert answer.mimetype == "application/json"
        assert answer.json == {"success": True, "prediction": "tabby", "score": 0.8765}
        assert asked == [f"{md5(image)}.jpeg"]

    @pytest.mark.parametrize("content_type", ["image/jpeg", "image/anything", "application/octet-stream", None])
    @pytest.mark.parametrize("method", ["POST", "PUT"])
    def test_a_raw_body_will_do(
        self, client: FlaskClient, asked: list[str], image: bytes, method: str, content_type: str | None
    ) -> None:
        answer = client.open("/predict", method=method, data=image, content_type=content_type)
        assert answer.json == {"success": True, "prediction": "tabby", "score": 0.8765}
        assert asked == [f"{md5(image)}.jpg"]

    @pytest.mark.parametrize(
        "request_",
        [
            {},
            {"data": form(b"x", field="other")},
            {"data": form(b"words", name="")},
            {"data": form(b"", name="dog.jpg")},
            {"data": form(b"words", name="dog.txt")},
            {"data": form(b"words", name="dog")},
            {"data": {"file": "a field"}},
            {"json": {"file": "dog.jpg"}},
            {"data": b"text", "content_type": "text/plain"},
            {"data": b"no image", "content_type": "application/octet-stream"},
            {"data": b"no image"},
            {"data": b"", "content_type": "image/png"},
            {"data": b"--x\r\ncut off", "content_type": "multipart/form-data; boundary=x"},
            {"data": b"no boundary", "content_type": "multipart/form-data"},
        ],
    )
    @pytest.mark.parametrize("method", ["POST", "PUT"])
    def test_without_a_usable_file_the_answer_is_400_and_exactly_this(
        self, client: FlaskClient, asked: list[str], method: str, request_: dict[str, Any]
    ) -> None:
        if isinstance(request_.get("data"), dict):
            request_ = {"data": {name: fresh(value) for name, value in request_["data"].items()}}
        answer = client.open("/predict", method=method, **request_)
        assert answer.status_code == 400
        assert answer.mimetype == "application/json"
        assert answer.json == MALFORMED
        assert asked == []

    def test_a_malformed_request_is_told_before_the_state_of_the_service(
        self, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(settings, "REDIS_PORT", 1)
        assert client.post("/predict").json == MALFORMED
        assert client.post("/predict", data=form(b"", name="a.jpg")).json == MALFORMED

    def test_get_is_405(self, client: FlaskClient) -> None:
        answer = client.get("/predict")
        check_problem(answer, 405, "method_not_allowed")
        assert "POST" in answer.headers["Allow"]
        assert "PUT" in answer.headers["Allow"]

    @pytest.mark.parametrize("data", [form(b"words", name="dog.jpg"), b"words"])
    def test_a_wrong_signature_is_415(self, client: FlaskClient, asked: list[str], data: Any) -> None:
        if isinstance(data, bytes):
            answer = client.post("/predict", data=data, content_type="image/png")
        else:
            answer = client.post("/predict", data={name: fresh(value) for name, value in data.items()})
        check_problem(answer, 415, "unsupported_type")
        assert asked == []

    def test_too_many_bytes_are_413_in_a_form_and_raw(
        self, client: FlaskClient, image: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(settings, "MAX_UPLOAD_BYTES", len(image) - 1)
        check_problem(client.post("/predict", data=form(image)), 413, "too_large")
        check_problem(client.post("/predict", data=image, content_type="image/jpeg"), 413, "too_large")
        check_problem(client.post("/predict", data=image.ljust(200_000), content_type="image/jpeg"), 413, "too_large")

    def test_a_full_disk_is_507(self, client: FlaskClient, image: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(settings, "MIN_FREE_BYTES", 2**62)
        answer = client.post("/predict", data=form(image))
        check_problem(answer, 507, "storage_full")
        assert int(answer.headers["Retry-After"]) > 0

    def test_top_k_adds_the_best_classes_and_what_the_answer_is_about(
        self, client: FlaskClient, asked: list[str], image: bytes
    ) -> None:
        answer = client.post("/predict?top_k=5", data=form(image))
        document = answer.get_json()
        assert document["predictions"] == [{"label": "tabby", "score": 0.8765}]
        assert document["filename"] == asked[0]
        assert document["prediction_id"] == answer.headers["X-Prediction-Id"]
        assert document["model_version"] is None
        assert set(document) == {
            *("success", "prediction", "score", "predictions", "filename", "prediction_id", "model_version")
        }

    @pytest.mark.parametrize("value", ["", "0", "-1", "1.0", "five", "1001", "1" * 30, "5 ", "\u0665"])
    def test_a_top_k_that_cannot_be_is_named(
        self, client: FlaskClient, asked: list[str], image: bytes, value: str
    ) -> None:
        answer = client.post("/predict", query_string={"top_k": value}, data=form(image))
        assert "top_k" in check_problem(answer, 400, "invalid_parameter")["detail"]
        assert asked == []

    @pytest.mark.parametrize("value", ["0", "soon", "-5", "1e3"])
    def test_a_time_out_that_cannot_be_is_named(self, client: FlaskClient, image: bytes, value: str) -> None:
        answer = client.post("/predict", data=form(image), headers={"X-Request-Timeout-Ms": value})
        assert "X-Request-Timeout-Ms" in check_problem(answer, 400, "invalid_parameter")["detail"]

    @pytest.mark.parametrize(("told", "expected"), [(None, 5.0), ("250", 0.25), ("60000", 5.0)])
    def test_a_client_may_shorten_its_deadline_and_not_lengthen_it(
        self,
        client: FlaskClient,
        image: bytes,
        monkeypatch: pytest.MonkeyPatch,
        told: str | None,
        expected: float,
    ) -> None:
        asks: list[middleware.PredictOptions] = []

        def answer(_: str) -> tuple[str, float]:
            asks.append(middleware.current_options.get())
            return ("tabby", 0.5)

        monkeypatch.setattr(views, "model_predict", answer)
        headers = {} if told is None else {"X-Request-Timeout-Ms": told}
        assert client.post("/predict", data=form(image), headers=headers).status_code == 200
        assert asks[0].timeout_s == expected
        assert middleware.current_options.get() == middleware.PredictOptions()

    def test_a_valid_traceparent_travels_and_another_does_not(
        self, client: FlaskClient, image: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[str] = []

        def answer(_: str) -> tuple[str, float]:
            seen.append(middleware.current_options.get().traceparent)
            return ("tabby", 0.5)

        monkeypatch.setattr(views, "model_predict", answer)
        parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        for told in (parent, "00-nonsense"):
            client.post("/predict", data=form(image), headers={"traceparent": told})
        assert seen == [parent, ""]

    @pytest.mark.parametrize("name", ["../../etc/passwd.jpg", "a\0b.jpg", "x" * 4096 + ".jpg", "\u202egpj.exe.jpg"])
    def test_a_client_s_name_is_in_no_path(
        self, client: FlaskClient, asked: list[str], image: bytes, uploads_folder: Path, name: str
    ) -> None:
        assert client.post("/predict", data=form(image, name=name)).status_code == 200
        assert [path.name for path in uploads_folder.iterdir()] == [f"{md5(image)}.jpg"] == asked

    def test_the_folder_is_the_one_set_on_the_app_or_else_in_the_settings(
        self, client: FlaskClient, application: Flask, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        application.config["UPLOAD_FOLDER"] = application.extensions["sightline.upload_folder"]
        monkeypatch.setattr(settings, "UPLOAD_FOLDER", str(tmp_path / "told"))
        client.post("/predict", data=form(sample_images.jpeg(64, 48, seed=1)))
        application.config["UPLOAD_FOLDER"] = tmp_path / "set"
        client.post("/predict", data=form(sample_images.jpeg(64, 48, seed=2)))
        assert [path.name for path in (tmp_path / "told").iterdir()] == asked[:1]
        assert [path.name for path in (tmp_path / "set").iterdir()] == asked[1:]


def fresh(value: Any) -> Any:
    """Return a form's value with an unread stream."""
    return (io.BytesIO(value[0].getvalue()), value[1]) if isinstance(value, tuple) else value


def raising(error: Exception) -> Any:
    def answer(*_: object) -> tuple[str, float]:
        raise error

    return answer


class TestAdmission:
    @pytest.fixture
    def _full(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A look at a queue that is at its bound."""
        monkeypatch.setattr(job_queue, "room_fault", lambda count=1, client="": QueueFull(80, 80, 2.0))

    @pytest.mark.usefixtures("_full")
    def test_a_queue_known_to_be_full_refuses_before_the_body_is_read(
        self, client: FlaskClient, asked: list[str], uploads_folder: Path
    ) -> None:
        body = io.BytesIO(b"\xff\xd8\xff" + bytes(100_000))
        answer = client.post("/predict", input_stream=body, content_length=100_003, content_type="image/jpeg")
        check_problem(answer, 503, "queue_full")
        assert int(answer.headers["Retry-After"]) >= 2
        assert body.tell() == 0
        assert asked == []
        assert not uploads_folder.exists()

    @pytest.mark.usefixtures("_full")
    def test_a_small_malformed_request_is_told_so_all_the_same(self, client: FlaskClient) -> None:
        assert client.post("/predict", data=form(b"", name="a.jpg")).json == MALFORMED

    def test_no_temporary_file_is_ever_made(
        self, client: FlaskClient, asked: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        nowhere = raising(FileNotFoundError("No usable temporary directory"))
        monkeypatch.setattr(tempfile, "_get_default_tempdir", nowhere)
        monkeypatch.setattr(tempfile, "tempdir", None)
        head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
        body = head + b"\xff\xd8\xff" + bytes(5_000_000) + b"\r\n--x--\r\n"
        answer = client.post("/predict", data=body, content_type="multipart/form-data; boundary=x")
        assert answer.status_code == 200
        assert len(asked) == 1


class TestDisplay:
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "AVIF", "TIFF"])
    def test_a_stored_image_is_served_as_what_it_is(self, client: FlaskClient, asked: list[str], kind: str) -> None:
        content = sample_images.encode(sample_images.scene(64, 48), kind)
        # A name with another suffix, as some clients send.
        assert client.post("/predict", data=form(content, name="image.jpg")).status_code == 200
        answer = client.get(f"/display/{asked[0]}")
        assert answer.data == content
        assert answer.content_type == f"image/{kind.lower()}"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "sandbox" in answer.headers["Content-Security-Policy"]

    def test_a_large_image_comes_whole(self, client: FlaskClient, asked: list[str], image: bytes) -> None:
        content = image + bytes(3_000_000)
        client.post("/predict", data=content, content_type="image/jpeg")
        with client.get(f"/display/{asked[0]}") as answer:
            assert answer.content_length == len(content)
            assert answer.data == content

    def test_an_image_that_the_browser_has_is_not_sent_again(
        self, client: FlaskClient, asked: list[str], image: bytes
    ) -> None:
        client.post("/predict", data=form(image))
        first = client.get(f"/display/{asked[0]}")
        again = client.get(f"/display/{asked[0]}", headers={"If-None-Match": first.headers["ETag"]})
        assert again.status_code == 304
        assert again.data == b""

    @pytest.mark.parametrize(
        "name",
        ["missing.jpg", "..%2f..%2fapp.py", "%2e%2e", "app.py", "a%00.jpg", ".hidden.jpg.part", "x" * 500 + ".jpg"],
    )
    def test_nothing_else_is_served(self, client: FlaskClient, name: str) -> None:
        check_problem(client.get(f"/display/{name}"), 404, "not_found")


class TestFeedback:
    def test_the_page_about_reports_is_there(self, client: FlaskClient) -> None:
        answer = client.get("/feedback")
        assert answer.status_code == 200
        assert answer.mimetype == "text/html"

    @hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
    @given(text=st.text(st.characters(codec="utf-8"), min_size=1))
    def test_a_report_is_appended_verbatim_as_exactly_one_line(self, client: FlaskClient, text: str) -> None:
        path = Path(settings.FEEDBACK_FILEPATH)
        path.unlink(missing_ok=True)
        answer = client.post("/feedback", data={"report": text})
        assert answer.status_code == 200
        content = path.read_bytes().decode()
        assert content.endswith("\n")
        assert len(content.splitlines()) == 1
        assert "".join(content[:-1].split()) == "".join(text.split())

    @pytest.mark.parametrize("data", [{}, {"other": "x"}, {"report": ""}])
    def test_without_a_report_nothing_is_written(
        self, client: FlaskClient, tmp_path: Path, data: dict[str, str]
    ) -> None:
        assert client.post("/feedback", data=data).status_code == 200
        assert client.post("/feedback", json={}).status_code == 200
        assert not (tmp_path / "feedback").exists()

    def test_a_multipart_form_will_do(self, client: FlaskClient) -> None:
        client.post("/feedback", data={"report": "wrong", "file": (io.BytesIO(b"x"), "a.txt")})
        assert Path(settings.FEEDBACK_FILEPATH).read_text() == "wrong\n"

    def test_the_form_may_say_more_for_the_csv(self, client: FlaskClient, csv_path: Path) -> None:
        report = "{'filename': 'a.jpg', 'prediction': 'tabby', 'score': 0.5}"
        more = {"label": "=cmd()", "comment": "two\nlines", "model": "net", "model_version": "7"}
        client.post("/feedback", data={"report": report, **more})
        assert csv_path.read_text().splitlines()[1].endswith('"tabby","0.5","net","7","\'=cmd()","two lines"')

    def test_a_report_of_any_size_but_a_sensible_one_is_413(self, client: FlaskClient, tmp_path: Path) -> None:
        answer = client.post("/feedback", data={"report": "x" * views.MAX_REPORT_BYTES})
        check_problem(answer, 413, "too_large")
        assert not (tmp_path / "feedback").exists()

    def test_one_path_for_both_files_is_a_fault_of_ours(
        self, client: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(settings, "FEEDBACK_FILEPATH", str(tmp_path / "feedback.csv"))
        check_problem(client.post("/feedback", data={"report": "wrong"}), 500, "internal")


class TestFormFields:
    @pytest.mark.parametrize("path", ["/predict", "/invocations"])
    def test_top_k_is_a_field_too(self, client: FlaskClient, worker: EchoWorker, image: bytes, path: str) -> None:
        wait_until(lambda: client.get("/readyz").status_code == 200, "the worker is known")
        by_field = client.post(path, data=form(image) | {"top_k": "3"}).get_json()
        assert len(by_field["predictions"]) == 3
        assert len(client.post(f"{path}?top_k=2", data=form(image) | {"top_k": "3"}).get_json()["predictions"]) == 2
        assert set(client.post(path, data=form(image) | {"top_k": ""}).get_json()) == {"success", "prediction", "score"}
        several = {"file": [(io.BytesIO(image), "a.jpg"), (io.BytesIO(image), "b.jpg")], "top_k": "4"}
        assert [len(each["predictions"]) for each in client.post(path, data=several).get_json()["results"]] == [4, 4]

    def test_explain_is_a_field_too(self, client: FlaskClient, worker: EchoWorker, image: bytes) -> None:
        wait_until(lambda: client.get("/readyz").status_code == 200, "the worker is known")
        assert "explanation" in client.post("/predict", data=form(image) | {"explain": "1"}).get_json()

    def test_torchserve_s_form_has_it(self, client: FlaskClient, worker: EchoWorker, image: bytes) -> None:
        wait_until(lambda: client.get("/readyz").status_code == 200, "the worker is known")
        answer = client.post("/predictions/default", data={"data": (io.BytesIO(image), "a.jpg"), "top_k": "2"})
        assert len(answer.get_json()) == 2

    @pytest.mark.parametrize("field", [{"top_k": "0"}, {"top_k": "x"}, {"top_k": "1001"}, {"explain": "\n"}])
    def test_a_field_that_is_not_valid_is_named(
        self, client: FlaskClient, asked: list[str], image: bytes, field: dict[str, str]
    ) -> None:
        check_problem(client.post("/predict", data=form(image) | field), 400, "invalid_parameter")

    def test_text_fields_are_no_images(self, client: FlaskClient, asked: list[str], image: bytes) -> None:
        fields = {f"field{number}": "x" for number in range(90)}
        several = {"file": [(io.BytesIO(image + bytes([number])), "a.jpg") for number in range(16)]}
        assert len(client.post("/predict", data=several | fields).get_json()["results"]) == 16
        several = {"file": [(io.BytesIO(image), "a.jpg") for _ in range(17)]}
        document = check_problem(client.post("/predict", data=several), 413, "too_large")
        assert "more than 16 files" in document["detail"]


class TestFailures:
    @pytest.mark.parametrize(
        ("error", "status", "code", "helps"),
        [
            (errors.QueueFull(90, 80, 2.5), 503, "queue_full", True),
            (errors.NoWorker("none"), 503, "no_worker", True),
            (errors.QueueUnavailable("away"), 503, "redis_unavailable", True),
            (errors.DeadlineExceeded("late"), 504, "deadline_exceeded", True),
            (errors.MessageError("odd", "b''"), 500, "internal", False),
            (OSError(28, "No space left on device"), 507, "storage_full", True),
            (OSError(5, "Input/output error"), 503, "storage_unavailable", True),
            (OSError(30, "Read-only file system", "/a secret path"), 503, "storage_unavailable", True),
            (OSError("of no kind"), 500, "internal", False),
            (ConnectionResetError(104, "Connection reset by peer"), 500, "internal", False),
            (RuntimeError("a secret detail"), 500, "internal", False),
            (Problem(429, "rate_limited", "Too often.", retry_after_s=7), 429, "rate_limited", True),
        ],
    )
    def test_what_goes_wrong_behind_is_told_by_status_and_code(
        self,
        *,
        client: FlaskClient,
        image: bytes,
        monkeypatch: pytest.MonkeyPatch,
        error: Exception,
        status: int,
        code: str,
        helps: bool,
    ) -> None:
        monkeypatch.setattr(views, "model_predict", raising(error))
        answer = client.post("/predict", data=form(image))
        document = check_problem(answer, status, code)
        assert ("Retry-After" in answer.headers) == helps
        assert int(answer.headers.get("Retry-After", "1")) >= 1
        assert "secret" not in document["detail"]

    def test_retry_after_of_a_full_queue_fits_its_length_and_is_spread(
        self, client: FlaskClient, image: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for depth, rate, expected in (
            (10, 100.0, "1234"),
            (90, 20.2, "2345"),
            (10_000, 0.001, "2345"),
            (0, 0.0, "1234"),
        ):
            monkeypatch.setattr(views, "model_predict", raising(errors.QueueFull(depth, 80, rate)))
            seen = {client.post("/predict", data=form(image)).headers["Retry-After"] for _ in range(120)}
            assert seen <= set(expected)
            assert len(seen) > 1

    def test_an_unknown_address_is_404(self, client: FlaskClient) -> None:
        assert check_problem(client.get("/nowhere"), 404, "not_found")["instance"] == "/nowhere"

    @pytest.mark.parametrize("path", ["/nowhere", "/display/missing.jpg"])
    def test_a_browser_gets_its_failures_as_a_page(self, client: FlaskClient, path: str) -> None:
        answer = client.get(path, headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
        assert answer.status_code == 404
        assert answer.mimetype == "text/html"

    def test_predict_never_answers_with_a_page(self, client: FlaskClient, image: bytes) -> None:
        answer = client.post("/predict?top_k=x", data=form(image), headers={"Accept": "text/html"})
        check_problem(answer, 400, "invalid_parameter")
