from __future__ import annotations

from dataclasses import replace

import pytest

from wire import Job, QueueFull, WorkerInfo
from wire.consumer.consumer import Throughput
from wire.producer import admission
from wire.producer.admission import BURST, Terms, bounds_for
from wire.queue_stats import Capacity
from wire.redis.keys import Keys


def worker(rate: float, consumers: int = 2, max_batch: int = 8) -> WorkerInfo:
    return WorkerInfo("w", "host", "model", "1", "p", consumers=consumers, max_batch=max_batch, rate=rate)


def bound_for(workers: list[WorkerInfo], timeout_s: float, max_queue_size: int) -> int:
    return bounds_for(Capacity.of(workers), timeout_s, max_queue_size)[0]


def terms_for(job: Job, keys: Keys, workers: list[WorkerInfo], timeout_s: float, max_queue_size: int) -> Terms:
    return admission.terms_for(job, keys, Capacity.of(workers), timeout_s, max_queue_size)


def test_the_queue_takes_what_is_done_in_a_quarter_of_the_deadline() -> None:
    assert bound_for([worker(200), worker(100)], 4.0, 0) == 300


@pytest.mark.parametrize(("rate", "bound"), [(10.0, 40), (30.0, 120), (50.0, 144), (100.0, 144), (200.0, 250)])
def test_a_burst_is_let_in_as_long_as_it_is_done_in_time(rate: float, bound: int) -> None:
    assert bound_for([worker(rate)], 5.0, 0) == bound


def test_slow_workers_still_get_two_batches_for_each_consumer() -> None:
    assert bound_for([worker(1.0), worker(2.0, consumers=1)], 1.0, 0) == 2 * (2 * 8 + 8)


def test_a_setting_decides_over_any_rate() -> None:
    assert bound_for([worker(1000)], 5.0, 7) == 7


@pytest.mark.parametrize("workers", [[], [worker(0.0)]])
def test_before_any_worker_has_measured_its_rate_a_burst_is_let_in(workers: list[WorkerInfo]) -> None:
    assert bound_for(workers, 5.0, 0) == BURST + 16 * len(workers)


def test_a_worker_that_has_just_started_does_not_open_the_bound() -> None:
    assert Capacity.of([worker(100), worker(0.0)]).rate == 200
    assert bound_for([worker(100), worker(0.0)], 5.0, 0) == 250
    assert bound_for([worker(30.0, consumers=1), worker(0.0, consumers=3)], 2.0, 0) == bound_for(
        [worker(120.0, consumers=4)], 2.0, 0
    )


KEYS = Keys("test")


def job(decode_ms: int = 0, explain_label: str = "") -> Job:
    return Job("id", "cat.jpg", "producer", 5000, decode_ms=decode_ms, explain_label=explain_label)


def modern(rate: float = 200.0, slowness: float = 1.0, budget_s: float = 2.0) -> WorkerInfo:
    info = worker(rate, consumers=1)
    return replace(info, slowness=slowness, decode_budget_s=budget_s)


def test_a_photograph_costs_one_and_an_image_as_many_as_are_done_in_its_time() -> None:
    assert terms_for(job(), KEYS, [modern()], 5.0, 0).cost == 1
    assert terms_for(job(102), KEYS, [modern(rate=200)], 5.0, 0).cost == 21
    assert terms_for(job(102), KEYS, [modern(rate=20)], 5.0, 0).cost == 3
    assert terms_for(job(102), KEYS, [modern(slowness=2.0)], 5.0, 0).cost == 41
    assert terms_for(job(102, explain_label="cat"), KEYS, [modern()], 5.0, 0).cost == 42


def test_what_takes_longer_than_a_quarter_of_a_second_goes_to_its_own_stream() -> None:
    assert terms_for(job(250), KEYS, [modern()], 5.0, 0).stream == KEYS.jobs
    assert terms_for(job(260), KEYS, [modern()], 5.0, 0).stream == KEYS.expensive
    assert terms_for(job(130), KEYS, [modern(slowness=2.0)], 5.0, 0).stream == KEYS.expensive
    # No worker would take it from there while only workers of an earlier release are alive.
    assert terms_for(job(260), KEYS, [worker(100)], 5.0, 0).stream == KEYS.jobs
    assert terms_for(job(260), KEYS, [worker(100), modern()], 5.0, 0).stream == KEYS.expensive


