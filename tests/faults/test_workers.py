"""Workers are killed, restarted, poisoned: every good image is answered all the same, and no good job is buried."""

import hashlib
import itertools
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from sightline_testing.faults.figures import Figure
from sightline_testing.faults.keeper import USUAL, Keeper, Scale
from sightline_testing.faults.ledger import Ledger, Outcome, percentile
from sightline_testing.faults.leftovers import nothing_left_over
from sightline_testing.faults.load import Load
from sightline_testing.faults.rates import usual_rate
from sightline_testing.faults.system import System, sleep_until
from sightline_testing.waiting import wait_until
from wire import Job

CLIENTS = 24
AT_STAKE = 2
LEASE_S = 1.0
PATIENCE_S = 120.0
RESTART_S = 3.0
MAX_BATCH_S = 3
# Long deadlines also in the full run: a poison has to use up its deliveries before its caller gets the error.
POISONED = {**USUAL, "REQUEST_TIMEOUT_S": "55", "MAX_BATCH_S": f"{MAX_BATCH_S}"}
LONGEST_S = 4 * (LEASE_S + MAX_BATCH_S + RESTART_S)
POISONS = ("abort", "memory", "hang", "hang-locked")


def test_no_job_is_lost_when_workers_are_killed(system: System, scale: Scale) -> None:
    with nothing_left_over(system):
        written = replies_written(system)
        with Load(system.url, system.asked, clients=CLIENTS) as load:
            ready_s = list(kill_alternately(system, scale))
        written = replies_written(system) - written
        if scale.is_full:
            ledger = load.ledger
            again = max(written - len(ledger.entries), 0)
            scale.judge(
                f"workers killed {len(ready_s)} times",
                Figure("lost or wrong", len(ledger.entries) - ledger.count(Outcome.RIGHT), "requests", most=0),
                Figure("p99", ledger.percentile_s(0.99, Outcome.RIGHT), most=LEASE_S + 1.0),
                Figure("done twice", 100 * again / max(written, 1), "%", most=0.1),
                Figure("ready again, at the latest", max(ready_s), most=RESTART_S),
                note=f"{ledger}; ready again, median {percentile(ready_s, 0.5):.2f} s; {written} replies",
            )
            assert written, "Redis before 7.0 does not say how many replies there were"
        assert_all_right(load.ledger)


@pytest.mark.full
def test_most_requests_are_answered_while_a_worker_is_killed_each_second(system: System, scale: Scale) -> None:
    """Each lives for two seconds, of which it loads for one: the pauses between must not grow as well."""
    with nothing_left_over(system):
        with Load(system.url, system.asked, rate=usual_rate(system, scale, 10.0)) as load:
            until = time.monotonic() + scale.of(12.0, 60.0)
            while time.monotonic() < until:
                time.sleep(1.0)
                for pid in system.worker_pids()[:1]:
                    system.kill(pid)
        right = Figure("right answers", 100 * load.ledger.share(Outcome.RIGHT), "%", least=80)
        scale.judge("a worker killed each second", right, note=load.ledger)
        assert not load.ledger.count(Outcome.WRONG), load.ledger


def test_no_request_fails_when_workers_are_restarted_one_by_one(system: System, scale: Scale) -> None:
    with nothing_left_over(system):
        with Load(system.url, system.asked, rate=usual_rate(system, scale, 15.0)) as load:
            restarts = restart_alternately(system, scale)
        if scale.is_full:
            scale.tell(f"workers restarted {restarts} times: {load.ledger}")
        assert_all_right(load.ledger)


def test_poison_is_answered_with_an_error_and_harms_no_innocent_job(keeper: Keeper, scale: Scale) -> None:
    system = keeper.give(POISONED)
    # All together is harsher, one by one can be timed.
    groups: list[tuple[str, ...]] = scale.of([POISONS], [(kind,) for kind in POISONS])
    times: list[Figure] = []
    with Load(system.url, system.asked, rate=usual_rate(system, scale, 10.0)) as load:
        for kinds in groups:
            with nothing_left_over(system, dead_letters=len(kinds)):
                time.sleep(scale.of(0.5, 40.0))
                seconds = give_poison(system, kinds)
                times.append(Figure(f"{', '.join(kinds)} answered after", seconds, most=LONGEST_S))
                time.sleep(scale.of(0.5, 40.0))
            system.redis("DEL", system.keys.dead)
    if scale.is_full:
        scale.judge("poison", *times, note=load.ledger)
    # Where one kind takes a worker and another one hangs in the other, what comes then is refused, and never taken.
    assert not load.ledger.failed(), load.ledger
    assert not load.ledger.doubled, load.ledger
    assert load.ledger.count(Outcome.RIGHT), load.ledger
    if scale.is_full:
        assert load.ledger.share(Outcome.RIGHT) > 0.9, load.ledger


