"""What a worker process does for itself: ends when it hangs as a whole, makes way for a fresh one when it ails."""

import faulthandler
import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
# A large picture takes memory and gives it back; growth is what stays for so many looks.
LOOKS_THAT_MAKE_GROWTH = 10
STATUS = Path("/proc/self/status")


class Upkeep:
    """A thread beside the lanes. `ask_for_end` gets, once, the reason why a fresh process should take over.

    No Python code runs while something computes for ever with the interpreter's lock in hand: for that there is a
    native timer, which this thread winds up again and again, and which ends the process when nobody does.
    """

    def __init__(
        self, ask_for_end: Callable[[str], None], *, hang_s: float, max_growth_mb: int, max_failures: int
    ) -> None:
        self._ask_for_end = ask_for_end
        self._hang_s = hang_s
        self._max_growth_mb = max_growth_mb
        self._max_failures = max_failures
        self._failures = 0
        self._start_mb = 0.0
        self._looks_above = 0
        self._has_asked = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> None:
        """Take the memory of this moment as the base, and begin."""
        self._start_mb = resident_mb()
        self._thread.start()

    def stop(self) -> None:
        """End the thread and stop the timer."""
        self._stop.set()
        if self._thread.ident is not None:  # it was started
            self._thread.join()
        faulthandler.cancel_dump_traceback_later()

    def note(self, were_failures_of_ours: Iterable[bool]) -> None:
        """Count the jobs in a row at which this worker failed, not their pictures; any other outcome begins anew."""
        for was_failure in were_failures_of_ours:
            self._failures = self._failures + 1 if was_failure else 0
            if self._max_failures and self._failures >= self._max_failures:
                self._ask(f"{self._failures} jobs in a row failed for no fault of their pictures")

    def _run(self) -> None:
        while not self._stop.is_set():
            faulthandler.dump_traceback_later(self._hang_s, exit=True)
            self._look_at_memory()
            self._stop.wait(LOOK_EVERY_S)

    def _look_at_memory(self) -> None:
        growth_mb = resident_mb() - self._start_mb
        is_above = 0 < self._max_growth_mb < growth_mb
        self._looks_above = self._looks_above + 1 if is_above else 0
        if self._looks_above >= LOOKS_THAT_MAKE_GROWTH:
            self._ask(f"it has grown by {growth_mb:.0f} MB, MAX_MEMORY_GROWTH_MB={self._max_growth_mb}")

    def _ask(self, reason: str) -> None:
        if not self._has_asked:
            self._has_asked = True
            log.warning("asking for a fresh worker: %s", reason)
            self._ask_for_end(reason)


def resident_mb() -> float:
    """The memory of this process that is its own, in MB; 0 where the system does not tell."""
    try:
        lines = STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024
