"""When a batch is received whose images come over the network, and how many compute at the same time."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving.slots import ROUND_TRIP_S, Slots

FETCH_S, JOB_S, JOBS = 0.01, 0.01, 4
# Longer than any test takes: a thread that waits so long is woken sooner.
PATIENCE_S = 300.0


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def practised(count: int, clock: Clock, fetch_s: float = FETCH_S) -> Slots:
    """Return slots that know how long fetching and computing take."""
    slots = Slots(count, clock)
    for _ in range(3):
        with slots.computing(JOBS, fetch_s):
            clock.now_s += JOBS * JOB_S
    return slots


def is_due(slots: Slots) -> bool:
    with slots.turn(0) as due:
        return due


def test_as_many_receive_as_there_are_slots_while_none_computes(clock: Clock) -> None:
    slots = practised(2, clock)
    with slots.turn(0) as first:
        assert first
        assert is_due(slots)
        with slots.turn(0) as second:
            assert second
            assert not is_due(slots)
        assert is_due(slots)


def test_the_next_batch_is_received_when_its_images_will_be_there_at_the_end_of_the_first_one(clock: Clock) -> None:
    slots = practised(2, clock)
    with slots.turn(0), slots.turn(0), slots.computing(JOBS, FETCH_S):
        clock.now_s += JOBS * JOB_S - FETCH_S - 2 * ROUND_TRIP_S
        assert not is_due(slots)
        clock.now_s += 2 * ROUND_TRIP_S
        with slots.turn(0) as third:
            assert third
            assert not is_due(slots)


def test_images_that_take_longer_than_a_batch_are_requested_while_it_begins(clock: Clock) -> None:
    slots = practised(1, clock, fetch_s=2 * JOBS * JOB_S)
    with slots.turn(0):
        assert not is_due(slots)
        with slots.computing(JOBS, FETCH_S):
            assert is_due(slots)


def test_a_batch_that_takes_longer_than_expected_keeps_no_one_from_receiving(clock: Clock) -> None:
    slots = practised(1, clock)
    with slots.turn(0), slots.computing(1, FETCH_S):
        clock.now_s += 100 * JOB_S
        assert is_due(slots)


def test_images_that_do_not_come_keep_no_one_from_receiving(clock: Clock) -> None:
    slots = practised(1, clock)
    with slots.turn(0):
        slots.fetch_begins(JOBS)
        assert not is_due(slots)
        clock.now_s += FETCH_S + JOBS * JOB_S
        assert is_due(slots)
    assert is_due(slots)


def test_who_waits_for_a_turn_gets_it_when_a_batch_ends_sooner_than_expected(clock: Clock) -> None:
    slots = practised(1, clock)
    received = threading.Event()

    def receive() -> None:
        with slots.turn(PATIENCE_S) as due:
            assert due
            received.set()

    with ThreadPoolExecutor(3) as pool:
        with slots.turn(0), slots.computing(10**6, FETCH_S):
            waiting = [pool.submit(receive) for _ in range(3)]
            assert not received.is_set()
        for each in waiting:
            each.result()


def test_as_many_batches_compute_as_there_are_slots_and_no_more() -> None:
    slots, lock, both, most, computing = Slots(2), threading.Lock(), threading.Barrier(2), 0, 0

    def compute(_: int) -> None:
        nonlocal most, computing
        with slots.computing(1, 0.0):
            with lock:
                computing += 1
                most = max(most, computing)
            both.wait()
            with lock:
                computing -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(compute, range(40)))
    assert most == 2


def test_an_error_gives_back_what_was_held(clock: Clock) -> None:
    slots = practised(1, clock)

    def fail() -> None:
        with slots.turn(0) as due, slots.computing(JOBS, FETCH_S):
            assert due
            raise RuntimeError

    for _ in range(3):
        with pytest.raises(RuntimeError):
            fail()
    assert is_due(slots)
