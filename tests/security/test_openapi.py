"""The api against its own description, as schemathesis reads it: every phase and every check."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sightline_testing.client import Client
from sightline_testing.hostile.measured import Measured
from sightline_testing.sample_images import jpeg
from sightline_testing.service import REPOSITORY, Service, running_service
from sightline_testing.waiting import wait_until

PROGRAMS = Path(__file__).parent / "programs"
LONG = {"REQUEST_TIMEOUT_S": "60", "MAX_QUEUE_SIZE": "10000"}


def schemathesis(url: str, examples: int, folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(PROGRAMS / "schemathesis.toml")]
    options = ("--max-examples", str(examples), "--generation-deterministic", "--no-color", *options)
    return subprocess.run(
        [*command, "run", f"{url}/openapi.json", *options],
        cwd=folder,
        env=os.environ | {"SCHEMATHESIS_HOOKS": str(PROGRAMS / "schemathesis_hooks.py")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="session")
def examples(is_full: bool) -> int:
    return 500 if is_full else 20


@pytest.fixture(scope="session")
def examples_with_keys(is_full: bool) -> int:
    """Return fewer: what is behind the keys has been tried without them."""
    return 500 if is_full else 10


def ready_to_explain(client: Client, key: str = "") -> None:
    """Return once every worker answers maps: the first request to one may get a Retry-After."""
    headers = {"Content-Type": "image/jpeg", "X-API-Key": key}

    def answers_in_a_row() -> bool:
        return all(client.send("POST", "/predict?explain=1", jpeg(), headers).status == 200 for _ in range(12))

    wait_until(answers_in_a_row, "maps are answered", 120.0)


def test_the_api_is_what_it_says_it_is(
    service: Service, state_dir: Path, examples: int, measured: Measured, tmp_path: Path
) -> None:
    ready_to_explain(Client(service.url))
    key = (state_dir / "operator_key").read_text()
    # The required key cannot be guessed.
    options = ("--header", f"X-API-Key: {key}", "--exclude-path", "/review/login")
    finished = schemathesis(service.url, examples, tmp_path, *options)
    assert finished.returncode == 0, finished.stdout[-20_000:] + finished.stderr
    # It warns of what it can know no names of, such as models and reports; none of its requests may fail.
    cases = re.search(r"(\d+) generated, \1 passed", finished.stdout)
    assert cases, finished.stdout[-5_000:]
    measured.told[f"schemathesis, {examples} examples"] = cases[0]


def test_with_keys_it_is_so_too_and_none_of_it_works_without(
    examples_with_keys: int, is_full: bool, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    add = [sys.executable, "-m", "commands.manage_keys", "--file", str(state / "api_keys"), "add", "tester"]
    key = subprocess.run(add, cwd=REPOSITORY / "api", capture_output=True, text=True, check=True).stdout.strip()
    with running_service(state, {**LONG, "MODEL_WORKERS": "1"}) as service:
        ready_to_explain(Client(service.url), key)
        assert "securitySchemes" in Client(service.url).get("/openapi.json").json()["components"]
        # One check less: it takes any header for a fault that is not in the description, once keys are.
        options = ("--header", f"Authorization: Bearer {key}", "--exclude-checks", "negative_data_rejection")
        closed = ("--exclude-path-regex", "^/(review|teach|operate)")  # for the operator alone
        phases = () if is_full else ("--phases", "examples,fuzzing")
        finished = schemathesis(service.url, examples_with_keys, tmp_path, *options, *closed, *phases)
    assert finished.returncode == 0, finished.stdout[-20_000:] + finished.stderr
