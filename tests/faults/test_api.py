"""The api is restarted and killed: no request is refused, and only running requests of a killed process are lost."""

import itertools
import signal
import time
from functools import partial

import pytest

from sightline_testing.faults.figures import Figure
from sightline_testing.faults.keeper import Scale
from sightline_testing.faults.ledger import Ledger, Outcome
from sightline_testing.faults.leftovers import nothing_left_over
from sightline_testing.faults.load import Load
from sightline_testing.faults.rates import usual_rate
from sightline_testing.faults.system import System, sleep_until
from sightline_testing.waiting import wait_until

RATE = 15.0
PATIENCE_S = 60.0
AT_STAKE = 2
# Between the count and the kill, at the most.
SENT_MEANWHILE = 10
# In which the api gets the signal, before its running requests can be answered.
HEARD_S = 0.3


def test_no_request_fails_when_the_api_is_reloaded_again_and_again(system: System, scale: Scale) -> None:
    with nothing_left_over(system):
        assert_all_right(load_while_restarting(system, scale, signal.SIGHUP))


def test_no_request_fails_when_the_api_is_stopped_and_started_again(system: System, scale: Scale) -> None:
    with nothing_left_over(system):
        assert_all_right(load_while_restarting(system, scale, signal.SIGTERM))


def test_a_killed_api_loses_only_what_was_under_way_in_it(system: System, scale: Scale) -> None:
    kills, under_way = scale.of(2, 60), 0
    with nothing_left_over(system):
        with Load(system.url, system.asked, rate=usual_rate(system, scale, RATE)) as load:
            for kill in itertools.islice(itertools.cycle((kill_one_process, System.kill_api)), kills):
                time.sleep(scale.of(0.5, 1.0))
                with system.held_workers():
                    wait_for_requests_under_way(load)
                    under_way += load.under_way + SENT_MEANWHILE
                    kill(system)
                wait_for_answers(load)
        ledger = load.ledger
        if scale.is_full:
            scale.tell(f"api killed {kills} times: {ledger}; at most {under_way} were open")
        # The clients that waited for a new one come all together.
        assert ledger.count(Outcome.RIGHT, Outcome.LOST, Outcome.REFUSED) == len(ledger.entries), ledger
        assert kills <= ledger.count(Outcome.LOST) <= under_way, ledger
        assert not ledger.doubled


@pytest.mark.full
def test_the_api_is_back_within_three_seconds_however_often_it_is_killed(system: System, scale: Scale) -> None:
    away_s = []
    with nothing_left_over(system):
        for _ in range(scale.of(7, 20)):
            system.wait_until_ready()
            begin, before = time.monotonic(), system.api_pids()
            system.kill_api()
            wait_until(lambda: set(system.api_pids()).isdisjoint(before), "it has ended", PATIENCE_S)  # noqa: B023
            # Requests meanwhile wait in the socket, which outlives it.
            wait_until(partial(_answers, system), "it answers again", PATIENCE_S)
            away_s.append(time.monotonic() - begin)
    scale.judge("api killed again and again", Figure("away", max(away_s), most=3.0), note=f"{len(away_s)} times")


def _answers(system: System) -> bool:
    """Return whether the api answers; a process that ends resets the connections that it has accepted."""
    try:
        return system.client.get("/livez").status == 200
    except OSError:
        return False


def load_while_restarting(system: System, scale: Scale, with_signal: signal.Signals) -> Ledger:
    until = time.monotonic() + scale.of(0.0, 120.0)
    with Load(system.url, system.asked, rate=usual_rate(system, scale, RATE)) as load:
        for count in itertools.count():
            if count >= scale.of(2, 0) and time.monotonic() >= until:
                break
            begin = time.monotonic()
            restart(system, load, with_signal)
            sleep_until(begin + scale.of(0.5, 3.0))
        time.sleep(0.5)
    if scale.is_full:
        scale.tell(f"api restarted {count} times by {with_signal.name}: {load.ledger}")
    return load.ledger


def restart(system: System, load: Load, with_signal: signal.Signals) -> None:
    """Send the signal to the api's first process amid requests, and wait until others answer than before."""
    before = set(system.api_pids())
    with system.held_workers():
        wait_for_requests_under_way(load)
        system.kill(system.api_master(), with_signal)
        time.sleep(HEARD_S)
    wait_until(lambda: before.isdisjoint(system.api_pids()) and system.api_pids(), "the api is a new one", PATIENCE_S)


def wait_for_requests_under_way(load: Load) -> None:
    wait_until(lambda: load.under_way >= AT_STAKE, "requests are running", PATIENCE_S)


def wait_for_answers(load: Load) -> None:
    wanted = load.ledger.count(Outcome.RIGHT) + 5
    wait_until(lambda: load.ledger.count(Outcome.RIGHT) >= wanted, "it answers again", PATIENCE_S)


def kill_one_process(system: System) -> None:
    system.kill(system.api_pids()[0])


def assert_all_right(ledger: Ledger) -> None:
    assert ledger.count(Outcome.RIGHT), ledger
    assert not ledger.failed(), ledger
    assert not ledger.doubled
