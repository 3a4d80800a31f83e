"""Shares of the queue: no client keeps the others out, by the script itself in a real Redis."""

from __future__ import annotations

from typing import Any

import pytest

from sightline_testing.queue_probe import QueueProbe
from wire import Job, QueueFull
from wire.producer.admission import Terms
from wire.redis.keys import Keys

BOUND = 20.0
ANNE, BEN, CARL = "anne", "ben", "carl"


class Door:
    """Submits jobs of clients on terms with a bound of twenty photographs."""

    def __init__(self, queue: QueueProbe) -> None:
        self.queue = queue

    def enter(self, client: str, **terms: Any) -> str:
        """Return the entry of a job that was admitted; raise QueueFull."""
        return self.queue.admit(self.terms(client, **terms), Job("id", "cat.jpg", "producer", 60_000))

    def count(self, client: str, most: int = 100, **terms: Any) -> int:
        """Return how many jobs of a client are admitted in a row."""
        for number in range(most):
            try:
                self.enter(client, **terms)
            except QueueFull:
                return number
        return most

    def terms(self, client: str, **terms: Any) -> Terms:
        keys: Keys = self.queue.keys
        return Terms(keys.jobs, keys.expensive, bound=BOUND, bound_beside=BOUND, client=client, **terms)


@pytest.fixture
def door(queue: QueueProbe) -> Door:
    return Door(queue)


def test_a_client_alone_may_have_the_whole_queue(door: Door) -> None:
    assert door.count(ANNE) == BOUND


def test_while_others_wait_a_client_has_at_most_half_of_it(door: Door) -> None:
    door.enter(BEN)
    assert door.count(ANNE) == BOUND / 2
    with pytest.raises(QueueFull, match="half of the queue"):
        door.enter(ANNE)
    assert door.count(BEN) == BOUND / 2 - 1


def test_costly_jobs_count_for_what_they_cost(door: Door) -> None:
    door.enter(BEN)
    assert door.count(ANNE, cost=5.0) == 2


def test_a_client_that_holds_little_gets_in_beside_one_that_has_filled_the_queue(door: Door) -> None:
    assert door.count(ANNE, spare=30.0) == BOUND
    assert door.count(BEN, spare=30.0) == 3
    assert door.count(CARL, spare=30.0) == 3
    assert door.count(ANNE, spare=30.0) == 0


def test_the_room_for_them_has_a_bound_of_its_own(door: Door) -> None:
    door.count(ANNE, spare=25.0)
    assert sum(door.count(f"client {number}", spare=25.0) for number in range(20)) == 5


def test_what_is_answered_counts_no_longer(door: Door) -> None:
    door.enter(BEN)
    entries = [door.enter(ANNE) for _ in range(10)]
    door.queue.redis("XDEL", door.queue.keys.jobs, *entries[:4])
    assert door.count(ANNE) == 4


def test_a_job_of_nobody_known_is_one_of_the_others(door: Door) -> None:
    assert door.count("", most=5) == 5
    assert door.count(ANNE) == BOUND / 2
    assert door.count("") == BOUND / 2 - 5


def test_redis_keeps_nothing_of_clients_whose_jobs_are_done(door: Door) -> None:
    clients = door.queue.keys.clients[door.queue.keys.jobs]
    for number in range(500):
        door.queue.redis("XDEL", door.queue.keys.jobs, door.enter(f"client {number}"))
        door.enter("of one who stays") if number == 0 else None
    assert door.queue.redis("ZCARD", clients) <= 70
    door.queue.redis("XTRIM", door.queue.keys.jobs, "MAXLEN", 0)
    door.enter("")
    assert door.queue.redis("ZCARD", clients) == 0
