"""Progress of a command: a line that counts up on a terminal, one line at the end elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

SHOW_EVERY_S = 0.2


class Progress:
    """Counts what passes through it."""

    def __init__(self, what: str, count: int) -> None:
        self._what = what
        self._count = count
        self._shown_at = 0.0

    def through(self, items: Iterable[Item]) -> Iterator[Item]:
        """The same items."""
        begin, done = time.monotonic(), 0
        for item in items:
            yield item
            done += 1
            if sys.stdout.isatty() and time.monotonic() - self._shown_at > SHOW_EVERY_S:
                self._shown_at = time.monotonic()
                sys.stdout.write(f"\r{self._what}: {done}/{self._count}")
                sys.stdout.flush()
        line = f"{self._what}: {done}/{self._count} in {time.monotonic() - begin:.1f} s"
        sys.stdout.write(f"\r{line}\n" if sys.stdout.isatty() else f"{line}\n")
        sys.stdout.flush()
