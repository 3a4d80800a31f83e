"""What became of every request: nothing is averaged away, nothing is forgotten."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil

from sightline_testing.faults.questions import Question

# The codes of refusals that are no fault.
OF_A_SLOW_MACHINE = frozenset({"no_worker", "queue_full", "overloaded"})
_CODE = re.compile(rb'"code": "([a-z_]+)"')


class Outcome(StrEnum):
    """How a request ended."""

    RIGHT = "right"
    WRONG = "wrong"  # answered with what is not in the image
    REFUSED = "refused"  # 503 and when to come again: it was never taken
    LATE = "late"  # 504
    FAILED = "failed"  # any other status
    LOST = "lost"  # no answer, or half of one
    CUT_OFF = "cut off"  # the connection could not be made


@dataclass(slots=True)
class Entry:
    """One request: when it was due, when it ended, and how."""

    id: str
    question: Question
    due_at: float
    sent_at: float = 0.0
    ended_at: float = 0.0
    outcome: Outcome | None = None
    code: str = ""
    retry_after_s: float | None = None

    @property
    def seconds(self) -> float:
        """How long it took from the moment it was due."""
        return self.ended_at - self.due_at

    def judge(self, status: int, retry_after_s: float | None, body: bytes) -> None:
        """Note the answer."""
        self.retry_after_s = retry_after_s
        if status == 200:
            answer = json.loads(body)
            is_right = self.question.is_right(answer["prediction"], answer["score"])
            self.outcome = Outcome.RIGHT if is_right else Outcome.WRONG
            self.code = "" if is_right else body.decode(errors="replace")[:200]
            return
        found = _CODE.search(body)
        self.code = found[1].decode() if found else f"{status}"
        if status == 503 and retry_after_s is not None:
            self.outcome = Outcome.REFUSED
        else:
            self.outcome = Outcome.LATE if status == 504 else Outcome.FAILED


@dataclass(repr=False)
class Ledger:
    """All requests of one load, in the order in which they were sent."""

    entries: list[Entry] = field(default_factory=list)
    doubled: int = 0  # answers without a request

    def counts(self) -> Counter[str]:
        """How many ended in which way; with the code where it was no right answer."""
        return Counter(f"{each.outcome}{' ' + each.code if each.code else ''}" for each in self.entries)

    def ended(self, *outcomes: Outcome) -> list[Entry]:
        """Those that ended in one of these ways."""
        return [each for each in self.entries if each.outcome in outcomes]

    def count(self, *outcomes: Outcome) -> int:
        """How many ended in one of these ways."""
        return len(self.ended(*outcomes))

    def failed(self) -> list[Entry]:
        """Those that were not answered right, without refusals of what a slow machine cannot do in time.

        The api waits three seconds for a worker, which may take longer to start or to continue, and the queue takes
        what can be done within the deadline, at the rate of the moment.
        """
        harmless = [each for each in self.ended(Outcome.REFUSED) if each.code in OF_A_SLOW_MACHINE]
        return [each for each in self.entries if each.outcome is not Outcome.RIGHT and each not in harmless]

    def share(self, *outcomes: Outcome) -> float:
        """Which share of them all ended in one of these ways."""
        return self.count(*outcomes) / max(len(self.entries), 1)

    def between(self, begin: float, end: float) -> Ledger:
        """Those that were due in this time (monotonic seconds)."""
        return Ledger([each for each in self.entries if begin <= each.due_at < end])

    def percentile_s(self, share: float, *outcomes: Outcome) -> float:
        """The time within which this share of them ended; 0 where there is none."""
        return percentile((each.seconds for each in self.ended(*outcomes)), share)

    def __repr__(self) -> str:
        """What failed assertions show."""
        parts = [f"{len(self.entries)} sent", *(f"{count} {how}" for how, count in sorted(self.counts().items()))]
        times = [
            f"p50 {self.percentile_s(0.5, Outcome.RIGHT):.3f} s",
            f"p99 {self.percentile_s(0.99, Outcome.RIGHT):.3f} s",
        ]
        return ", ".join([*parts, *times])


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least this share of all is not above; 0 for none."""
    ordered = sorted(values)
    return ordered[max(ceil(len(ordered) * share) - 1, 0)] if ordered else 0.0
