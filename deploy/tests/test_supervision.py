"""The supervisor, with small programs of the shell in place of Redis, workers and api."""

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher import supervision

FOLDER = Path(__file__).resolve().parents[1]
TIMEOUT_S = 100.0

# The name of a program, what the shell runs, and perhaps further arguments of a Program.
Told = tuple[str, str] | tuple[str, str, dict[str, object]]

SCRIPT = """
import os, sys
from pathlib import Path, PosixPath
from launcher.supervision import Program, Supervisor
def program(name, line, folder=".", **more):
    return Program(name, ["sh", "-c", line], Path.cwd() / folder, os.environ, {grace_s}, **more)
stages = [[program(*words, **more) for *words, more in stage] for stage in {stages}]
Supervisor(stages, lambda text: print(text, flush=True)).run(lambda: None)
print("ended", flush=True)
"""


class Run:
    """A supervisor in a process of its own, in an empty folder that its programs leave traces in."""

    def __init__(self, folder: Path, stages: list[list[Told]], grace_s: float) -> None:
        self.folder = folder
        stages = [[each if isinstance(each[-1], dict) else (*each, {}) for each in stage] for stage in stages]
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
        return self.process.wait(TIMEOUT_S)


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs = []

    def start(stages: list[list[Told]], grace_s: float = TIMEOUT_S) -> Run:
        runs.append(Run(tmp_path, stages, grace_s))
        return runs[-1]

    yield start
    for run in runs:
        run.process.kill()
        run.process.wait()


# What is ignored stays so in what the shell runs.
STUBBORN = "trap '' TERM; echo $$ >> {0}; exec sleep 1000"


def sleeper(name: str) -> tuple[str, str]:
    return name, f"echo $$ >> {name}; exec sleep 1000"


def eventually(condition: Callable[[], object], what: str) -> None:
    until = time.monotonic() + TIMEOUT_S
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
    # After an attempt that took long, since the machine stood still, the intervals begin again.
    eventually(lambda: max(pauses(run), default=0.0) >= 4 * supervision.FIRST_INTERVAL_S, "they grow")
    assert "broken ended (exit status 3); starting it again\n" in run.output()
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


def test_a_program_has_the_priority_that_it_is_given(supervise: Callable[..., Run]) -> None:
    usual, low = sleeper("usual"), sleeper("low")
    run = supervise([[usual, (*low, {"niceness": 7})]])
    eventually(lambda: run.pids("usual") and run.pids("low"), "both programs run")
    own = os.getpriority(os.PRIO_PROCESS, run.process.pid)
    found = [os.getpriority(os.PRIO_PROCESS, run.pids(name)[0]) - own for name in ("usual", "low")]
    assert found == [0, min(7, 19 - own)]


def test_what_does_not_stop_is_killed_with_everything_it_started(supervise: Callable[..., Run]) -> None:
    stubborn = "trap '' TERM; echo $$ >> stubborn; sleep 1000 & echo $! >> stubborn; while :; do wait; done"
    run = supervise([[("stubborn", stubborn)]], 1.0)
    eventually(lambda: len(run.pids("stubborn")) == 2, "the program and its child run")
    assert run.stop() == 0
    assert "stubborn does not stop by itself; killing it" in run.output()
    assert not any(map(is_running, run.pids("stubborn")))


def test_a_second_stop_signal_is_not_kept_waiting(supervise: Callable[..., Run]) -> None:
    run = supervise([[("stubborn", STUBBORN.format("stubborn"))]], 2 * TIMEOUT_S)
    eventually(lambda: run.pids("stubborn"), "the program runs")
    run.process.send_signal(signal.SIGINT)
    eventually(lambda: "stopping" in run.output(), "it stops")
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


