"""Clients of other projects, unchanged, against the running service: `make test-clients`."""

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from sightline_testing.client import Client
from sightline_testing.plugin import missing
from sightline_testing.sample_images import jpeg
from sightline_testing.service import REPOSITORY, Service

HERE = Path(__file__).parent
ENVIRONMENTS = REPOSITORY / "var" / "clients"
TIMEOUT_S = 300


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "cat.jpg"
    path.write_bytes(jpeg(300, 200, seed=5))
    return path


@pytest.fixture(scope="session")
def label(service: Service, image: Path) -> str:
    """What the service answers to a plain upload."""
    return str(Client(service.url).upload("/predict", image.read_bytes()).json()["prediction"])


def run(*command: str | Path, cwd: Path = HERE) -> str:
    """Return the output of a program; skip the test if it is not installed."""
    if shutil.which(str(command[0])) is None:
        missing(f"{command[0]} is not installed: `make test-clients` installs what it needs")
    finished = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert finished.returncode == 0, finished.stderr[-5000:]
    return finished.stdout


def test_python_clients_of_http_triton_and_kserve(service: Service, image: Path, label: str) -> None:
    """Every client's every way of sending is answered with the same label."""
    python = ENVIRONMENTS / "kserve" / "bin" / "python"
    labels: dict[str, str] = json.loads(run(python, HERE / "programs" / "python_clients.py", service.url, image))
    assert labels.pop("KServe, health") == "True"
    assert labels.pop("KServe v1, health") == "True"
    clients = {"requests", "httpx", "tritonclient", "KServe", "KServe v1", "Hugging Face"}
    assert {way.partition(",")[0] for way in labels} == clients
    assert {way: found for way, found in labels.items() if found != label} == {}
    assert len(labels) == 27


def test_mlserver_infers_a_file_of_requests(service: Service, image: Path, label: str, tmp_path: Path) -> None:
    content = base64.b64encode(image.read_bytes()).decode()
    request = {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [content]}]}
    (tmp_path / "input.jsonl").write_text(f"{json.dumps(request)}\n" * 5)
    mlserver = ENVIRONMENTS / "mlserver" / "bin" / "mlserver"
    model = str(Client(service.url).get("/readyz").json()["model_version"]).partition("/")[0]
    options = ("-i", "input.jsonl", "-o", "output.jsonl", "--workers", "2", "--batch-size", "2")
    run(mlserver, "infer", "--url", urlsplit(service.url).netloc, "--model-name", model, *options, cwd=tmp_path)
    answers = [json.loads(line) for line in (tmp_path / "output.jsonl").read_text().splitlines()]
    labels = [output["data"] for answer in answers for output in answer["outputs"] if output["name"] == "label"]
    assert labels == [[label]] * 5


def test_axios_undici_and_fetch(service: Service, image: Path, label: str) -> None:
    if not (HERE / "node_modules").is_dir():
        missing("axios and undici are not installed: `make test-clients` installs them")
    labels: dict[str, str] = json.loads(run("node", HERE / "programs" / "node_clients.mjs", service.url, image))
    assert {way: found for way, found in labels.items() if found != label} == {}
    assert len(labels) == 15


CURL = {
    "a form": ("-F", "file=@cat.jpg"),
    "a form with a type and a name": ("-F", "file=@cat.jpg;type=image/jpeg;filename=a b.jpg"),
    "a form from standard input": ("-F", "file=@-;filename=cat.jpg"),
    "bytes": ("--data-binary", "@cat.jpg", "-H", "Content-Type: image/jpeg"),
    "bytes without a type": ("--data-binary", "@cat.jpg"),
    "an upload": ("-T", "cat.jpg"),
    "an upload of unknown length": ("-T", "-"),
    "JSON": ("--json", "@image.json"),
    "compressed": ("--compressed", "-F", "file=@cat.jpg"),
    "HTTP/1.0": ("--http1.0", "-F", "file=@cat.jpg"),
    "an upgrade to HTTP/2": ("--http2", "--data-binary", "@cat.jpg"),
    "with Expect: 100-continue": ("-H", "Expect: 100-continue", "-F", "file=@cat.jpg"),
}


@pytest.mark.parametrize("way", CURL)
def test_curl(service: Service, image: Path, label: str, way: str) -> None:
    text = base64.b64encode(image.read_bytes()).decode()
    (image.parent / "image.json").write_text(json.dumps({"image": text}))
    command = ["curl", "--silent", "--show-error", "--fail-with-body", *CURL[way], f"{service.url}/predict"]
    with image.open("rb") as standard_input:
        finished = subprocess.run(command, cwd=image.parent, stdin=standard_input, capture_output=True, check=False)
    assert finished.returncode == 0, finished.stderr.decode()
    assert json.loads(finished.stdout)["prediction"] == label


