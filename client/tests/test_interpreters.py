"""The client with each Python that this machine has, from the oldest that it may be installed into."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tqdm

import sightline

SOURCE = Path(sightline.__file__).parents[1]
OLDEST = (3, 9)
PROGRAM = """
import asyncio, contextlib, http.server, io, json, sys, tempfile, threading
from sightline import AsyncClient, Client, commands

ANSWER = {"prediction": "lynx", "score": 0.5, "predictions": [{"label": "lynx", "score": 0.5}],
          "prediction_id": "1", "model_version": "net/7"}

class Service(http.server.BaseHTTPRequestHandler):
    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST = answer
    def log_message(self, *_): pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
with Client(url) as client:
    assert client.classify(b"image").predictions[0].label == "lynx"

async def ask():
    async with AsyncClient(url) as client:
        return [each.label for each in await asyncio.gather(*map(client.classify, [b"a", b"b"]))]

assert asyncio.run(ask()) == ["lynx", "lynx"]
with tempfile.TemporaryDirectory() as folder:
    for name in "ab":
        with open(f"{folder}/{name}.jpg", "wb") as file:
            file.write(b"image")
    assert commands.main(["--url", url, "classify", folder, "-o", f"{folder}/results.csv"]) == 0
    with open(f"{folder}/results.csv") as file:
        assert file.read().count("lynx,0.5") == 2
with contextlib.redirect_stdout(io.StringIO()) as printed:
    assert commands.main(["completion"]) == 0
assert "classify" in printed.getvalue()
server.shutdown()
print("all of it works")
"""


def interpreters() -> dict[str, str]:
    """The interpreters on the PATH and those of pyenv, by version."""
    names = [f"python3.{minor}" for minor in range(OLDEST[1], 30)]
    found = [shutil.which(name) for name in names]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found += [str(path) for path in pyenv.glob("versions/3.*/bin/python3")]
    versions = {sys.version.split()[0]: sys.executable}
    for path in filter(None, found):
        told = subprocess.run([path, "-V"], capture_output=True, text=True, check=False)
        if told.returncode == 0 and (number := told.stdout.split()[1]).split(".")[1].isdecimal():
            versions.setdefault(number, path)
    return {number: path for number, path in versions.items() if int(number.split(".")[1]) >= OLDEST[1]}


@pytest.mark.parametrize(("version", "path"), sorted(interpreters().items()))
def test_the_client_works_with_every_python_that_is_here(version: str, path: str, tmp_path: Path) -> None:
    (tmp_path / "tqdm").symlink_to(Path(tqdm.__file__).parent)  # its only package; pure Python
    command = [path, "-W", "error", "-c", PROGRAM]
    environment = {"PYTHONPATH": f"{SOURCE}:{tmp_path}", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("all of it works\n", 0), done.stderr


def test_the_oldest_python_is_the_same_everywhere() -> None:
    oldest = ".".join(map(str, OLDEST))
    assert f'requires-python = ">={oldest}"' in (SOURCE.parent / "pyproject.toml").read_text()
    ruff = (SOURCE.parents[1] / "pyproject.toml").read_text()
    assert re.findall(r'"client/src/\*\*" = "(\w+)"', ruff) == [f"py{oldest.replace('.', '')}"]
