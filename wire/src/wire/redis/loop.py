"""A background thread that repeats one step, survives its faults, and is started again should it die."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from typing import Final

from wire.errors import QueueUnavailable

log = logging.getLogger(__name__)

STOP_TIMEOUT_S: Final = 5.0
FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 1.0

# Without a seed that processes forked from one another would share.
_random = random.SystemRandom()


def jittered(ceiling_s: float) -> float:
    """Return a random time between half the ceiling and the ceiling."""
    return ceiling_s * _random.uniform(0.5, 1.0)


class Backoff:
    """The time to wait before the next attempt: 50 ms doubling to 1 s, jittered so that no two retry as one."""

    def __init__(self) -> None:
        self._ceiling_s = FIRST_PAUSE_S

    def next_pause_s(self) -> float:
        """Return the pause and make the next one longer."""
        ceiling_s, self._ceiling_s = self._ceiling_s, min(self._ceiling_s * 2, LONGEST_PAUSE_S)
        return jittered(ceiling_s)

    def reset(self) -> None:
        """Begin again with short pauses: something worked."""
        self._ceiling_s = FIRST_PAUSE_S


class Loop:
    """Repeats `step` with `interval_s` between; after a fault it waits longer and longer, up to a second."""

    def __init__(self, name: str, step: Callable[[], None], interval_s: float = 0.0) -> None:
        self._name = name
        self._step = step
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._wake = threading.Event()  # ends the pause, to stop or to continue
        self._is_failing = False
        # Not the thread's own is_alive(): where gevent has patched it, that has every other greenlet run first.
        self.is_running = False
        self._thread: threading.Thread | None = None

    @property
    def is_stopping(self) -> bool:
        """Return whether `stop` has been called."""
        return self._stop.is_set()

    def start(self) -> None:
        """Start the thread where none runs, for the first time or again; cheap enough for the hot path."""
        if self.is_running:
            return
        with self._lock:
            if self._stop.is_set() or self.is_running:
                return
            if self._thread is not None:
                log.error("thread %s has died; starting it again", self._name)
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self.is_running = True
            try:
                self._thread.start()
            except RuntimeError:  # no thread to be had
                self.is_running, self._thread = False, None
                raise

    def ask_to_stop(self) -> None:
        """Make the thread end after its step."""
        self._stop.set()
        self._wake.set()

    def hurry(self) -> None:
        """Make the next step begin without a pause."""
        self._wake.set()

    def stop(self) -> None:
        """Ask the thread to end and wait for it."""
        self.ask_to_stop()
        with self._lock:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        try:
            self._repeat()
        finally:
            self.is_running = False

    def _repeat(self) -> None:
        backoff = Backoff()
        while not self._stop.is_set():
            pause_s = self._interval_s
            try:
                self._step()
                self._report_recovery()
                backoff.reset()
            except QueueUnavailable as error:
                self._report_fault(error)
                pause_s = backoff.next_pause_s()
            except Exception:
                # The loop's edge: any error is logged, and the next round may work.
                log.exception("%s: unexpected fault", self._name)
                pause_s = backoff.next_pause_s()
            if pause_s:
                self._wake.wait(pause_s)
                self._wake.clear()

    def _report_fault(self, error: QueueUnavailable) -> None:
        """Log an outage once, not with each attempt."""
        log.log(logging.DEBUG if self._is_failing else logging.WARNING, "%s: %s", self._name, error)
        self._is_failing = True

    def _report_recovery(self) -> None:
        if self._is_failing:
            log.info("%s: works again", self._name)
        self._is_failing = False
