from __future__ import annotations

import pytest

from wire.admission import UNKNOWN_BOUND, bound_for, retry_after_s
from wire.pace import Pace
from wire.presence import WorkerInfo


def worker(rate: float, lanes: int = 2, max_batch: int = 8) -> WorkerInfo:
    return WorkerInfo("w", "host", "model", "1", "p", lanes=lanes, max_batch=max_batch, rate=rate)


def test_the_queue_takes_what_is_done_in_a_quarter_of_the_deadline() -> None:
    assert bound_for([worker(200), worker(100)], 4.0, 0) == 300


@pytest.mark.parametrize(("rate", "bound"), [(10.0, 40), (30.0, 120), (50.0, 144), (100.0, 144), (200.0, 250)])
def test_a_burst_is_let_in_as_long_as_it_is_done_in_time(rate: float, bound: int) -> None:
    assert bound_for([worker(rate)], 5.0, 0) == bound


def test_slow_workers_still_get_two_batches_for_each_lane() -> None:
    assert bound_for([worker(1.0), worker(2.0, lanes=1)], 1.0, 0) == 2 * (2 * 8 + 8)


def test_a_setting_decides_over_any_rate() -> None:
    assert bound_for([worker(1000)], 5.0, 7) == 7


@pytest.mark.parametrize("workers", [[], [worker(0.0)], [worker(100), worker(0.0)]])
def test_an_unknown_rate_lets_a_burst_in(workers: list[WorkerInfo]) -> None:
    assert bound_for(workers, 5.0, 0) == UNKNOWN_BOUND


@pytest.mark.parametrize(("depth", "rate"), [(0, 0.0), (0, 100.0), (500, 100.0), (10**6, 1.0)])
def test_whoever_is_refused_is_sent_away_for_one_to_three_seconds(depth: int, rate: float) -> None:
    assert 1.0 <= retry_after_s(depth, rate) <= 3.0


def test_the_pace_counts_busy_time_only_and_follows_a_change() -> None:
    pace = Pace()
    assert pace.rate == 0
    pace.record(1, 0.01)
    assert pace.rate == pytest.approx(100)
    for _ in range(1000):
        pace.record(8, 0.02)
    assert pace.rate == pytest.approx(400, rel=0.01)
    for _ in range(100):
        pace.record(8, 0.2)
    assert pace.rate == pytest.approx(40, rel=0.2)
