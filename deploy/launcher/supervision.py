"""Keeps a set of processes running: starts them, restarts what dies, stops them in order.

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
# A program that lived this long was healthy: its next restart is immediate again.
HEALTHY_AFTER_S = 10.0
FIRST_INTERVAL_S = 0.25
LONGEST_INTERVAL_S = 5.0
PR_SET_PDEATHSIG = 1

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


@dataclass
class Child:
    """A program and its present process, if it has one."""

    program: Program
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    due_at: float = 0.0
    early_ends: int = 0


class Supervisor:
    """Runs stages of programs until a stop signal; the last stage is stopped first."""

    def __init__(
        self, stages: Sequence[Sequence[Program]], say: Callable[[str], None], pass_fds: Sequence[int] = ()
    ) -> None:
        self._stages = [[Child(program) for program in stage] for stage in stages]
        self._say = say
        self._pass_fds = tuple(pass_fds)

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
            received = _wait_for(watched, _soonest(tick(), self._seconds_to_next_start()))
            if received in STOP_SIGNALS:
                return
            self._collect_the_dead()

    def _start_what_is_due(self) -> None:
        now = time.monotonic()
        for child in self._children():
            if child.process is None and child.due_at <= now:
                child.process = self._start(child.program)
                child.started_at = now

    def _start(self, program: Program) -> subprocess.Popen[bytes]:
        launcher = os.getpid()
        # A group of its own: Ctrl-C reaches the launcher alone, which then stops the programs in order.
        return subprocess.Popen(  # noqa: S603 - commands are built by programs.py
            list(program.command),
            cwd=program.folder,
            env=dict(program.environment),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(*self._pass_fds, *program.pass_fds),
            preexec_fn=lambda: _prepare_child(launcher),  # noqa: PLW1509 - safe: the launcher has one thread
        )

    def _seconds_to_next_start(self) -> float | None:
        waiting = [child.due_at for child in self._children() if child.process is None]
        return max(0.0, min(waiting) - time.monotonic()) if waiting else None

    def _collect_the_dead(self) -> None:
        for child in self._children():
            if child.process is not None and child.process.poll() is not None:
                self._plan_restart(child, child.process)

    def _plan_restart(self, child: Child, process: subprocess.Popen[bytes]) -> None:
        _kill_group(process)  # what a dead leader left behind may still hold the port
        now = time.monotonic()
        if now - child.started_at >= HEALTHY_AFTER_S:
            child.early_ends = 0
        elif process.returncode != os.EX_OK:
            child.early_ends += 1
        # Who ended well was told to, and is wanted back at once, however often: a rolling restart is no failure.
        interval_s = FIRST_INTERVAL_S if process.returncode == os.EX_OK else _interval_after(child.early_ends)
        # From start to start: what has lived for a while, if not long, need not wait as well.
        child.due_at = max(now, child.started_at + interval_s)
        pause_s = child.due_at - now
        child.process = None
        after = f" in {pause_s:.2g} s" if pause_s else ""
        where = f"; see {child.program.log}" if child.program.log else ""
        self._say(f"{child.program.name} ended ({_how(process.returncode)}{where}); starting it again{after}")

    def _stop(self) -> None:
        """Stop stage after stage: what takes requests first, what holds the queue last."""
        for stage in reversed(self._stages):
            running = [(child.process, child.program) for child in stage if child.process is not None]
            for process, _ in running:
                process.terminate()
            for process, program in running:
                self._wait_for_end(process, program)

    def _wait_for_end(self, process: subprocess.Popen[bytes], program: Program) -> None:
        deadline = time.monotonic() + program.stop_grace_s
        while process.poll() is None and time.monotonic() < deadline:
            if _wait_for({signal.SIGCHLD, *STOP_SIGNALS}, deadline - time.monotonic()) in STOP_SIGNALS:
                break  # asked twice: no more patience
        if process.poll() is None:
            self._say(f"{program.name} does not stop by itself; killing it")
        _kill_group(process)
        process.wait()

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


def _interval_after(early_ends: int) -> float:
    """Return the least time between two starts: none at first, then doubling; it never gives up."""
    return 0.0 if early_ends < 2 else min(LONGEST_INTERVAL_S, FIRST_INTERVAL_S * 2.0 ** min(early_ends - 2, 16))


def _soonest(*moments: float | None) -> float | None:
    known = [moment for moment in moments if moment is not None]
    return min(known) if known else None


def _prepare_child(launcher: int) -> None:
    """Between fork and exec: take signals again, and be stopped should the launcher be killed."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if sys.platform == "linux":
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != launcher:
            os._exit(1)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _how(status: int) -> str:
    return f"signal {-status}, {signal.strsignal(-status)}" if status < 0 else f"exit status {status}"