def test_what_every_worker_refuses_by_its_header_costs_a_photograph() -> None:
    terms = terms_for(job(2500), KEYS, [modern(), modern(slowness=1.5)], 5.0, 0)
    assert (terms.stream, terms.cost) == (KEYS.jobs, 1)
    assert terms_for(job(2500), KEYS, [modern(), modern(budget_s=4.0)], 5.0, 0).stream == KEYS.expensive


def test_expensive_jobs_have_a_quarter_of_each_worker_and_at_most_one_consumer() -> None:
    share = terms_for(job(300), KEYS, [modern(rate=200), modern(rate=200)], 5.0, 0).share_per_ms
    assert share == pytest.approx(0.1)
    many_consumers = replace(modern(rate=1600), consumers=16)
    assert terms_for(job(300), KEYS, [many_consumers], 5.0, 0).share_per_ms == pytest.approx(0.1)


def test_where_expensive_jobs_take_longer_than_estimated_fewer_are_admitted() -> None:
    usual = terms_for(job(302), KEYS, [modern()], 5.0, 0)
    slow = terms_for(job(302), KEYS, [modern(), replace(modern(), stretch=6.0)], 5.0, 0)
    assert slow.cost - 1 == pytest.approx(3 * (usual.cost - 1))
    assert slow.bound - slow.cost < 2 * (usual.bound - usual.cost)


def test_a_usual_job_costs_what_decoding_takes_on_these_workers_lately() -> None:
    usual, quick, slow = (
        terms_for(job(62), KEYS, [replace(modern(), usual_stretch=each)], 5.0, 0).cost for each in (0, 0.5, 3)
    )
    assert (usual, quick, slow) == (13, 13, 37)
    assert terms_for(job(62), KEYS, [replace(modern(), usual_stretch=3), modern()], 5.0, 0).cost == slow
    assert terms_for(job(300), KEYS, [replace(modern(), usual_stretch=3)], 5.0, 0).stream == KEYS.expensive


def test_fewer_jobs_are_admitted_while_expensive_ones_are_there() -> None:
    terms = terms_for(job(), KEYS, [modern(rate=30)], 5.0, 0)
    assert (terms.bound, terms.bound_beside) == (120, 60)


@pytest.mark.parametrize(("depth", "rate"), [(0, 0.0), (0, 100.0), (500, 100.0), (10**6, 1.0)])
def test_whoever_is_refused_is_sent_away_for_one_to_three_seconds(depth: int, rate: float) -> None:
    assert 1.0 <= QueueFull(depth, 10, rate).retry_after_s <= 3.0


def test_the_pace_counts_busy_time_only_and_follows_a_change() -> None:
    pace = Throughput()
    assert pace.rate == 0
    pace.record(1, 0.01)
    assert pace.rate == pytest.approx(100)
    for _ in range(1000):
        pace.record(8, 0.02)
    assert pace.rate == pytest.approx(400, rel=0.01)
    for _ in range(100):
        pace.record(8, 0.2)
    assert pace.rate == pytest.approx(40, rel=0.2)


def test_the_pace_leaves_out_what_expensive_images_take_to_decode() -> None:
    pace = Throughput(50.0)
    assert pace.rate == 50
    pace.record(8, 1.08, 1.0)
    assert pace.rate == pytest.approx(100)
    pace = Throughput()
    pace.record(8, 0.08, 0.0)
    assert pace.rate == pytest.approx(100)


def test_the_pace_of_photographs_does_not_fall_where_decoding_takes_longer_than_estimated() -> None:
    pace = Throughput(200.0)
    for _ in range(1000):
        pace.record(1, 0.265, 0.06, stretch=4.0)
    assert pace.rate == pytest.approx(40)
    assert pace.stretch == pytest.approx(4.0)
    for _ in range(5000):
        pace.record(1, 0.065, 0.06)
    assert pace.rate == pytest.approx(200, rel=0.1)
    assert pace.stretch == pytest.approx(1.0)