def kill_alternately(system: System, scale: Scale) -> Iterator[float]:
    """Kill a worker some time after it reports ready, then the other; yield how long each took to restart."""
    until = time.monotonic() + scale.of(0.0, 300.0)
    for count in itertools.count():
        if count >= scale.of(3, 0) and time.monotonic() >= until:
            return
        time.sleep(scale.of(0.3, 2.0))
        victim = system.worker_pids()[0]  # the one that lives longest
        yield seconds_until_replaced(system, victim, signal.SIGKILL)


def seconds_until_replaced(system: System, pid: int, with_signal: signal.Signals) -> float:
    begin = time.monotonic()
    system.kill(pid, with_signal)
    wait_until(lambda: pid not in system.worker_pids(), f"worker {pid} ends", PATIENCE_S)
    system.wait_until_ready()
    return time.monotonic() - begin


def restart_alternately(system: System, scale: Scale) -> int:
    """Have one worker after the other end with jobs in its hands, which it has to finish; gives how often."""
    until, count = time.monotonic() + scale.of(0.0, 120.0), 0
    while count < scale.of(3, 0) or time.monotonic() < until:
        begin = time.monotonic()
        stop_amid_work(system, system.worker_pids()[0])
        system.wait_until_ready()
        count += 1
        sleep_until(begin + scale.of(0.0, 3.0))
    return count


def stop_amid_work(system: System, pid: int) -> None:
    with system.held_workers():
        wait_until(lambda: system.queue_depth() >= AT_STAKE, "jobs are at stake")
        system.kill(pid, signal.SIGTERM)
    wait_until(lambda: pid not in system.worker_pids(), f"worker {pid} ends", PATIENCE_S)
    left = [job for job, consumer in system.in_hands() if f":{pid}:".encode() in consumer]
    assert not left, f"worker {pid} was stopped and left unfinished jobs: {left}"


def give_poison(system: System, kinds: Sequence[str]) -> float:
    """Send these images together, see that each is answered as poison, and that no other job was given up."""
    before = dead_images(system)
    images = {kind: system.asked[0].copy(kind.encode()) + f"sightline-fault:{kind}".encode() for kind in kinds}
    begin = time.monotonic()
    with ThreadPoolExecutor(len(kinds)) as pool:
        responses = list(pool.map(lambda image: system.client.upload("/predict", image), images.values()))
    seconds = time.monotonic() - begin
    assert [(each.status, each.json().get("code")) for each in responses] == [(500, "poison")] * len(kinds)
    wanted = [f"{hashlib.md5(image, usedforsecurity=False).hexdigest()}.jpg" for image in images.values()]
    assert sorted(dead_images(system)) == sorted([*before, *wanted]), "jobs other than the poison were abandoned"
    return seconds


def dead_images(system: System) -> list[str]:
    """The names of the images whose jobs were given up."""
    letters = system.redis("XRANGE", system.keys.dead, "-", "+")
    return [Job.decode(dict(zip(each[::2], each[1::2], strict=True))[b"job"]).image for _, each in letters]


def replies_written(system: System) -> int:
    """How many replies workers have written since the api began, its first questions taken off; 0 before Redis 7."""
    streams = system.redis("KEYS", system.keys.replies("*").replace("{", "[{]"))
    facts = [system.redis("XINFO", "STREAM", name) for name in streams]
    return sum(int(dict(zip(each[::2], each[1::2], strict=True)).get(b"entries-added", 0)) for each in facts)


def assert_all_right(ledger: Ledger) -> None:
    assert ledger.count(Outcome.RIGHT), ledger
    assert not ledger.failed(), ledger
    assert not ledger.doubled
