"""How far an order is, published while it is done; and what its command has printed."""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any

from wire.errors import QueueUnavailable
from wire.orders.messages import Order, Progress
from wire.orders.trainer_desk import TrainerDesk

MAX_LINES, MAX_LINE = 60, 500
# Of an estimate of the time that is left: as if so many seconds had been as usual, and how unusual an order can be.
PRIOR_S, MAX_PACE = 5.0, 10.0


def typical_s(order: Order, done: Iterable[tuple[Order, Mapping[str, Any]]]) -> list[float]:
    """Return the seconds of each step of the last order that was like this one; none where there was none."""
    for other, result in done:
        is_alike = other.kind == order.kind and ("evaluate" in other.arguments) == ("evaluate" in order.arguments)
        if is_alike and (steps_s := result.get("steps_s")):
            return [float(seconds) for seconds in steps_s]
    return []


class Reporter:
    """The listener of the commands of one order.

    How many steps there are is known by the kind of order: `expect` returns it. How long those to come take is
    estimated from `typical_s`, the seconds of each step of an order that was like this one, by the pace of this one.
    """

    def __init__(self, desk: TrainerDesk, begun: Progress, typical_s: Sequence[float] = ()) -> None:
        self._desk = desk
        self._typical_s = typical_s
        # When each step began, and the one before the first.
        self._begun_at = [time.monotonic()]
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
        if step > self._progress.step:
            self._begun_at.append(time.monotonic())
        steps, left_s = max(step, self._progress.steps), round(left_s, 1)
        now = replace(self._progress, step=step, steps=steps, what=what, done=done, count=count, left_s=left_s)
        self._publish(replace(now, total_left_s=round(self._total_left_s(step, steps, left_s), 1)))

    def _total_left_s(self, step: int, steps: int, left_s: float) -> float:
        """Return how many seconds the order takes yet; 0 where no order was like it."""
        typical_s = self._typical_s[: steps + 1]
        if len(typical_s) <= step:
            return 0.0
        # The pace of this order is not known before something of it is done, and is inaccurate at first.
        spent_s, usual_s = self._begun_at[-1] - self._begun_at[0], sum(typical_s[:step])
        pace = min(max((spent_s + PRIOR_S) / (usual_s + PRIOR_S), 1 / MAX_PACE), MAX_PACE)
        of_step_s = pace * typical_s[step] - (time.monotonic() - self._begun_at[-1])
        return max(left_s, of_step_s, 0.0) + pace * sum(typical_s[step + 1 :])

    def line(self, text: str, *, is_warning: bool) -> None:
        """Keep a line for clients that request the result of the order."""
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
            "steps_s": [round(end - begin, 1) for begin, end in pairwise((*self._begun_at, time.monotonic()))],
        }

    def _publish(self, progress: Progress) -> None:
        self._progress = progress
        with suppress(QueueUnavailable):  # the order continues while Redis is away
            self._desk.report(progress)
