"""Keeps a set of processes running: starts them, restarts what dies, stops them in order.

A program that ended after it was ready is restarted immediately, for any cause. One that never got ready waits for
longer after each attempt, and one that exits with EX_CONFIG for a wrong configuration waits for a change of it.

Single-threaded on purpose: signals are waited for, never handled in between, so a fork never meets a running thread.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
# A program that does not say when it is ready was, once it has lived this long.
HEALTHY_AFTER_S = 10.0
FIRST_INTERVAL_S = 0.25
LONGEST_INTERVAL_S = 5.0
# What was ended from outside need not be at fault; but a system that is out of memory does so again and again.
ENDED_FROM_OUTSIDE = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP}
LONGEST_INTERVAL_FROM_OUTSIDE_S = 1.0
LOOK_AT_CONFIGURATION_EVERY_S = 1.0
# For programs that still run when a second signal arrives.
HURRIED_GRACE_S = 1.0
# The environment variable of the descriptor that a program writes to once it serves.
READY_FD = "READY_FD"
PR_SET_PDEATHSIG = 1
AUTOGROUP = Path("/proc/self/autogroup")

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Program:
    """A process to keep running."""

    name: str
    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    stop_grace_s: float = 10.0
    log: Path | None = None  # where it writes, if not to the terminal
    pass_fds: tuple[int, ...] = ()  # open descriptors that it gets under the same numbers
    says_ready: bool = False  # whether it writes to READY_FD once it serves
    configuration: Path | None = None  # file or folder to look at after EX_CONFIG: a change may help
    niceness: int = 0  # by how much its priority is lower than the launcher's
    orphans_finish: bool = False  # whether its children, once it has died, have its grace period to stop by themselves


@dataclass
class Child:
    """A program and its present process, if it has one."""

    program: Program
    process: subprocess.Popen[bytes] | None = None
    ready: int | None = None  # the end of a pipe to read from, which the process writes to once it serves
    started_at: float = 0.0
    due_at: float = 0.0
    failed_starts: int = 0
    configured: frozenset[tuple[str, int, int]] = frozenset()  # its configuration at its last start
    refuses: bool = False  # whether it could not work with that

    def was_ready(self) -> bool:
        """Return whether the process that has just ended had come to serve."""
        if self.ready is None:
            return time.monotonic() - self.started_at >= HEALTHY_AFTER_S
        try:
            return bool(os.read(self.ready, 1))
        except BlockingIOError:
            return False

    def forget_process(self) -> None:
        """Let go of what belonged to the process."""
        if self.ready is not None:
            os.close(self.ready)
        self.process = self.ready = None


class Supervisor:
    """Runs stages of programs until a stop signal; the last stage is stopped first."""

    def __init__(
        self, stages: Sequence[Sequence[Program]], say: Callable[[str], None], pass_fds: Sequence[int] = ()
    ) -> None:
        self._stages = [[Child(program) for program in stage] for stage in stages]
        self._say = say
        self._pass_fds = tuple(pass_fds)
        # Programs that have died, and when to kill what is left of their groups.
        self._orphaned: list[tuple[subprocess.Popen[bytes], float]] = []

    def run(self, tick: Callable[[], float | None], at_stop: Callable[[], None] = lambda: None) -> None:
        """Start everything and keep it running; `tick` returns in how many seconds it wants to be called again."""
        with _blocked_signals() as watched:
            try:
                self._run_until_stopped(watched, tick)
            finally:
                self._say("stopping")
                at_stop()
                self._stop()

    def _run_until_stopped(self, watched: set[signal.Signals], tick: Callable[[], float | None]) -> None:
        while True:
            self._start_what_is_due()
            self._kill_overdue_orphans()
            received = _wait_for(watched, _soonest(tick(), self._seconds_to_next_start(), self._seconds_to_next_kill()))
            if received in STOP_SIGNALS:
                return
            self._collect_the_dead()

    def _start_what_is_due(self) -> None:
        for child in self._children():
            if child.process is None and child.due_at <= time.monotonic() and self._may_start(child):
                self._start(child)

    def _may_start(self, child: Child) -> bool:
        """Return whether it did not end for its configuration, or that has changed since."""
        configured = _fingerprint(child.program.configuration)
        if child.refuses and child.configured == configured:
            child.due_at = time.monotonic() + LOOK_AT_CONFIGURATION_EVERY_S
            return False
        child.refuses, child.configured = False, configured
        return True

    def _start(self, child: Child) -> None:
        child.started_at = time.monotonic()
        try:
            self._spawn(child)
        except (OSError, subprocess.SubprocessError) as error:
            # Out of processes, memory or descriptors: that passes, and running programs continue meanwhile.
            child.failed_starts += 1
            child.due_at = child.started_at + max(_interval_after(child.failed_starts), FIRST_INTERVAL_S)
            pause_s = child.due_at - child.started_at
            self._say(f"{child.program.name} cannot be started ({error}); trying again in {pause_s:.2g} s")

    def _spawn(self, child: Child) -> None:
        program, launcher = child.program, os.getpid()
        pass_fds, environment = [*self._pass_fds, *program.pass_fds], dict(program.environment)
        with contextlib.ExitStack() as on_failure, contextlib.ExitStack() as in_any_case:
            if program.says_ready:
                child.ready, write_end = os.pipe()
                on_failure.callback(child.forget_process)
                in_any_case.callback(os.close, write_end)
                os.set_blocking(child.ready, False)
                pass_fds.append(write_end)
                environment[READY_FD] = str(write_end)
            # A group of its own: Ctrl-C reaches the launcher alone, which then stops the programs in order.
            child.process = subprocess.Popen(  # noqa: S603 - commands are built by programs.py
                list(program.command),
                cwd=program.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=pass_fds,
                preexec_fn=lambda: prepare_child(launcher, program.niceness),  # noqa: PLW1509 - safe: the launcher has one thread
            )
            on_failure.pop_all()

    def _seconds_to_next_start(self) -> float | None:
        waiting = [child.due_at for child in self._children() if child.process is None]
        return max(0.0, min(waiting) - time.monotonic()) if waiting else None

    def _collect_the_dead(self) -> None:
        for child in self._children():
            if child.process is not None and child.process.poll() is not None:
                self._plan_restart(child, child.process)

    def _plan_restart(self, child: Child, process: subprocess.Popen[bytes]) -> None:
        status, program, now = process.returncode, child.program, time.monotonic()
        if program.orphans_finish:
            _signal_group(process, signal.SIGTERM)
            self._orphaned.append((process, now + program.stop_grace_s))
        else:
            _signal_group(process, signal.SIGKILL)
        if child.was_ready():
            child.failed_starts = 0
        elif status != os.EX_OK:
            child.failed_starts += 1
        child.forget_process()
        # From start to start: what has lived for a while, if not long, need not wait as well.
        child.due_at = max(now, child.started_at + _interval(status, child.failed_starts))
        child.refuses = status == os.EX_CONFIG
        if child.refuses:
            after = f"; {_what_may_help(program)}"
        else:
            pause_s = child.due_at - now
            after = f"; starting it again in {pause_s:.2g} s" if pause_s else "; starting it again"
        where = f"; see {program.log}" if program.log else ""
        self._say(f"{program.name} ended ({_how(status)}{where}){after}")

    def _seconds_to_next_kill(self) -> float | None:
        return max(0.0, self._orphaned[0][1] - time.monotonic()) if self._orphaned else None

    def _kill_overdue_orphans(self) -> None:
        while self._orphaned and self._orphaned[0][1] <= time.monotonic():
            _signal_group(self._orphaned.pop(0)[0], signal.SIGKILL)

    def _stop(self) -> None:
        """Stop stage after stage: what takes requests first, what holds the queue last."""
        is_hurried = False
        for stage in reversed(self._stages):
            running = [(child.process, child.program) for child in stage if child.process is not None]
            for process, _ in running:
                process.terminate()
            is_hurried = self._wait_for_ends(running, is_hurried=is_hurried)
        for process, _ in self._orphaned:
            _signal_group(process, signal.SIGKILL)

    def _wait_for_ends(self, running: Sequence[tuple[subprocess.Popen[bytes], Program]], *, is_hurried: bool) -> bool:
        """Wait until the programs of a stage have ended, all at the same time, and kill what has not by then.

        Return whether the end was requested again: later stages then get no grace period either.
        """
        begun = time.monotonic()
        while left := [(process, program) for process, program in running if process.poll() is None]:
            grace_s = max(program.stop_grace_s for _, program in left)
            until = begun + (min(grace_s, HURRIED_GRACE_S) if is_hurried else grace_s)
            if time.monotonic() >= until:
                break
            if _wait_for({signal.SIGCHLD, *STOP_SIGNALS}, until - time.monotonic()) in STOP_SIGNALS:
                is_hurried, begun = True, time.monotonic() - HURRIED_GRACE_S
        for process, program in running:
            if process.poll() is None:
                self._say(f"{program.name} does not stop by itself; killing it")
            _signal_group(process, signal.SIGKILL)
            process.wait()
        return is_hurried

    def _children(self) -> Iterator[Child]:
        for stage in self._stages:
            yield from stage


@contextlib.contextmanager
def _blocked_signals() -> Iterator[set[signal.Signals]]:
    """Hold the signals back so that they can be waited for; a hang-up that is ignored from outside stays so (nohup)."""
    watched = {signal.SIGCHLD, *STOP_SIGNALS}
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        watched.remove(signal.SIGHUP)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    try:
        yield watched
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait_for(signals: set[signal.Signals], timeout_s: float | None) -> signal.Signals | None:
    if timeout_s is None:
        return signal.Signals(signal.sigwaitinfo(signals).si_signo)
    received = signal.sigtimedwait(signals, max(0.0, timeout_s))
    return None if received is None else signal.Signals(received.si_signo)


def _interval(status: int, failed_starts: int) -> float:
    """Return the least time between the start of what ended with this status and the next one."""
    if status == os.EX_OK:
        # It was stopped on purpose and is restarted immediately, however often: a rolling restart is no failure.
        return FIRST_INTERVAL_S
    interval_s = _interval_after(failed_starts)
    return min(interval_s, LONGEST_INTERVAL_FROM_OUTSIDE_S) if status in ENDED_FROM_OUTSIDE else interval_s


def _interval_after(failed_starts: int) -> float:
    """Return the least time between two starts: none at first, then doubling; it never gives up."""
    return 0.0 if failed_starts < 2 else min(LONGEST_INTERVAL_S, FIRST_INTERVAL_S * 2.0 ** min(failed_starts - 2, 16))


def _fingerprint(configuration: Path | None) -> frozenset[tuple[str, int, int]]:
    """Return what changes when a file or folder does: path, time of change and size of each below it."""
    found = set()
    with contextlib.suppress(OSError):
        for path in (configuration, *configuration.rglob("*")) if configuration else ():
            status = path.lstat()
            found.add((str(path), status.st_ctime_ns, status.st_size))
    return frozenset(found)


def _what_may_help(program: Program) -> str:
    if program.configuration is None:
        return "its configuration is wrong: mend it, and start the service again"
    return f"its configuration is wrong: it is started again when something changes in {program.configuration}"


def _soonest(*moments: float | None) -> float | None:
    known = [moment for moment in moments if moment is not None]
    return min(known) if known else None


def prepare_child(launcher: int, niceness: int) -> None:
    """Between fork and exec: take signals again, give way to others, and be stopped should the launcher be killed."""
    if niceness:
        os.nice(niceness)
        # Where the system shares its cores by session, this one is of a session of its own.
        with contextlib.suppress(OSError):
            AUTOGROUP.write_text(f"{niceness}\n", encoding="ascii")
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if sys.platform == "linux":
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != launcher:
            os._exit(1)


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _how(status: int) -> str:
    return f"signal {-status}, {signal.strsignal(-status)}" if status < 0 else f"exit status {status}"
