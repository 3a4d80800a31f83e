"""More requests than capacity: goodput stays, and the others immediately get a Retry-After."""

import os
import time
from typing import NamedTuple

import pytest

from sightline_testing.faults.figures import Figure
from sightline_testing.faults.keeper import USUAL, Keeper, Scale
from sightline_testing.faults.ledger import Ledger, Outcome
from sightline_testing.faults.leftovers import nothing_left_over
from sightline_testing.faults.load import Load
from sightline_testing.faults.questions import questions
from sightline_testing.faults.rates import USUAL_SHARE, goodput_of, peak_rate
from sightline_testing.faults.system import System
from sightline_testing.waiting import wait_until

# In the short run long enough for a machine that is slow by chance, and short enough to be passed without the bound.
DEADLINE_S = (4.0, 5.0)
REFUSALS = {"queue_full", "overloaded"}
TOLD = (Outcome.RIGHT, Outcome.REFUSED, Outcome.LATE)
HEALTH = ("/livez", "/readyz", "/metrics")
# Wider than those of other tests: images above 8 KB, as photographs are.
WIDTH = 400


def flooded(keeper: Keeper, scale: Scale) -> System:
    return keeper.give({**USUAL, "REQUEST_TIMEOUT_S": f"{scale.of(*DEADLINE_S)}"})


def test_a_flood_is_refused_and_what_is_accepted_is_answered(keeper: Keeper, scale: Scale) -> None:
    system = flooded(keeper, scale)
    with nothing_left_over(system):
        assert_withstood(flood(system, scale, 5.0).ledger)


@pytest.mark.full
@pytest.mark.parametrize(("factor", "share"), [(2.0, 0.95), (5.0, 0.95), (10.0, 0.90)], ids=["2x", "5x", "10x"])
def test_goodput_stays_in_a_flood(keeper: Keeper, scale: Scale, factor: float, share: float) -> None:
    system = flooded(keeper, scale)
    with nothing_left_over(system):
        told = flood(system, scale, factor)
        note = f"{told.ledger}; the clients took {told.clients:.0%} of all cores"
        scale.judge(f"{factor:g} x the peak of {told.peak:.0f}/s", *figures(told, scale, share), note=note)
        assert_withstood(told.ledger)


class Flood(NamedTuple):
    """The right answers a second at the peak and in the flood; what became of the requests before, in and 2 s after.

    And the share of the machine that the flooding clients take, which is not available to the service.
    """

    peak: float
    goodput: float
    clients: float
    ledger: Ledger
    before: Ledger
    within: Ledger
    after: Ledger


def figures(told: Flood, scale: Scale, share: float) -> list[Figure]:
    usual_s, after_s = (each.percentile_s(0.99, Outcome.RIGHT) for each in (told.before, told.after))
    accepted_s = told.within.percentile_s(0.99, Outcome.RIGHT, Outcome.LATE)
    return [
        Figure("goodput", 100 * told.goodput / told.peak, "% of the peak", least=100 * share),
        Figure("p99 of what was accepted", accepted_s, most=scale.of(*DEADLINE_S)),
        Figure("p99 of refusals", told.within.percentile_s(0.99, Outcome.REFUSED), most=0.05),
        Figure("p99 at a quarter of the peak from 2 s after", after_s, most=2 * usual_s),
    ]


def flood(system: System, scale: Scale, factor: float) -> Flood:
    """Send so many times more than can be done; meanwhile health is answered."""
    system.asked = questions(system.client, WIDTH)
    peak = peak_rate(system, scale.of(2.0, 15.0))
    with Load(system.url, system.asked, rate=USUAL_SHARE * peak) as load:
        time.sleep(scale.of(0.5, 20.0))
        begin, used_s = time.monotonic(), time.process_time()
        load.rate = factor * peak
        while time.monotonic() < begin + scale.of(4.0, 60.0):
            health = {path: system.client.get(path) for path in HEALTH}
            # After a standstill of the machine, no worker has been seen for a moment.
            failed = [path for path, told in health.items() if told.status != 200 and '"no_worker"' not in told.text]
            assert not failed
            time.sleep(0.2)
        end, used_s = time.monotonic(), time.process_time() - used_s
        load.rate = USUAL_SHARE * peak
        time.sleep(scale.of(1.0, 20.0))
    wait_until(lambda: system.client.upload("/predict", system.asked[0].content).status == 200, "the queue is open")
    if scale.is_full:
        # A machine that others share is not always as fast: the peak is that of before and after.
        peak = (peak + peak_rate(system, 15.0)) / 2
    ledger = load.ledger
    return Flood(
        peak,
        goodput_of(ledger, begin, end),
        used_s / (end - begin) / len(os.sched_getaffinity(0)),
        ledger,
        ledger.between(0, begin),
        ledger.between(begin, end),
        ledger.between(end + 2, end + 3600),
    )


def assert_withstood(ledger: Ledger) -> None:
    """Check that each request was answered or properly refused, and that few accepted ones were late."""
    assert ledger.count(*TOLD) == len(ledger.entries), ledger
    assert ledger.count(Outcome.REFUSED) > ledger.count(Outcome.LATE), ledger
    assert ledger.count(Outcome.RIGHT) > ledger.count(Outcome.LATE), ledger
    assert_told_when_to_come(ledger)


def assert_told_when_to_come(ledger: Ledger) -> None:
    """Each refusal has a code of its own and a time to come again, and these are spread."""
    refused = ledger.ended(Outcome.REFUSED)
    assert {each.code for each in refused} <= REFUSALS
    waits = {each.retry_after_s for each in refused}
    assert len(waits) > 1, f"all get the same Retry-After: {waits} s"
    assert all(wait is not None and 1 <= wait <= 10 for wait in waits)