class TestProcessesThatMayFinishWhenTheirProgramHasDied:
    LINE = "echo $$ >> api; (trap '{trap}' TERM; echo >> child; while :; do sleep 0.01; done) & echo $! >> pids; wait"

    def test_they_stop_by_themselves_beside_the_next_one(self, supervise: Callable[..., Run]) -> None:
        line = self.LINE.format(trap="sleep 0.3; echo > finished; exit 0")
        run = supervise([[("api", line, {"orphans_finish": True})]], TIMEOUT_S)
        self.kill_its_program(run)
        eventually(lambda: len(run.pids("api")) == 2, "it runs again")
        eventually((run.folder / "finished").exists, "the child of the killed program has finished")
        assert run.stop() == 0

    @pytest.mark.parametrize("is_stopped", [False, True])
    def test_they_are_killed_when_their_time_is_over(self, supervise: Callable[..., Run], *, is_stopped: bool) -> None:
        run = supervise([[("api", self.LINE.format(trap=""), {"orphans_finish": True})]], 1.0 + is_stopped * TIMEOUT_S)
        self.kill_its_program(run)
        if not is_stopped:
            eventually(lambda: not is_running(run.pids("pids")[0]), "the child of the killed program has ended")
        assert run.stop() == 0
        eventually(lambda: not any(map(is_running, run.pids("pids"))), "nothing is left")

    def kill_its_program(self, run: Run) -> None:
        eventually((run.folder / "child").exists, "the program's child runs")
        os.kill(run.pids("api")[0], signal.SIGKILL)
        eventually(lambda: "api ended" in run.output(), "its end is noticed")


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


def longest_pause(run: Run, name: str) -> float:
    return max((float(found) for found in re.findall(rf"{name} ended .* in ([\d.]+) s", run.output())), default=0.0)


class TestAProgramThatSaysWhenItIsReady:
    def test_it_is_started_again_at_once_however_often_it_fails_after_that(self, supervise: Callable[..., Run]) -> None:
        line = "echo $$ >> worker; sleep 0.3; echo >&$READY_FD; exit 3"
        run = supervise([[("worker", line, {"says_ready": True})]])
        eventually(lambda: len(run.pids("worker")) >= 8, "eight lives")
        assert longest_pause(run, "worker") == 0.0

    def test_it_waits_longer_and_longer_where_it_never_was(self, supervise: Callable[..., Run]) -> None:
        run = supervise([[("worker", "echo $$ >> worker; exit 3", {"says_ready": True})]])
        eventually(lambda: longest_pause(run, "worker") > 1.0, "it waits for longer than a second")

    def test_it_waits_for_a_second_at_most_where_somebody_kills_it_before(self, supervise: Callable[..., Run]) -> None:
        run = supervise([[("worker", "echo $$ >> worker; exec sleep 1000", {"says_ready": True})]])
        killed = 0
        # One that lived for long, since the machine stood still, is started again sooner.
        while killed < 6 or longest_pause(run, "worker") <= 0.5:
            eventually(lambda: run.pids("worker")[killed:], "it runs again")  # noqa: B023 - called now
            os.kill(run.pids("worker")[killed], signal.SIGKILL)
            killed += 1
        eventually(lambda: run.pids("worker")[killed:], "it runs again")
        assert longest_pause(run, "worker") <= supervision.LONGEST_INTERVAL_FROM_OUTSIDE_S


def test_a_program_whose_configuration_is_wrong_is_not_started_again_until_that_changes(
    supervise: Callable[..., Run], tmp_path: Path
) -> None:
    (tmp_path / "bundles").mkdir()
    line = f"echo $$ >> worker; [ -f bundles/good ] && exec sleep 1000; exit {os.EX_CONFIG}"
    run = supervise(
        [[("worker", line, {"configuration": tmp_path / "bundles"}), ("broken", "echo $$ >> broken; exit 3")]]
    )
    # Meanwhile others are restarted and supervised.
    eventually(lambda: len(run.pids("broken")) >= 5, "the other one was started five times")
    assert len(run.pids("worker")) == 1
    assert f"its configuration is wrong: it is started again when something changes in {tmp_path / 'bundles'}" in (
        run.output()
    )
    (tmp_path / "bundles" / "other").touch()
    eventually(lambda: run.output().count("its configuration is wrong") == 2, "it tries with what has changed")
    assert len(run.pids("worker")) == 2
    (tmp_path / "bundles" / "good").touch()
    eventually(lambda: len(run.pids("worker")) == 3, "it tries again")
    assert is_running(run.pids("worker")[2])