def part(*lines: str, content: bytes, boundary: str) -> bytes:
    """Return a form of one part, written as libraries do that are none of Python or JavaScript."""
    head = "\r\n".join((f"--{boundary}", *lines, "", "")).encode()
    return head + content + f"\r\n--{boundary}--\r\n".encode()


GO_BOUNDARY = "0f1b2c3d4e5f60718293a4b5c6d7e8f90f1b2c3d4e5f60718293a4b5c6d7"
NAMED = 'Content-Disposition: form-data; name="file"; filename="cat.jpg"'
UNTYPED = "Content-Type: application/octet-stream"
# The head of a part, its boundary, and headers of the request.
FORMS: dict[str, tuple[tuple[str, ...], str, dict[str, str]]] = {
    "Go, CreateFormFile": ((NAMED, UNTYPED), GO_BOUNDARY, {"Accept-Encoding": "gzip"}),
    "Go, CreateFormField": (('Content-Disposition: form-data; name="file"',), GO_BOUNDARY, {}),
    "Java, Apache HttpClient 4": (
        (NAMED, UNTYPED, "Content-Transfer-Encoding: binary"),
        "oDNyB2aXkCqZ1xkKcTzqbSdVxwKx9oXv",
        {"Connection": "Keep-Alive", "User-Agent": "Apache-HttpClient/4.5.14 (Java/17.0.15)"},
    ),
    "Java, Apache HttpClient 5": (
        (NAMED, "Content-Type: image/jpeg"), "httpclient_boundary_7b3a8d3c-5f0e-4c1e-9d8a-2f5b1c6e7a90", {}
    ),
    "Java, OkHttp": (
        (NAMED, "Content-Type: image/jpeg", "Content-Length: {length}"),
        "3f0c6b7a-8f5d-4b9c-a0a5-6f1b7f1e2d3c",
        {"Connection": "Keep-Alive", "Accept-Encoding": "gzip", "User-Agent": "okhttp/4.12.0"},
    ),
    "Java, Spring RestTemplate": (
        (NAMED, "Content-Type: image/jpeg", "Content-Length: {length}"),
        "AaB03x-8jyA_Wq7sT2",
        {"Accept": "application/json, application/*+json"},
    ),
    "Java, Spring, a name beyond ASCII": (
        (
            "Content-Disposition: form-data; name=\"file\"; filename=\"=?UTF-8?Q?K=C3=A4tzchen.jpg?=\"; "
            "filename*=UTF-8''K%C3%A4tzchen.jpg",
            "Content-Type: image/jpeg",
        ),
        "AaB03x-8jyA_Wq7sT3",
        {},
    ),
    "Java, Jersey": (
        ("Content-Type: application/octet-stream", 'Content-Disposition: form-data; filename="cat.jpg"; name="file"'),
        "Boundary_1_1234567890_1700000000000",
        {"MIME-Version": "1.0"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("library", FORMS)
@pytest.mark.parametrize("is_chunked", [False, True], ids=["whole", "chunked"])
def test_forms_of_java_and_go(service: Service, image: Path, label: str, library: str, is_chunked: bool) -> None:
    lines, boundary, headers = FORMS[library]
    content = image.read_bytes()
    body = part(*(line.format(length=len(content)) for line in lines), content=content, boundary=boundary)
    media_type = f"multipart/form-data; boundary={boundary}"
    sent: Any = iter([body[:1000], body[1000:]]) if is_chunked else body
    answer = Client(service.url).send("POST", "/predict", sent, {**headers, "Content-Type": media_type})
    assert (answer.status, answer.json()["prediction"]) == (200, label)


# What HttpClient of Java 11 and later adds to each request, and the type that HttpURLConnection gives any body.
JAVA = {
    "HttpClient": {
        "Connection": "Upgrade, HTTP2-Settings",
        "HTTP2-Settings": "AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA",
        "Upgrade": "h2c",
        "User-Agent": "Java-http-client/17.0.15",
    },
    "HttpURLConnection": {
        "Accept": "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
        "Content-Type": "application/x-www-form-urlencoded",
        "User-Agent": "Java/17.0.15",
    },
}


@pytest.mark.parametrize("client", JAVA)
def test_bytes_from_java(service: Service, image: Path, label: str, client: str) -> None:
    answer = Client(service.url).send("POST", "/predict", image.read_bytes(), JAVA[client])
    assert (answer.status, answer.json()["prediction"]) == (200, label)
