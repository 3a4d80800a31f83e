from collections.abc import Callable
from dataclasses import dataclass

import pytest

from serving import batching


@dataclass(frozen=True)
class Job:
    name: str
    deliveries: int = 1
    decode_ms: int = 0


class Arrivals:
    """A queue and its clock: jobs by the millisecond at which they come."""

    def __init__(self, *jobs: tuple[float, Job]) -> None:
        self.jobs = list(jobs)
        self.now = 0.0

    def receive(self, most: int, block_ms: int) -> list[Job]:
        if not any(at <= self.now for at, _ in self.jobs):
            self.now = min(self.now + block_ms, min((at for at, _ in self.jobs), default=float("inf")))
        there = [(at, job) for at, job in self.jobs if at <= self.now][:most]
        self.jobs = [each for each in self.jobs if each not in there]
        return [job for _, job in there]


def collect(arrivals: Arrivals, max_size: int = 4, max_wait_ms: float = 0) -> list[str]:
    clock: Callable[[], float] = lambda: arrivals.now  # noqa: E731
    batches = batching.batches(arrivals.receive, max_size=max_size, max_wait_ms=max_wait_ms, idle_ms=100, now_ms=clock)
    return ["".join(job.name for job in batch) for batch in batches]


def jobs(names: str, at: float = 0) -> list[tuple[float, Job]]:
    return [(at, Job(name)) for name in names]


def test_what_has_piled_up_goes_together_oldest_first() -> None:
    assert collect(Arrivals(*jobs("abc"))) == ["abc"]


def test_no_batch_is_larger_than_the_largest_and_the_rest_stays() -> None:
    arrivals = Arrivals(*jobs("abcdef"))
    assert collect(arrivals) == ["abcd"]
    assert collect(arrivals) == ["ef"]


def test_by_default_a_lone_job_does_not_wait_for_company() -> None:
    arrivals = Arrivals((0, Job("a")), (1, Job("b")))
    assert collect(arrivals) == ["a"]
    assert arrivals.now == 0


def test_the_wait_for_company_counts_from_the_first_job() -> None:
    arrivals = Arrivals((50, Job("a")), (55, Job("b")), (58, Job("c")), (61, Job("d")))
    assert collect(arrivals, max_wait_ms=10) == ["abc"]
    assert arrivals.now == pytest.approx(60)


def test_a_full_batch_waits_no_longer() -> None:
    arrivals = Arrivals(*jobs("ab"), *jobs("cd", at=3))
    assert collect(arrivals, max_wait_ms=1000) == ["abcd"]
    assert arrivals.now == 3


def test_an_idle_consumer_gets_nothing_and_may_look_around() -> None:
    arrivals = Arrivals()
    assert collect(arrivals, max_wait_ms=1000) == []
    assert arrivals.now == 100


def test_a_redelivered_job_runs_alone_and_first_deliveries_before_it() -> None:
    arrivals = Arrivals((0, Job("a")), (0, Job("x", deliveries=2)), (5, Job("b")))
    assert collect(arrivals, max_wait_ms=10) == ["a", "x"]
    assert arrivals.now == 0


def slow(*names_and_ms: tuple[str, int], at: float = 0) -> list[tuple[float, Job]]:
    return [(at, Job(name, decode_ms=ms)) for name, ms in names_and_ms]


def test_what_takes_long_to_decode_runs_after_the_others_and_alone() -> None:
    assert collect(Arrivals(*slow(("x", 200), ("y", 30), ("z", 20)), *jobs("ab")), max_size=8) == ["yzab", "x"]
    assert collect(Arrivals(*slow(("x", 40), ("y", 40), ("z", 40)), *jobs("a")), max_size=8) == ["xa", "y", "z"]
    assert collect(Arrivals(*slow(("x", 200), ("y", 200)))) == ["x", "y"]


def test_what_comes_while_something_slow_runs_has_its_turn_before_the_next_slow_one() -> None:
    arrivals = Arrivals(*slow(("x", 200), ("y", 200), ("z", 200)), *jobs("a"), *jobs("bc", at=1), *jobs("d", at=2))
    clock: Callable[[], float] = lambda: arrivals.now  # noqa: E731
    ran = []
    for batch in batching.batches(arrivals.receive, max_size=5, max_wait_ms=0, idle_ms=100, now_ms=clock):
        ran.append("".join(job.name for job in batch))
        arrivals.now += ran[-1] in "xyz"
    assert ran == ["a", "x", "bc", "y", "d", "z"]


def test_no_more_is_in_hand_than_the_largest_batch_holds() -> None:
    arrivals = Arrivals(*slow(*((name, 200) for name in "tuvwxyz")))
    assert collect(arrivals, max_size=2) == list("tuvwxyz")


def test_nothing_is_taken_in_hand_beside_a_redelivered_job() -> None:
    arrivals = Arrivals(*slow(("x", 200), ("y", 200)), (0.0, Job("!", deliveries=2)), *jobs("ab", at=1))
    clock: Callable[[], float] = lambda: arrivals.now  # noqa: E731
    ran = []
    for batch in batching.batches(arrivals.receive, max_size=5, max_wait_ms=0, idle_ms=100, now_ms=clock):
        ran.append("".join(job.name for job in batch))
        arrivals.now += 1
    assert ran == ["x", "y", "!"]
