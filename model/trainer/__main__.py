"""`python -m trainer`: wait for orders, and have each done by `python -m trainer.execute` at low priority.

A process that ends without an outcome was killed or has crashed: its order is taken up again once, and then fails. Of
two trainers of a queue one has the lease, and the other waits until it expires.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import settings
from wire.errors import MessageError, QueueUnavailable
from wire.orders.messages import MAX_ATTEMPTS
from wire.orders.trainer_desk import BEAT_EVERY_S, Taken, TrainerDesk

STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}
# Training takes minutes; what takes longer than this hangs.
ORDER_TIMEOUT_S = 3600.0
CHILD_GRACE_S = 5.0
# How often an idle trainer checks whether a search is due.
SEARCH_CHECK_S = 60.0
HERE = Path(__file__).resolve().parents[1]
# Files next to the versions, written by the commands that choose among them.
WATCHED = ("active", "shadow", "promotions.csv")


class Trainer:
    """Waits for orders until a stop signal; all signals that matter are blocked, and waited for between two steps."""

    def __init__(self) -> None:
        self._name = f"{os.uname().nodename[:40]}:{os.getpid()}"
        self._desk = TrainerDesk(settings.queue_address(), settings.REDIS_QUEUE, self._name)
        self._published: object = None
        self._fault = ""
        self._is_stopping = False
        self._search_at = 0.0

    def run(self) -> None:
        """Work until a stop signal comes."""
        while not self._is_stopping:
            try:
                self._step()
                self._note("")
            except QueueUnavailable as fault:
                self._published = None  # a Redis that was lost knows no versions
                self._note(str(fault))
                self._wait(BEAT_EVERY_S)
            self._wait(0)
        self._desk.leave()

    def _step(self) -> None:
        if not self._desk.lead():
            self._wait(BEAT_EVERY_S)
            return
        if (marks := list(_marks(settings.bundles_folder()))) != self._published:
            self._watch(_spawned("--versions"), BEAT_EVERY_S * 60)
            self._published = marks
        taken = self._desk.take(BEAT_EVERY_S)
        if taken is not None:
            self._do(taken)
        elif settings.SUGGEST_EVERY_H and time.monotonic() > self._search_at:
            self._search_at = time.monotonic() + SEARCH_CHECK_S
            self._desk.order_search(int(settings.SUGGEST_EVERY_H * 3600))

    def _do(self, taken: Taken) -> None:
        """Have an order done, or given up where that was tried often enough."""
        is_given_up = taken.attempt > MAX_ATTEMPTS
        if not self._desk.begin(taken):
            return
        words = (taken.order_id, str(taken.attempt), self._name, taken.note)
        status = self._watch(_spawned(*(("--give-up",) if is_given_up else ()), *words), ORDER_TIMEOUT_S)
        if self._is_stopping or self._desk.has_outcome(taken.order_id):
            return
        reason = f"the process that did it ended ({status}); the log of the trainer has more"
        _say(f"order {taken.order_id}, attempt {taken.attempt}: {reason}", "WARNING")
        if is_given_up or _is_unreadable(self._desk, taken.order_id):
            self._desk.failed(taken.order_id, f"it was interrupted {MAX_ATTEMPTS} times: {reason}")

    def _watch(self, child: "Child", timeout_s: float) -> str:
        """Wait for a process while the lease is renewed; return how it ended."""
        until = time.monotonic() + timeout_s
        while (status := child.ended()) is None:
            has_lease = True
            with suppress(QueueUnavailable):  # Redis may be back before the process needs it
                has_lease = self._desk.lead()
            if self._is_stopping or not has_lease or time.monotonic() > until:
                return child.stop()
            self._wait(BEAT_EVERY_S)
        return status

    def _wait(self, seconds: float) -> None:
        """Wait until a signal comes, at most so long."""
        received = signal.sigtimedwait({*STOP_SIGNALS, signal.SIGCHLD}, seconds)
        if received is not None and received.si_signo in STOP_SIGNALS:
            self._is_stopping = True

    def _note(self, fault: str) -> None:
        """Log an outage once, and its end."""
        if bool(fault) != bool(self._fault):
            _say(fault or "works again", "WARNING" if fault else "INFO")
        self._fault = fault


class Child:
    """A process that ends with this one: it reads from a pipe without a writer, which breaks then."""

    def __init__(self, command: list[str]) -> None:
        read_end, self._write_end = os.pipe()
        environment = settings.for_orders()
        actions = [(os.POSIX_SPAWN_DUP2, read_end, 0), (os.POSIX_SPAWN_CLOSE, read_end)]
        try:
            self._pid = os.posix_spawn(command[0], command, environment, file_actions=actions, setsigmask=())
        finally:
            os.close(read_end)
        self._status: str | None = None

    def ended(self) -> str | None:
        """Return how it ended; None while it runs."""
        if self._status is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                os.close(self._write_end)
                code = os.waitstatus_to_exitcode(status)
                self._status = f"signal {-code}" if code < 0 else f"exit status {code}"
        return self._status

    def stop(self) -> str:
        """End it and return how it ended."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            os.kill(self._pid, number)
            until = time.monotonic() + CHILD_GRACE_S
            while time.monotonic() < until:
                if (status := self.ended()) is not None:
                    return status
                time.sleep(0.02)
        return "it does not end"


def _spawned(*arguments: str) -> Child:
    return Child([sys.executable, "-m", "trainer.execute", *arguments])


def _is_unreadable(desk: TrainerDesk, order_id: str) -> bool:
    """Return whether an order is unknown, such as one of a later release."""
    try:
        desk.find(order_id)
    except MessageError:
        return True
    return False


def _marks(bundles: Path) -> Iterator[tuple[str, int]]:
    """Yield what changes when a version comes or goes, or another one is served."""
    with suppress(OSError):
        for path in (bundles, *sorted(each for each in bundles.iterdir() if each.is_dir())):
            yield path.name, path.stat().st_mtime_ns
    for name in WATCHED:
        with suppress(OSError):
            yield name, (bundles / name).stat().st_mtime_ns


def _say(text: str, level: str = "INFO") -> None:
    """Print a line of the log, as the workers' logs are; the logging package would take a megabyte."""
    is_text = settings.LOG_FORMAT == "text" or (settings.LOG_FORMAT == "auto" and sys.stderr.isatty())
    line = {"level": level, "logger": "trainer", "pid": os.getpid(), "message": text}
    with suppress(OSError):
        sys.stderr.write(f"[{level}] trainer: {text}\n" if is_text else f"{json.dumps(line, ensure_ascii=False)}\n")
        sys.stderr.flush()


def main() -> int:
    """Run until a stop signal; return the exit status."""
    os.chdir(HERE)
    signal.pthread_sigmask(signal.SIG_BLOCK, {*STOP_SIGNALS, signal.SIGCHLD})
    _say("waits for orders")
    trainer = Trainer()
    if settings.READY_FD:
        with suppress(OSError):
            os.write(settings.READY_FD, b"1")
    trainer.run()
    _say("stopped")
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main())
