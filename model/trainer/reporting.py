"""How far an order is, published while it is done; and what its command has printed."""

import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

from wire.errors import QueueUnavailable
from wire.orders.messages import Progress
from wire.orders.trainer_desk import TrainerDesk

MAX_LINES, MAX_LINE = 60, 500


class Reporter:
    """The listener of the commands of one order.

    How many steps there are, and how long those to come take, is known by the kind of order: `expect` says it.
    """

    def __init__(self, desk: TrainerDesk, begun: Progress) -> None:
        self._desk = desk
        self._progress = begun
        self._warnings: list[str] = []
        self._lines: list[str] = []
        self._began = time.monotonic()

    @property
    def note(self) -> str:
        """Return what the attempt before has noted, or this one."""
        return self._progress.note

    def remember(self, note: str) -> None:
        """Note what a later attempt has to know."""
        self._publish(replace(self._progress, note=note))

    def expect(self, steps: int) -> None:
        """Say how many steps there will be."""
        self._publish(replace(self._progress, steps=steps))

    def progress(self, what: str, done: int, count: int, left_s: float) -> None:
        """Publish how far a step is; another name is another step."""
        step = self._progress.step + (what != self._progress.what)
        changed = {"step": step, "steps": max(step, self._progress.steps), "what": what}
        self._publish(replace(self._progress, **changed, done=done, count=count, left_s=round(left_s, 1)))  # type: ignore[arg-type]

    def line(self, text: str, *, is_warning: bool) -> None:
        """Keep a line for whoever asks what came of the order."""
        kept = self._warnings if is_warning else self._lines
        if len(kept) < MAX_LINES:
            kept.append(text[:MAX_LINE])

    def summary(self) -> dict[str, Any]:
        """Return what the commands have printed, and how long the order took, in all and of the processor."""
        return {
            "lines": self._lines,
            "warnings": self._warnings,
            "took_s": round(time.monotonic() - self._began, 1),
            "cpu_s": round(time.process_time(), 1),
        }

    def _publish(self, progress: Progress) -> None:
        self._progress = progress
        with suppress(QueueUnavailable):  # the order goes on while Redis is away
            self._desk.report(progress)