def test_a_program_whose_configuration_is_in_no_file_is_not_started_again(supervise: Callable[..., Run]) -> None:
    run = supervise([[("api", f"echo $$ >> api; exit {os.EX_CONFIG}"), ("broken", "echo $$ >> broken; exit 3")]])
    eventually(lambda: len(run.pids("broken")) >= 5, "the other one was started five times")
    assert len(run.pids("api")) == 1
    assert "api ended (exit status 78); its configuration is wrong: mend it, and start the service again" in (
        run.output()
    )


class TestASystemThatHasNoRoomForAnotherProcess:
    """fork(2) and pipe(2) fail with EAGAIN, ENOMEM or EMFILE: for a while, as a rule."""

    def test_what_runs_goes_on_and_the_others_follow_when_there_is_room(self, supervise: Callable[..., Run]) -> None:
        run = supervise([[sleeper("redis")], [sleeper("worker")]])
        eventually(lambda: run.pids("redis") and run.pids("worker"), "both programs run")
        limits = resource.prlimit(run.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(run.process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        os.kill(run.pids("worker")[0], signal.SIGKILL)
        eventually(lambda: run.output().count("worker cannot be started") >= 3, "three attempts")
        assert "worker cannot be started ([Errno 24] Too many open files: '/dev/null'); trying again in 0.25 s" in (
            run.output()
        )
        assert run.process.poll() is None
        assert is_running(run.pids("redis")[0])
        resource.prlimit(run.process.pid, resource.RLIMIT_NOFILE, limits)
        eventually(lambda: len(run.pids("worker")) == 2, "it runs again")

    def test_a_command_that_cannot_be_run_does_not_end_the_others(
        self, supervise: Callable[..., Run], tmp_path: Path
    ) -> None:
        run = supervise([[sleeper("redis"), ("worker", "echo $$ >> ../worker; exec sleep 1000", {"folder": "late"})]])
        eventually(lambda: "worker cannot be started ([Errno 2] No such file" in run.output(), "it is logged")
        (tmp_path / "late").mkdir()
        eventually(lambda: run.pids("worker"), "it runs once it can")
        assert len(run.pids("redis")) == 1

    def test_no_descriptor_is_left_behind_by_attempts(self, supervise: Callable[..., Run]) -> None:
        line = "echo $$ >> worker; sleep 0.02; echo >&$READY_FD; exit 3"
        run = supervise(
            [[("worker", line, {"says_ready": True}), ("absent", "", {"folder": "no", "says_ready": True})]]
        )
        eventually(lambda: len(run.pids("worker")) >= 20, "twenty lives")
        assert len(list(Path(f"/proc/{run.process.pid}/fd").iterdir())) < 15


def test_the_programs_of_a_stage_are_given_their_time_together(supervise: Callable[..., Run]) -> None:
    names, grace_s = [f"worker{number}" for number in range(20)], 2.0
    run = supervise([[(name, STUBBORN.format(name)) for name in names]], grace_s)
    eventually(lambda: all(run.pids(name) for name in names), "all run")
    begun = time.monotonic()
    assert run.stop() == 0
    # One after the other they would take as long for certain, however fast the machine is; together, a twentieth.
    assert time.monotonic() - begun < len(names) * grace_s
    assert run.output().count("does not stop by itself; killing it") == len(names)


def test_a_second_stop_signal_is_for_every_program_that_is_left(supervise: Callable[..., Run]) -> None:
    names = ["redis", "worker1", "worker2", "worker3", "api"]
    stages = [[(name, STUBBORN.format(name)) for name in stage] for stage in (names[:1], names[1:4], names[4:])]
    run = supervise(stages, TIMEOUT_S)
    eventually(lambda: all(run.pids(name) for name in names), "all run")
    run.process.send_signal(signal.SIGINT)
    eventually(lambda: "stopping" in run.output(), "it stops")
    assert run.stop() == 0
    assert not any(is_running(run.pids(name)[0]) for name in names)
