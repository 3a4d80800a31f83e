"""Every request of one run of Locust, and the figures that follow from them."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from stress_test.answers import REFUSED

# at (seconds since the epoch), name, milliseconds, status, fault
Request = tuple[float, str, float, int, str]


class Recorder:
    """Record the requests that start after the warm-up."""

    def __init__(self, begin: float) -> None:
        self.begin = begin
        self.end: float | None = None
        self.requests: list[Request] = []

    def add(self, at: float, name: str, took_ms: float, status: int, fault: str) -> None:
        """Keep one."""
        if at >= self.begin and (self.end is None or at < self.end):
            self.requests.append((at, name, round(took_ms, 1), status, fault))

    def stop(self, at: float) -> None:
        """Ignore requests that start later, but count those that are running."""
        self.end = at

    def document(self) -> dict[str, Any]:
        """Return what a JSON file keeps."""
        return {"begin": self.begin, "end": self.end, "requests": self.requests}


@dataclass(frozen=True)
class Figures:
    """One kind of request during a run; latencies are those of the answers that were right."""

    answered: int
    refused: int
    failed: int
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


def figures(requests: Iterable[Request], seconds: float) -> Figures:
    """Count and time requests; one that was refused as promised is not one that failed."""
    chosen = list(requests)
    took = sorted(request[2] for request in chosen if not request[4])
    refused = sum(REFUSED in request[4] for request in chosen)
    return Figures(
        answered=len(took),
        refused=refused,
        failed=len(chosen) - len(took) - refused,
        per_second=round(len(took) / seconds, 2),
        p50_ms=percentile(took, 50),
        p95_ms=percentile(took, 95),
        p99_ms=percentile(took, 99),
        max_ms=took[-1] if took else 0.0,
    )


def percentile(ordered: list[float], share: float) -> float:
    """Return the nearest-rank percentile of sorted values; 0 where there are none."""
    return ordered[max(0, math.ceil(len(ordered) * share / 100) - 1)] if ordered else 0.0


def faults(requests: Iterable[Request]) -> dict[str, int]:
    """Count what went wrong, the commonest first."""
    return dict(Counter(request[4] for request in requests if request[4]).most_common(10))
