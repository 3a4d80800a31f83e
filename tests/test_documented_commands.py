"""Every command of the documentation is run: here, in a checkout with a running service, or where ELSEWHERE says."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator

import benchmarks.options
import pytest
import stress_test.options

from sightline_testing.checkout import Checkout, report, running_checkout
from sightline_testing.documents import SHELL, Block, blocks
from sightline_testing.service import REPOSITORY

ADDRESS, HOST = "http://127.0.0.1:8000", "127.0.0.1:8000"
SUITES = "testing/src/sightline_testing/suites.py"
# A command (as a pattern), the file of the test or stage that runs it, and the words it is found there by.
ELSEWHERE = (
    (r"git clone .*", ".ci/run", "from a bare Debian 12 machine"),
    (r"make serve", "tests/test_running.py", "def test_when_the_address_is_told_a_picture_is_answered"),
    (r"make (test|lint)", ".ci/run", "make --silent {1}"),
    (r'make test SUITES="api wire"', SUITES, 'Suite("api", "api", "tests")'),
    (r"cd (api|model|deploy) && PYTHONPATH=\. .*pytest tests.*", SUITES, '"{1}", "tests"'),
    (r".*-m pytest tests/test_integration\.py", SUITES, "tests/test_integration.py"),
    (r"SIGHTLINE_URL=\S+ make test SUITES=remote", ".ci/run", 'make --silent test SUITES="remote containers"'),
    (
        r"make evaluate .*",
        "model/tests/cli/test_evaluate.py",
        "def test_two_versions_are_compared_in_the_terminal_and_on",
    ),
    (
        r"\.venv/bin/sightline models .*",
        "model/tests/importing/test_import_model.py",
        "def test_a_network_becomes_a_bundle",
    ),
    (
        r"(make serve )?OTEL_TRACES_EXPORTER=otlp .*",
        "tests/test_traces.py",
        "def test_a_request_is_one_trace_below_its_callers_",
    ),
    (r"make (bench|stress).*", __file__, "def test_the_options_of_long_measurements_are_known"),
    (r".*deploy/install\.py dev stress", "Makefile", "$(INSTALL) serve dev stress"),
    (r".*locust .*", "stress_test/run.py", "locust"),
    (r"(mkdir -p var|tar -C var .*)", "tests/test_operations.py", "def test_a_backup_brings_back"),
    (r"(OLD=/srv.*|make serve .*OLD.*)", "tests/test_operations.py", "def test_the_next_version_runs_beside_this_one"),
    (r"docker-compose -f \S+ -f docker-compose.gpu.yml up .*", ".ci/run", "docker-compose.gpu.yml config"),
    (r"docker-compose --profile monitoring up --build", "tests/test_monitoring.py", "def test_every_panel_of_the_dash"),
    (r"docker-compose down && .* -f deploy/compose.scale.yml up .*", ".ci/run", "compose.scale.yml config"),
    (r"docker-compose build", ".ci/run", "docker-compose build --quiet"),
    (r"docker-compose up (-d|--build)( --scale model=\d)?", ".ci/run", "docker-compose up -d --scale model=2"),
    (r"COMPOSE_PROJECT_NAME=next PORT=\d+ docker-compose up .*", ".ci/run", "export PORT=$COMPOSE_PORT COMPOSE"),
)
# What a checkout of a test's own keeps from doing harm; everything else has to stand in the table.
HARMLESS = re.compile(r"(curl|make (?!serve|test|bench|stress|fuzz)|sightline|cd (api|model|deploy) &&) ?.*")
COMMANDS = [command for block in blocks(*SHELL) for command in block.commands]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    with running_checkout(tmp_path_factory.mktemp("documented") / "checkout") as checkout:
        yield checkout


def where_else(command: str) -> tuple[str, str] | None:
    """Return the file that runs a command which is not run here, and the words to find it there by."""
    for pattern, file, words in ELSEWHERE:
        if found := re.fullmatch(pattern, command):
            return file, words.replace("{1}", found[1]) if "{1}" in words else words
    return None


def run_here(block: Block) -> list[str]:
    return [command for command in block.commands if not where_else(command) and HARMLESS.fullmatch(command)]


def written_out(command: str, checkout: Checkout) -> str:
    """Put what is real in place of the address and of what the reader is to fill in."""
    text = command.replace(ADDRESS, checkout.service.url)
    text = text.replace("curl ", "curl --fail-with-body --no-progress-meter ")
    if found := re.search(r'<prediction_id>|(?<="prediction_id": ")…', text):
        text = text.replace(found[0], checkout.predicted())
    if '"report_id": "…"' in text:
        text = text.replace("…", report(checkout.service.url, checkout.predicted()))
    return text


def test_every_command_is_run_here_or_it_is_known_where() -> None:
    assert [each for each in COMMANDS if not where_else(each) and not HARMLESS.fullmatch(each)] == []


# Before the commands, the last of which has another network serve.
@pytest.mark.parametrize("block", [block for block in blocks("python") if HOST in block.text], ids=str)
def test_python_of_the_documentation_does_what_it_says(checkout: Checkout, block: Block) -> None:
    text = block.text.replace(HOST, checkout.service.url.removeprefix("http://"))
    finished = subprocess.run(
        [sys.executable, "-c", text], cwd=checkout.folder, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    assert re.fullmatch(r"\S+ 0\.\d+", finished.stdout.strip())


@pytest.mark.parametrize("block", [block for block in blocks(*SHELL) if run_here(block)], ids=str)
def test_commands_of_the_documentation_do_what_they_say(checkout: Checkout, block: Block) -> None:
    needs_curl(block.text)
    if "models import" in block.text:
        checkout.forget_networks()
    finished = checkout.run("\n".join(written_out(command, checkout) for command in run_here(block)))
    assert finished.returncode == 0, finished.stdout + finished.stderr
    if "/predict" in block.text:
        assert '"success": true' in finished.stdout or '"status": "pending"' in finished.stdout


def needs_curl(text: str) -> None:
    if "curl " in text and shutil.which("curl") is None:
        if os.environ.get("CI"):
            pytest.fail("curl is not installed")
        pytest.skip("curl is not installed")


@pytest.mark.parametrize("command", sorted({command for command in COMMANDS if where_else(command)}))
def test_what_is_run_elsewhere_is_there(command: str) -> None:
    file, words = where_else(command) or ("", "")
    assert words in (REPOSITORY / file).read_text(), f"{file} no longer runs {command!r}"


def test_nothing_is_said_to_be_run_elsewhere_that_nobody_reads() -> None:
    assert [pattern for pattern, _, _ in ELSEWHERE if not any(re.fullmatch(pattern, each) for each in COMMANDS)] == []


@pytest.mark.parametrize("command", [each for each in COMMANDS if re.match(r"make (bench|stress)\b", each)])
def test_the_options_of_long_measurements_are_known(command: str) -> None:
    _, target, *told = shlex.split(command)
    arguments = shlex.split(told[0].partition("=")[2]) if told else []
    if target == "bench":
        assert benchmarks.options.parse_options(arguments)
    else:
        assert stress_test.options.parse_options(arguments)
