"""Commands of low priority run in a session of their own, where the system shares the processor by session."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import operate
from launcher import settings
from sightline_testing.waiting import wait_until

DEPLOY = settings.REPOSITORY / "deploy"
RUN = "import operate, os, sys; sys.exit(operate.run_in_session([sys.executable, '-c', sys.argv[1]], os.environ))"
# Prints that it runs, and ends at a signal.
WAITS = """
import signal, sys, time
signal.signal(signal.{name}, lambda *_: sys.exit(7))
print("runs", flush=True)
time.sleep(60)
"""


@contextmanager
def started(*arguments: str, **options: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=DEPLOY,
        stdout=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_command_leads_a_session_and_its_status_and_output_are_passed_on() -> None:
    program = "import os, sys; print(os.getsid(0) == os.getpid()); sys.exit(5)"
    finished = subprocess.run(
        [sys.executable, "-c", RUN, program], cwd=DEPLOY, capture_output=True, text=True, check=False
    )
    assert (finished.stdout, finished.returncode) == ("True\n", 5)


def test_the_signal_that_has_killed_a_command_is_in_the_status() -> None:
    with started("-c", RUN, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)") as process:
        assert process.wait() == 128 + signal.SIGKILL


@pytest.mark.parametrize("number", operate.PASSED_ON)
def test_signals_are_passed_on(number: signal.Signals) -> None:
    with started("-c", RUN, WAITS.format(name=number.name)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "runs\n"
        process.send_signal(number)
        assert process.wait() == 7


def test_a_command_ends_when_the_process_that_passes_signals_on_is_killed() -> None:
    with started("-c", RUN, WAITS.format(name="SIGUSR1")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "runs\n"
        [command] = children(process.pid)
        process.kill()
        process.wait()
        wait_until(lambda: not Path(f"/proc/{command}").exists(), "the command has ended")


@pytest.mark.parametrize(("command", "is_low"), [("models", True), ("dead_letters", False)])
def test_only_commands_of_low_priority_are_given_a_session(command: str, is_low: bool, tmp_path: Path) -> None:
    own_session = is_low and operate.shares_by_session()
    environment = os.environ | {"STATE_DIR": str(tmp_path)}
    with started("operate.py", command, "list", env=environment, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: children(process.pid) or f"cli.{command}" in _command_line(process.pid), "it runs")
        assert bool(children(process.pid)) == own_session


def _command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()
