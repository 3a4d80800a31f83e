"""One service at a time for many tests, and how hard it is hurt."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sightline_testing.faults.figures import Figure
from sightline_testing.faults.sabotage import NOTHING
from sightline_testing.faults.system import System, running_system
from sightline_testing.service import REPOSITORY

IS_FULL = bool(os.environ.get("FULL"))
HAS_TWINS = bool(os.environ.get("TWINS"))
# A machine that is slow by chance answers within this; only FULL=1 asserts times, and runs with the real deadline.
LONG_DEADLINE = {"REQUEST_TIMEOUT_S": "60"}
USUAL: Mapping[str, str] = {"FAULT_INJECTION": "1"} | ({} if IS_FULL else LONG_DEADLINE)

FIGURES = REPOSITORY / "var" / "test-results" / "faults.txt"

Value = TypeVar("Value")


@dataclass(frozen=True)
class Scale:
    """How long and how hard: a short run asserts counts only, a full one times too."""

    is_full: bool

    def of(self, short: Value, full: Value) -> Value:
        """The value for the short run, or for the full one."""
        return full if self.is_full else short

    def tell(self, text: str) -> None:
        """Show a figure, and write it to the results of the tests."""
        sys.stdout.write(f"{text}\n")
        FIGURES.parent.mkdir(parents=True, exist_ok=True)
        with FIGURES.open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")

    def judge(self, what: str, *figures: Figure, note: object = "") -> None:
        """Write all figures in one line; then raise AssertionError for those that are missed."""
        self.tell(f"{what}: {'; '.join(map(str, figures))}{f' [{note}]' if note else ''}")
        missed = [str(figure) for figure in figures if not figure.is_met]
        assert not missed, f"{what}: {'; '.join(missed)}"


class Keeper:
    """Keeps the last service running for the next test that wants the same."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._stack = ExitStack()
        self._wanted: tuple[object, ...] = ()
        self.system: System | None = None
        self.sabotage = NOTHING

    def give(self, changes: Mapping[str, str] = USUAL, *, workers: int = 2, redis_socket: str = "") -> System:
        """A running service with these settings, less what `sabotage` takes out."""
        wanted = ({**changes, **self.sabotage.settings}, workers, redis_socket, self.sabotage)
        if self.system is None or wanted != self._wanted:
            self._start({**changes, **self.sabotage.settings}, workers, redis_socket)
            self._wanted = wanted
        assert self.system is not None
        self.system.wait_until_ready()
        return self.system

    def stop(self) -> None:
        """End the service, if one runs."""
        self.system = None
        self._stack.close()

    def _start(self, changes: Mapping[str, str], workers: int, redis_socket: str) -> None:
        self.stop()
        source = self.sabotage.source(self._next_folder())
        running = running_system(
            self._next_folder(), changes, workers=workers, redis_socket=redis_socket, source=source
        )
        self.system = self._stack.enter_context(running)

    def _next_folder(self) -> Path:
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        return folder
