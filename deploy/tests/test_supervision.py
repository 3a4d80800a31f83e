"""The supervisor, with small programs of the shell in place of Redis, workers and api."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher import supervision

FOLDER = Path(__file__).resolve().parents[1]
PATIENCE_S = 30.0

SCRIPT = """
import os, sys
from pathlib import Path
from launcher.supervision import Program, Supervisor
def program(name, line):
    return Program(name, ["sh", "-c", line], Path.cwd(), os.environ, {grace_s})
stages = [[program(*pair) for pair in stage] for stage in {stages}]
Supervisor(stages, lambda text: print(text, flush=True)).run(lambda: None)
print("ended", flush=True)
"""


class Run:
    """A supervisor in a process of its own, in an empty folder that its programs leave traces in."""

    def __init__(self, folder: Path, stages: list[list[tuple[str, str]]], grace_s: float) -> None:
        self.folder = folder
        with (folder / "output").open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SCRIPT.format(stages=stages, grace_s=grace_s)],
                cwd=folder,
                env=os.environ | {"PYTHONPATH": str(FOLDER)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def output(self) -> str:
        return (self.folder / "output").read_text()

    def pids(self, name: str) -> list[int]:
        """Return the process ids that a program wrote down, one for each start."""
        file = self.folder / name
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs = []

    def start(stages: list[list[tuple[str, str]]], grace_s: float = 1.0) -> Run:
        runs.append(Run(tmp_path, stages, grace_s))
        return runs[-1]

    yield start
    for run in runs:
        run.process.kill()
        run.process.wait()


def sleeper(name: str) -> tuple[str, str]:
    return name, f"echo $$ >> {name}; exec sleep 1000"


def eventually(condition: Callable[[], object], what: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, f"it never came true: {what}"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_killed_program_is_started_again(supervise: Callable[..., Run]) -> None:
    run = supervise([[sleeper("worker"), sleeper("other")]])
    eventually(lambda: run.pids("worker") and run.pids("other"), "both programs run")
    for killed in range(3):
        os.kill(run.pids("worker")[killed], signal.SIGKILL)
        eventually(lambda: run.pids("worker")[killed + 1 :], "the killed program runs again")  # noqa: B023 - called now
    assert len(run.pids("other")) == 1
    assert "worker ended (signal 9, Killed); starting it again" in run.output()


def test_a_program_that_always_fails_is_tried_without_end_and_at_growing_intervals(
    supervise: Callable[..., Run],
) -> None:
    run = supervise([[("broken", "echo $$ >> broken; exit 3"), sleeper("other")]])
    eventually(lambda: len(pauses(run)) >= 3, "three attempts that had to wait")
    assert "broken ended (exit status 3); starting it again\n" in run.output()
    assert pauses(run) == sorted(pauses(run))
    assert len(run.pids("other")) == 1


def test_a_program_that_is_told_to_stop_again_and_again_need_not_wait(supervise: Callable[..., Run]) -> None:
    run = supervise([[("api", "trap 'exit 0' TERM; echo $$ >> api; while :; do sleep 0.01; done")]])
    for stopped in range(8):
        eventually(lambda: run.pids("api")[stopped:], "it runs again")  # noqa: B023 - called now
        os.kill(run.pids("api")[stopped], signal.SIGTERM)
    eventually(lambda: len(run.pids("api")) == 9, "it runs again")
    waited = [float(found) for found in re.findall(r"api ended .* in ([\d.]+) s", run.output())]
    assert all(each <= supervision.FIRST_INTERVAL_S for each in waited)


def pauses(run: Run) -> list[float]:
    return [float(found) for found in re.findall(r"broken ended .* in ([\d.]+) s", run.output())]


def test_a_program_that_had_lived_for_a_while_does_not_wait_as_long_again(supervise: Callable[..., Run]) -> None:
    run = supervise([[("short", "echo $$ >> short; sleep 0.6; exit 3")]])
    eventually(lambda: len(run.pids("short")) >= 4, "four lives")
    # By rule the third and the fourth are a quarter and half a second after the one before, and by life 0.6 s.
    assert run.output().count("short ended (exit status 3); starting it again\n") >= 3


def test_a_stop_signal_ends_every_program_the_last_stage_first(supervise: Callable[..., Run]) -> None:
    leave_trace = "trap 'echo {0} >> order; exit 0' TERM; echo $$ >> {0}; while :; do sleep 0.01; done"
    run = supervise([[(name, leave_trace.format(name))] for name in ("redis", "worker", "api")])
    eventually(lambda: all(run.pids(name) for name in ("redis", "worker", "api")), "all programs run")
    assert run.stop(signal.SIGTERM) == 0
    assert (run.folder / "order").read_text().split() == ["api", "worker", "redis"]
    assert run.output().endswith("ended\n")


def test_what_does_not_stop_is_killed_with_everything_it_started(supervise: Callable[..., Run]) -> None:
    stubborn = "trap '' TERM; echo $$ >> stubborn; sleep 1000 & echo $! >> stubborn; while :; do wait; done"
    run = supervise([[("stubborn", stubborn)]])
    eventually(lambda: len(run.pids("stubborn")) == 2, "the program and its child run")
    assert run.stop() == 0
    assert "stubborn does not stop by itself; killing it" in run.output()
    assert not any(map(is_running, run.pids("stubborn")))


def test_a_second_stop_signal_is_not_kept_waiting(supervise: Callable[..., Run]) -> None:
    run = supervise([[("stubborn", "trap '' TERM; echo $$ >> stubborn; while :; do sleep 0.01; done")]], 2 * PATIENCE_S)
    eventually(lambda: run.pids("stubborn"), "the program runs")
    run.process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert run.process.poll() is None
    assert run.stop() == 0


def test_no_program_survives_a_killed_supervisor(supervise: Callable[..., Run]) -> None:
    run = supervise([[sleeper("redis")], [sleeper("worker")]])
    eventually(lambda: run.pids("redis") and run.pids("worker"), "both programs run")
    run.process.kill()
    run.process.wait()
    started = [*run.pids("redis"), *run.pids("worker")]
    eventually(lambda: not any(map(is_running, started)), "both programs have ended")


def test_a_program_that_died_takes_what_it_started_with_it(supervise: Callable[..., Run]) -> None:
    run = supervise([[("api", "echo $$ >> api; sleep 1000 & echo $! >> child; wait")]])
    eventually(lambda: run.pids("child"), "the program's child runs")
    child = run.pids("child")[0]
    os.kill(run.pids("api")[0], signal.SIGKILL)
    eventually(lambda: not is_running(child), "the child of the killed program has ended")


def test_a_hang_up_that_is_ignored_from_outside_stays_ignored(supervise: Callable[..., Run]) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run = supervise([[sleeper("worker")]])
    finally:
        signal.signal(signal.SIGHUP, before)
    eventually(lambda: run.pids("worker"), "the program runs")
    run.process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert run.process.poll() is None
    assert run.stop() == 0
