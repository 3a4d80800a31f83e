"""The report on a service with unusual responses: a server of the test takes its place."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from time import time

import pytest

from sightline import Client, checkout, examination
from sightline.findings import Finding

READY = {"status": "ready", "model_version": "m/1", "workers": 2}
ANSWER = {
    "prediction": "tabby",
    "score": 0.5,
    "predictions": [{"label": "tabby", "score": 0.5}],
    "prediction_id": "p",
    "model_version": "m/1",
}


@contextmanager
def answering(answers: dict[str, tuple[int, object]], ahead_s: float = 0.0) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body = answers.get(self.path.partition("?")[0], (404, {}))
            content = json.dumps(body).encode()
            self.send_response_only(status)
            self.send_header("Date", formatdate(time() + ahead_s, usegmt=True))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815  as its base class calls it

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def found(answers: dict[str, tuple[int, object]], ahead_s: float = 0.0) -> dict[str, Finding]:
    with answering(answers, ahead_s) as url, Client(url) as client:
        return {finding.subject: finding for finding in examination.of_service(client)}


Answers = dict[str, tuple[int, object]]
WELL: Answers = {"/livez": (200, {}), "/readyz": (200, READY), "/predict": (200, ANSWER)}


def test_a_service_in_order_has_four_good_findings() -> None:
    seen = found(WELL)
    assert [finding.level for finding in seen.values()] == ["good"] * 4
    assert seen["workers"].text == "2 serve m/1"


@pytest.mark.parametrize(("ahead_s", "told"), [(3600, "3600 s ahead of"), (-90, "90 s behind")])
def test_a_clock_that_is_off_is_told(ahead_s: float, told: str) -> None:
    clock = found(WELL, ahead_s)["clock"]
    assert clock.level == "warning"
    number, direction = told.split(" ", 1)
    assert direction in clock.text
    assert abs(int(clock.text.split()[3]) - int(number)) <= 2


def test_no_worker_is_told_with_the_services_own_reason() -> None:
    problem = {"code": "no_worker", "detail": "No worker: the bundle is torn"}
    workers = found(WELL | {"/readyz": (503, problem)})["workers"]
    assert (workers.level, "the bundle is torn" in workers.text) == ("bad", True)


def test_a_service_that_wants_a_key_is_told_with_how_to_name_it() -> None:
    refused = found(WELL | {"/predict": (401, {"code": "unauthorized", "detail": "Bring a key"})})["an image"]
    assert refused.level == "bad"
    assert "SIGHTLINE_KEY" in refused.remedy


def test_somebody_else_at_the_address_is_no_service() -> None:
    assert "is this address that of a Sightline service?" in found({"/livez": (200, {})})["an image"].remedy


def test_a_checkout_is_found_from_the_folders_below_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkout, "INSTALLED_FROM", tmp_path / "site-packages")
    (tmp_path / "here" / "deploy").mkdir(parents=True)
    (tmp_path / "here" / "deploy" / "operate.py").touch()
    assert checkout.find(tmp_path / "here" / "deploy") == tmp_path / "here"
    assert checkout.find(tmp_path) is None


def test_models_without_a_checkout_says_where_to_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkout, "INSTALLED_FROM", tmp_path / "site-packages")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(checkout.NoCheckoutError, match=r"go into one.*docker-compose run"):
        checkout.run_models(["list"])


def test_models_of_a_checkout_that_is_not_set_up_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkout, "INSTALLED_FROM", tmp_path)
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "operate.py").touch()
    with pytest.raises(checkout.NoCheckoutError, match="run `make install` in it"):
        checkout.run_models(["list"])
