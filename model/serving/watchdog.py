"""The watchdog of a worker process: it ends a process that hangs, and requests a restart after repeated failures."""

import faulthandler
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from wire.redis.loop import Loop

log = logging.getLogger(__name__)

POLL_EVERY_S = 1.0
# A large image takes memory and gives it back; growth is what stays for so many polls.
POLLS_THAT_MAKE_GROWTH = 10
STATUS = Path("/proc/self/status")


class Watchdog:
    """A thread that calls `ask_for_end` once, with the reason why a fresh process should take over.

    No Python code runs while something computes for ever with the interpreter's lock in hand: for that there is a
    native timer of `hang_s` seconds, which this thread restarts at each poll, and which ends the process.
    """

    def __init__(
        self,
        ask_for_end: Callable[[str], None],
        *,
        hang_s: float,
        max_growth_mb: int,
        max_failures: int,
        held_mb: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Take `held_mb`, memory that the worker holds on purpose, for no growth."""
        self._ask_for_end, self._held_mb = ask_for_end, held_mb
        self._hang_s, self._max_growth_mb, self._max_failures = hang_s, max_growth_mb, max_failures
        self._failures = 0
        self._start_mb = 0.0
        self._polls_above = 0
        self._has_asked = False
        self._loop = Loop("watchdog", self._poll, POLL_EVERY_S)

    def start(self) -> None:
        """Take the memory of this moment as the base, and begin."""
        self._start_mb = resident_mb()
        self._loop.start()

    def stop(self) -> None:
        """End the thread and stop the timer."""
        self._loop.stop()
        faulthandler.cancel_dump_traceback_later()

    def note(self, were_internal_failures: Iterable[bool], is_sound: Callable[[], bool]) -> None:
        """Count the jobs in a row that failed with an unforeseen error; any other outcome resets the count.

        At so many, `is_sound` decides: where a job of the worker's own succeeds, the requests are the cause.
        """
        for was_internal in were_internal_failures:
            self._failures = self._failures + 1 if was_internal else 0
            if self._max_failures and self._failures >= self._max_failures:
                if is_sound():
                    log.warning("%d jobs in a row failed, but an image of its own is classified", self._failures)
                    self._failures = 0
                else:
                    self._ask(f"{self._failures} jobs in a row failed, and so does an image of its own")

    def _poll(self) -> None:
        faulthandler.dump_traceback_later(self._hang_s, exit=True)
        growth_mb = resident_mb() - self._start_mb - self._held_mb()
        is_above = 0 < self._max_growth_mb < growth_mb
        self._polls_above = self._polls_above + 1 if is_above else 0
        if self._polls_above >= POLLS_THAT_MAKE_GROWTH:
            self._ask(f"it has grown by {growth_mb:.0f} MB, MAX_MEMORY_GROWTH_MB={self._max_growth_mb}")

    def _ask(self, reason: str) -> None:
        if not self._has_asked:
            self._has_asked = True
            log.warning("asking for a fresh worker: %s", reason)
            self._ask_for_end(reason)


def resident_mb() -> float:
    """Return the memory of this process that is its own, in MB; 0 where the system does not report it."""
    try:
        lines = STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024
