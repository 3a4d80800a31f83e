"""The pods of the chart as processes, each with the environment that the chart gives it and folders of its own."""

import csv
import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_python import Chart

from sightline_testing import sample_images
from sightline_testing.client import Client
from sightline_testing.postgres_server import PostgresServer, postgres_binaries
from sightline_testing.redis_server import RedisServer, free_port
from sightline_testing.s3_server import KEY, SECRET, S3Server
from sightline_testing.service import REPOSITORY
from sightline_testing.waiting import wait_until

CHART = REPOSITORY / "deploy" / "helm" / "sightline"
BUNDLES = REPOSITORY / "var" / "bundles"
START_S = 120.0
OPERATOR_KEY = "the operator's own"
# The keys of the secrets that the values name.
SECRETS = {
    "secret_key": "one for all hosts",
    "operator_key": OPERATOR_KEY,
    "access_key_id": KEY,
    "secret_access_key": SECRET,
}


class Pods:
    """Processes in the place of pods; `with` ends them."""

    def __init__(self, folder: Path, values: dict[str, Any], secrets: dict[str, str]) -> None:
        self._folder, self._secrets = folder, secrets
        rendered = Chart.load(CHART).render(values, name="a", namespace="a")
        manifests = [text for path, text in rendered.items() if path.endswith(".yaml")]
        objects = [each for text in manifests for each in yaml.safe_load_all(text) if each]
        self._containers = {
            each["metadata"]["name"]: each["spec"]["template"]["spec"]["containers"][0]
            for each in objects
            if each["kind"] in {"Deployment", "Job"}
        }
        self._stack = ExitStack()

    def __enter__(self) -> "Pods":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def environment(self, name: str, own: Path, **more: str) -> dict[str, str]:
        """Return what the chart gives a container, with this machine's folders in the place of the image's."""
        own.mkdir(exist_ok=True)
        told = {
            each["name"]: each["value"] if "value" in each else self._secrets[each["valueFrom"]["secretKeyRef"]["key"]]
            for each in self._containers[name]["env"]
        }
        told |= {each: value.replace("/src", str(own)) for each, value in told.items() if value.startswith("/src/")}
        return {"PATH": os.environ["PATH"], "PYTHONPATH": ".", **told, **more}

    def start(self, name: str, root: str, host: str, **more: str) -> None:
        """Start a container's process as if on a host of that name."""
        program = {"api": "app.py", "model": "ml_service.py"}[root]
        environment = self.environment(name, self._folder / host, **more)
        log = self._stack.enter_context((self._folder / f"{host}.log").open("w"))
        process = subprocess.Popen([sys.executable, program], cwd=REPOSITORY / root, env=environment, stderr=log)
        self._stack.callback(process.wait)
        self._stack.callback(process.terminate)

    def run(self, name: str, host: str, *command: str, root: str = "api", **more: str) -> str:
        """Run a command of an image, that of the container if none is given; return what it prints."""
        words = command or tuple(self._containers[name]["command"][1:])
        environment = self.environment(name, self._folder / host, **more)
        finished = subprocess.run(
            [sys.executable, *words],
            cwd=REPOSITORY / root,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr
        return finished.stdout


@pytest.fixture(scope="module")
def pods(tmp_path_factory: pytest.TempPathFactory, redis_process: RedisServer) -> Iterator[Pods]:
    binaries = postgres_binaries()
    assert binaries is not None, "PostgreSQL is not installed"
    folder = tmp_path_factory.mktemp("pods")
    s3, database = S3Server(folder / "s3"), PostgresServer(binaries)
    s3.start()
    database.start()
    values = {
        "secretKey": {"existingSecret": "secret"},
        "operatorKey": {"existingSecret": "secret"},
        "redis": {"addresses": [f"127.0.0.1:{redis_process.port}"]},
        "images": {"s3": "s3://images/chart"},
        "models": {"s3": "s3://images/chart-models"},
        "s3": {"endpoint": s3.url, "existingSecret": "s3"},
        "database": {"existingSecret": "database"},
    }
    with Pods(folder, values, SECRETS | {"url": database.url("sightline")}) as running:
        database.execute("CREATE DATABASE sightline")
        yield running
    database.close()
    s3.kill()


def is_ready(client: Client, path: str) -> bool:
    with suppress(OSError):
        return client.get(path).status == HTTPStatus.OK
    return False


def test_what_one_host_stores_another_answers_a_third_reports_and_the_first_reviews(pods: Pods, tmp_path: Path) -> None:
    """Stored by api A, answered by a worker on C, reported by B, reviewed by A, exported: the same bytes, one row."""
    assert "revision" in pods.run("a-sightline-migrate", "a")
    ports = [free_port() for _ in range(3)]
    hosts = [Client(f"http://127.0.0.1:{port}") for port in ports]
    worker, *apis = hosts
    pods.start("a-sightline-model-cpu", "model", "c", METRICS_PORT=str(ports[0]))
    # The worker has no model yet and waits for the one of the image.
    push = ("-m", "cli.models", "push")
    pods.run("a-sightline-model-cpu", "c", *push, root="model", BUNDLES_FOLDER=str(BUNDLES))
    for host, port in zip("ab", ports[1:], strict=True):
        pods.start("a-sightline-api", "api", host, HOST="127.0.0.1", PORT=str(port))
    for client, path in ((worker, "/readyz"), *((api, path) for api in apis for path in ("/startupz", "/readyz"))):
        wait_until(partial(is_ready, client, path), f"{path} is 200", START_S)
    first, second = apis
    content = sample_images.jpeg(seed=19)
    predicted = first.upload("/predict?top_k=1", content).json()
    assert predicted["success"], predicted
    assert second.get(f"/display/{predicted['filename']}").body == content
    report = {"prediction_id": predicted["prediction_id"], "label": "a label"}
    reported = second.send("POST", "/feedback", json.dumps(report).encode(), {"Content-Type": "application/json"})
    assert reported.status == HTTPStatus.CREATED, reported.text
    decision = {"report_id": reported.json()["report_id"], "decision": "accept", "label": "a label"}
    headers = {"Content-Type": "application/json", "X-API-Key": OPERATOR_KEY}
    decided = first.send("POST", "/review/decisions", json.dumps(decision).encode(), headers)
    assert decided.status == HTTPStatus.CREATED, decided.text
    with zipfile.ZipFile(io.BytesIO(first.get("/review/cases.zip", {"X-API-Key": OPERATOR_KEY}).body)) as archive:
        [name] = [each for each in archive.namelist() if each.endswith(predicted["filename"])]
        assert archive.read(name) == content
        assert archive.read("cases.csv").decode().count(predicted["filename"]) == 1
    pods.run("a-sightline-api", "b", "-m", "commands.feedback", "export", str(tmp_path / "export"))
    [row] = csv.DictReader((tmp_path / "export" / "feedback.csv").read_text("utf-8").splitlines())
    assert row["report_id"] == reported.json()["report_id"]
    assert row["image_sha256"] == hashlib.sha256(content).hexdigest()
    [kept] = csv.DictReader((tmp_path / "export" / "decisions.csv").read_text("utf-8").splitlines())
    assert (kept["report_id"], kept["decision"], kept["label"]) == (row["report_id"], "accept", "a label")
