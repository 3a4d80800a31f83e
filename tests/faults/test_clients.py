"""Clients that are slow, go away, or break off: the others do not notice."""

import time

from sightline_testing.faults.figures import Figure
from sightline_testing.faults.keeper import LONG_DEADLINE, Keeper, Scale
from sightline_testing.faults.ledger import Ledger, Outcome
from sightline_testing.faults.leftovers import nothing_left_over
from sightline_testing.faults.load import Load
from sightline_testing.faults.questions import copies
from sightline_testing.faults.rates import usual_rate
from sightline_testing.faults.rude import Drip, ask_and_go, break_off
from sightline_testing.faults.system import System
from sightline_testing.waiting import wait_until

SLOW_CLIENTS = 200
RATE = 10.0
# The full run takes the shipped deadlines of 10 s.
HURRIED = {"HEAD_TIMEOUT_S": "2", "UPLOAD_PACE_S": "2"} | LONG_DEADLINE


def test_slow_clients_are_let_go_and_the_others_are_served(keeper: Keeper, scale: Scale) -> None:
    system = keeper.give(scale.of(HURRIED, {}))
    with nothing_left_over(system):
        usual = loaded(system, scale, scale.of(1.0, 20.0))
        with Load(system.url, system.asked, rate=usual_rate(system, scale, RATE)) as load:
            with Drip(system.url, SLOW_CLIENTS, scale.of(0.2, 1.0)) as drip:
                time.sleep(scale.of(0.5, 5.0))
                assert drip.open_count == SLOW_CLIENTS, "they were held while they still had time"
                wait_until(lambda: not drip.open_count, "every slow client is disconnected", 60)
            lives_s = max(drip.closed_after_s)
        if scale.is_full:
            p99_s, usual_p99_s = (each.percentile_s(0.99, Outcome.RIGHT) for each in (load.ledger, usual))
            scale.judge(
                f"{SLOW_CLIENTS} slow clients",
                Figure("good clients answered", 100 * load.ledger.share(Outcome.RIGHT), "%", least=100),
                Figure("their p99", p99_s, most=2 * usual_p99_s),
                Figure("the last slow client let go after", lives_s, most=30),
                note=load.ledger,
            )
        assert_all_right(load.ledger)


def test_nobody_works_for_clients_that_went_away(system: System, scale: Scale) -> None:
    """Workers that stand still cannot do the jobs: they go away with those who sent them."""
    contents = (content for _, _, content in copies(system.asked))
    count = scale.of(30, 300)
    with nothing_left_over(system):
        with system.held_workers():
            before = system.last_job()
            ask_and_go(system.url, contents, count)
            wait_until(lambda: system.last_job() != before, "their jobs are in the queue")
            wait_until(lambda: system.queue_depth() == 0, "their jobs were cancelled")
        assert_all_right(loaded(system, scale, scale.of(0.5, 5.0)))


def test_broken_off_requests_leave_nothing_behind(system: System, scale: Scale) -> None:
    with nothing_left_over(system), Load(system.url, system.asked, rate=usual_rate(system, scale, RATE)) as load:
        break_off(system.url, scale.of(200, 5_000))
        ask_and_go(system.url, (content for _, _, content in copies(system.asked)), scale.of(30, 300))
        time.sleep(scale.of(0.5, 5.0))
    # Until it shows that they have gone, their jobs take the places of others.
    assert load.ledger.count(Outcome.RIGHT, Outcome.REFUSED) == len(load.ledger.entries), load.ledger
    with nothing_left_over(system):
        assert_all_right(loaded(system, scale, scale.of(0.5, 5.0)))


def loaded(system: System, scale: Scale, seconds: float) -> Ledger:
    with Load(system.url, system.asked, rate=usual_rate(system, scale, RATE)) as load:
        time.sleep(seconds)
    return load.ledger


def assert_all_right(ledger: Ledger) -> None:
    assert ledger.count(Outcome.RIGHT), ledger
    assert not ledger.failed(), ledger
    assert not ledger.doubled
