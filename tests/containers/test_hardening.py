"""The running containers of docker-compose: who they are, and what they can neither change nor reach.

On request, with a running stack: `SIGHTLINE_URL=http://127.0.0.1 make test SUITES=containers`.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from sightline_testing.hostile.asking import Sender
from sightline_testing.hostile.bombs import REFUSED
from sightline_testing.sample_images import large_jpeg
from sightline_testing.service import REPOSITORY

SERVICES = ("api", "model", "redis", "janitor")
MAX_UPLOAD_BYTES = 20 * 1024**2
FACTS = "id -u; grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status"
REACH = """
import json, socket
reached = {}
for host, port in (("1.1.1.1", 53), ("api", 5000), ("redis", 6379)):
    try:
        socket.create_connection((host, port), 3).close()
        reached[host] = True
    except OSError:
        reached[host] = False
print(json.dumps(reached))
"""
WRITE = """
import json, pathlib
reached = {}
for folder in ("/", "/src", "/src/bundles", "/src/uploads", "/src/secrets", "/opt", "/etc", "/tmp"):
    try:
        (pathlib.Path(folder) / "written").write_text("x")
        reached[folder] = True
    except OSError:
        reached[folder] = False
print(json.dumps(reached))
"""


def inside(service: str, *words: str) -> str:
    command = ["docker-compose", "exec", "-T", service, *words]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="session")
def sender() -> Sender:
    return Sender(os.environ["SIGHTLINE_URL"])


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_is_nobody_special(service: str) -> None:
    user, *facts = inside(service, "sh", "-c", FACTS).split("\n")
    reached = dict(line.split(":\t") for line in facts if line)
    assert int(user) != 0
    assert {reached[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert reached["NoNewPrivs"] == "1"
    assert reached["Seccomp"] == "2"


def test_a_worker_can_change_nothing_but_its_temporary_files() -> None:
    reached = json.loads(inside("model", "python", "-c", WRITE))
    assert [folder for folder, is_written in reached.items() if is_written] == ["/tmp"]  # noqa: S108  the container's


def test_a_worker_reaches_its_queue_and_nothing_outside() -> None:
    reached = json.loads(inside("model", "python", "-c", REACH))
    assert (reached["redis"], reached["1.1.1.1"]) == (True, False)


def test_each_service_sees_its_own_secrets_alone() -> None:
    assert inside("model", "ls", "/src/secrets").split() == ["redis_password"]
    assert "secret_key" in inside("api", "ls", "/src/secrets").split()
    assert inside("model", "cat", "/src/secrets/redis_password") != inside("api", "cat", "/src/secrets/redis_password")
    assert Path("users.acl").name in inside("redis", "ls", "/run/users")


def test_redis_lets_nobody_in_without_a_password() -> None:
    assert "NOAUTH" in inside("redis", "sh", "-c", "redis-cli ping 2>&1; true")


@pytest.mark.parametrize("as_form", [True, False])
def test_the_largest_image_is_taken_by_a_container_that_can_write_nothing(sender: Sender, as_form: bool) -> None:
    image = large_jpeg(9_984, 9_984)
    content = image + bytes(MAX_UPLOAD_BYTES - len(image))
    assert sender.send(content, as_form=as_form).status == 200
    assert sender.send(content + b"x", as_form=as_form).status == 413


def test_bombs_are_refused_there_too(sender: Sender) -> None:
    answers = {name: sender.send(bomb.make()).status for name, bomb in REFUSED.items()}
    assert answers == {name: bomb.status for name, bomb in REFUSED.items()}
    sender.close()
