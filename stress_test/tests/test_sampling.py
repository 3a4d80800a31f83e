"""Samples of a service give its costs."""

import pytest

from stress_test.sampling import Sample, parse, summarise

METRICS = """# HELP sightline_queue_depth Jobs that are queued or running.
sightline_queue_depth 7.0
sightline_batch_size_bucket{le="1.0"} 3.0
sightline_batch_size_bucket{le="+Inf"} 5.0
sightline_batch_size_sum 11.0
sightline_worker_up{model="a",version="1",worker="x:1"} 1.0
sightline_worker_up{model="a",version="1",worker="y:2"} 1.0
"""


def look(at: float, cpu: float, jobs: float, batches: float) -> Sample:
    return Sample(
        at=at,
        cpu_s={"model": cpu, "api": cpu / 2},
        machine_s=2 * cpu,
        memory_mb={"model": 100 + at},
        depth=at,
        batches=batches,
        jobs=jobs,
        buckets={"1.0": batches / 2, "8.0": batches, "+Inf": batches},
    )


def test_metrics_are_read_by_name_and_bound() -> None:
    assert parse(METRICS) == {
        "sightline_queue_depth": 7,
        "sightline_batch_size_bucket 1.0": 3,
        "sightline_batch_size_bucket +Inf": 5,
        "sightline_batch_size_sum": 11,
        "sightline_worker_up": 2,
    }


def test_costs_are_those_between_the_first_and_the_last_look() -> None:
    found = summarise([look(100, 5, 0, 0), look(102, 6, 30, 10), look(104, 8, 60, 16)], 100, 104)
    assert found["cpu_cores"] == {"model": 0.75, "api": 0.375}
    assert found["busy_cores"] == 1.5
    assert found["others_cores"] == pytest.approx(0.375)
    assert found["memory_mb"] == {"model": 204.0}
    assert found["mean_batch"] == 3.75
    assert found["batch_sizes"] == {"1": 8, "8": 8}
    assert found["queue"] == [[0, 100], [2, 102], [4, 104]]
    assert found["batches"] == [[2, 3.0], [4, 5.0]]


def test_looks_outside_the_measured_time_do_not_count() -> None:
    samples = [look(80, 0, 0, 0), look(100, 5, 0, 0), look(104, 8, 60, 16), look(130, 99, 99, 99)]
    assert summarise(samples, 100, 104)["cpu_cores"]["model"] == 0.75


def test_a_single_look_says_nothing() -> None:
    assert summarise([look(100, 5, 0, 0)], 100, 104) == {}
