"""Every command of the documentation is run, here with a running service, or in the place that ELSEWHERE names."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import benchmarks.options
import pytest
import stress_test.options

from sightline_testing.checkout import Checkout, report
from sightline_testing.documents import SHELL, Block, blocks
from sightline_testing.service import REPOSITORY

ADDRESS, HOST = "http://127.0.0.1:8000", "127.0.0.1:8000"
SUITES = "testing/src/sightline_testing/suites.py"
# A command (as a pattern), the file of the test or stage that runs it, and the words it is found there by.
ELSEWHERE = (
    (r"git clone .*", ".ci/run", "from a bare Debian 12 machine"),
    (r"make serve", "tests/test_running.py", "def test_when_the_address_is_told_an_image_is_answered"),
    (r"make serve SCRIPT_NAME=.*", "tests/browser/test_below_a_path.py", "def test_everything_works_below_the_path"),
    (
        r'make feedback DO="label-studio .*"',
        "api/tests/reports/test_label_studio.py",
        "def test_what_was_labelled_becomes_decisions_once",
    ),
    (r"make (install|test|test-chart|test-clients|lint)", ".ci/run", "make --silent {1}"),
    (r'make test SUITES="api wire"', SUITES, '"api"'),
    (r"cd (api|model|deploy) && PYTHONPATH=\. .*pytest tests.*", SUITES, '"{1}"'),
    (r".*-m pytest tests/test_integration\.py", SUITES, "tests/test_integration.py"),
    (r"SIGHTLINE_URL=\S+ make test SUITES=remote", ".ci/run", 'make --silent test SUITES="remote containers"'),
    (
        r'(make improve|make models DO="(?:shadow|promote) .*"|make models DO=rollback)',
        "tests/browser/test_feedback_loop.py",
        "{1}",
    ),
    (
        r"make evaluate .*",
        "model/tests/cli/test_evaluate.py",
        "def test_two_versions_are_compared_in_the_terminal_and_on",
    ),
    (
        r"(make serve )?OTEL_TRACES_EXPORTER=otlp .*",
        "tests/test_traces.py",
        "def test_a_request_is_one_trace_below_its_callers_",
    ),
    (
        r"make serve OTEL_METRICS_EXPORTER=otlp .*",
        "tests/test_traces.py",
        "def test_metrics_are_sent_as_prometheus_reads_them",
    ),
    (r"make (bench|stress).*", __file__, "def test_the_options_of_long_measurements_are_known"),
    (r".*deploy/install\.py dev stress", "Makefile", "$(INSTALL) serve dev stress"),
    (r".*locust .*", "stress_test/run.py", "locust"),
    (r"(mkdir -p var|tar -C var .*)", "tests/test_operations.py", "def test_a_backup_brings_back"),
    (r"(OLD=/srv.*|make serve .*OLD.*)", "tests/test_operations.py", "def test_the_next_version_runs_beside_this_one"),
    (r"docker-compose -f \S+ -f docker-compose.gpu.yml up .*", ".ci/run", "docker-compose.gpu.yml config"),
    (r"docker-compose --profile monitoring up --build", "tests/test_monitoring.py", "def test_every_panel_of_the_dash"),
    (r"docker-compose down && .* -f deploy/compose.scale.yml up .*", ".ci/run", "compose.scale.yml config"),
    (r"(kubectl create secret|helm install) .*", "tests/chart/test_chart.py", "def test_every_object_is_one_that"),
    (r"export DATABASE_URL=.*", "api/tests/reports/test_database.py", "def test_what_one_host_stores"),
    (r"make (migrate|feedback DO=import)", "api/tests/commands/test_feedback.py", "def test_files_are_imported_and"),
    (
        r"make image-expiry.*",
        "api/tests/commands/test_image_expiry.py",
        "def test_images_are_removed_after_the_days_of",
    ),
    (r"IMAGE_STORE=s3://.* -f deploy/compose.stores.yml up .*", ".ci/run", "compose.stores.yml config"),
    (r"IMAGE_STORE=s3://.*", "tests/test_object_storage.py", "def test_an_image_of_one_host_is_answered_by"),
    (r"(cd model && )?python -m cli\.models .*", "tests/test_object_storage.py", '"cli.models", "push"'),
    (
        r"(useradd|install|chown|cp|\(umask|systemctl) .*",
        "deploy/tests/test_systemd.py",
        "def test_systemd_finds_no_fault",
    ),
    (
        r"make install STATE_DIR=/var/lib/sightline",
        "deploy/tests/test_make.py",
        "def test_a_command_works_on_the_folder",
    ),
    (r"make base-images.*", "deploy/tests/test_base_images.py", "def test_each_image_is_pinned"),
    (
        r"docker-compose --env-file .*",
        "deploy/tests/test_base_images.py",
        "def test_what_is_pinned_is_what_docker_comp",
    ),
    (r"docker-compose build", ".ci/run", "docker-compose --project-name sightline-ci build --quiet"),
    (r"docker-compose up (-d|--build)( --scale model=\d)?", ".ci/run", "docker-compose up -d --scale model=2"),
    (r"COMPOSE_PROJECT_NAME=next PORT=\d+ docker-compose up .*", ".ci/run", "export PORT=$COMPOSE_PORT COMPOSE"),
)
# What a checkout of a test's own keeps from doing harm; everything else has to stand in the table.
HARMLESS = re.compile(
    r"(curl|make (?!serve|test|bench|stress|fuzz)|(\.venv/bin/)?sightline|cd (api|model|deploy) &&|for|find|cat) ?.*"
)
COMMANDS = [command for block in blocks(*SHELL) for command in block.commands]


def where_else(command: str) -> tuple[str, str] | None:
    """Return the file that runs a command which is not run here, and the words to find it there by."""
    for pattern, file, words in ELSEWHERE:
        if found := re.fullmatch(pattern, command):
            return file, words.replace("{1}", found[1]) if "{1}" in words else words
    return None


def run_here(block: Block) -> list[str]:
    return [command for command in block.commands if not where_else(command) and HARMLESS.fullmatch(command)]


def with_new_commands() -> Iterator[Block]:
    """Yield the blocks of which something is to be run here that no block before them has."""
    seen: set[str] = set()
    for block in blocks(*SHELL):
        if not seen.issuperset(commands := run_here(block)):
            yield block
        seen.update(commands)


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
    assert re.fullmatch(r"(\S+ 0\.\d+\n)+", finished.stdout)


# Go is not among them: its compiler takes longer than all the others.
@pytest.mark.parametrize(
    ("language", "file", "program"), [("javascript", "classify.mjs", "node"), ("java", "Classify.java", "java")]
)
def test_programs_in_other_languages_do_what_they_say(
    checkout: Checkout, tmp_path: Path, language: str, file: str, program: str
) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    [block] = blocks(language)
    source = tmp_path / file
    source.write_text(block.text.replace(HOST, checkout.service.url.removeprefix("http://")))
    finished = subprocess.run([program, source], cwd=checkout.folder, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert "tiger_cat" in finished.stdout


@pytest.mark.parametrize("block", list(with_new_commands()), ids=str)
def test_commands_of_the_documentation_do_what_they_say(checkout: Checkout, block: Block) -> None:
    needs_curl(block.text)
    if "models import" in block.text:
        checkout.forget_networks()
    finished = checkout.run("\n".join(written_out(command, checkout) for command in run_here(block)))
    assert finished.returncode == 0, finished.stdout + finished.stderr
    if re.search("^curl .*/predict", block.text, re.MULTILINE):
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
