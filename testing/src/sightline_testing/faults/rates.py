"""How many requests a second: few in a short run; in a full one what this machine has time for."""

from __future__ import annotations

import time

from sightline_testing.faults.keeper import Scale
from sightline_testing.faults.ledger import Ledger, Outcome
from sightline_testing.faults.load import Load
from sightline_testing.faults.system import System

CLIENTS = 32
# With one of two workers away, and the other core loading the next one, this is done all the same.
USUAL_SHARE = 0.25
MOST = 60.0
PEAK_S = 10.0

_peaks: dict[int, float] = {}


def usual_rate(system: System, scale: Scale, short: float) -> float:
    """The rate of the short run, or a share of the peak of so many workers, which is measured once."""
    if not scale.is_full:
        return short
    if system.workers not in _peaks:
        _peaks[system.workers] = peak_rate(system, PEAK_S)
        scale.tell(
            f"peak of {system.workers} workers: {_peaks[system.workers]:.0f}/s; usual load: a quarter, at most {MOST:g}"
        )
    return min(MOST, USUAL_SHARE * _peaks[system.workers])


def peak_rate(system: System, seconds: float) -> float:
    """The right answers a second that patient clients get."""
    with Load(system.url, system.asked, clients=CLIENTS) as load:
        time.sleep(seconds)
    sent = load.ledger.entries
    return goodput_of(load.ledger, sent[0].due_at, sent[-1].due_at)


def goodput_of(ledger: Ledger, begin: float, end: float) -> float:
    """The right answers a second that came in this time (monotonic seconds), for requests of any time."""
    return sum(begin <= each.ended_at < end for each in ledger.ended(Outcome.RIGHT)) / (end - begin)
