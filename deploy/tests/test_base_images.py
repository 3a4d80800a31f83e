"""Base images by digest: what the command writes, and that docker-compose and the Dockerfiles take it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import arm_wheels
import base_images
from launcher.settings import REPOSITORY

DIGEST = "sha256:" + "0" * 64
# In the place of Docker: an image whose name holds "redis" was made here, and has no digest.
DOCKER = f"""#!/bin/sh
[ "$1" = pull ] && exit
case "$*" in *redis*) [ -n "$REDIS_IS_LOCAL" ] && echo && exit; esac
for last; do :; done
echo "${{last%%:*}}@{DIGEST}"
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "docker"
    program.write_text(DOCKER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(base_images, "PINNED", tmp_path / "base-images.env")
    return tmp_path / "base-images.env"


def test_each_image_is_pinned_by_the_digest_of_its_registry(docker: Path) -> None:
    assert base_images.main() == 0
    lines = dict(line.split("=", 1) for line in docker.read_text().splitlines())
    assert lines["PYTHON_IMAGE"] == f"python:3.11-slim-bookworm@{DIGEST}"
    assert lines.keys() == {"PYTHON_IMAGE", "REDIS_IMAGE", "PROMETHEUS_IMAGE", "GRAFANA_IMAGE"}


def test_an_image_without_a_digest_is_named_and_nothing_is_written(
    docker: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REDIS_IS_LOCAL", "1")
    assert base_images.main() == 1
    assert "redis:7-bookworm was made on this machine" in capsys.readouterr().err
    assert not docker.exists()


def test_what_is_pinned_is_what_docker_compose_and_the_dockerfiles_take() -> None:
    """By tag where nothing is pinned; every image of another's is one of these."""
    compose = (REPOSITORY / "docker-compose.yml").read_text()
    assert {line for line in re.findall(r"^ +image: (.+)", compose, re.MULTILINE) if "_IMAGE:-" not in line} == set()
    for part in ("api", "model", "deploy/proxy"):
        text = (REPOSITORY / part / "Dockerfile").read_text()
        stages = set(re.findall(r" AS ([\w-]+)", text))
        assert re.findall(r"^ARG PYTHON_IMAGE=(.+)", text, re.MULTILINE) == ["python:3.11-slim-bookworm"]
        assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) - stages == {"${PYTHON_IMAGE}"}


def test_packages_without_wheels_for_arm_are_named_and_those_that_serve_have_them() -> None:
    try:
        outcomes = {
            name: arm_wheels.look((REPOSITORY / "requirements" / f"{name}.txt").read_text()) for name in ("fuzz", "s3")
        }
    except RuntimeError as error:
        pytest.fail(f"the index does not answer: {error}")
    assert outcomes["fuzz"].missing == ("atheris",)
    assert (outcomes["s3"].missing, outcomes["s3"].there) == ((), 2)


def test_the_images_say_what_they_are_and_how_they_are() -> None:
    for part in ("api", "model"):
        text = (REPOSITORY / part / "Dockerfile").read_text().replace("\\\n", " ")
        labels = re.findall(r"org\.opencontainers\.image\.(\w+)=", text)
        assert labels == ["title", "description", "licenses", "version", "revision"]
        [check] = re.findall(r'^HEALTHCHECK .* CMD \["python", "-c", "(.+)"\]$', text, re.MULTILINE)
        # Nothing is there: the check itself runs, and fails for that.
        env = {"PORT": "1", "METRICS_PORT": "1"}
        done = subprocess.run([sys.executable, "-c", check], env=env, capture_output=True, text=True, check=False)
        assert (done.returncode, "Connection refused" in done.stderr) == (1, True)
