"""The simulated scaling: its queue is held against a recorded one, its arithmetic against cases worked out by hand."""

import csv
from pathlib import Path

import numpy as np
import pytest
from benchmarks.own import autoscaling, queue_depth
from benchmarks.own.autoscaling import CHART, CHART_BY_CPU, JOB_S, WAYS, Autoscaler, Queue, Scaling, Simulation

RECORDED = Path(queue_depth.__file__).with_suffix(".csv")


def recorded() -> dict[float, list[dict[str, float]]]:
    """Return the recorded rows by the requests a second that were offered."""
    found: dict[float, list[dict[str, float]]] = {}
    with RECORDED.open(newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(float(row["offered_per_s"]), []).append({name: float(cell) for name, cell in row.items()})
    return found


@pytest.mark.parametrize("offered", recorded())
def test_the_simulated_queue_is_about_as_long_as_the_recorded_one(offered: float) -> None:
    rows = recorded()[offered]
    depth = np.mean([row["depth"] for row in rows[10:]])
    queue, draw, depths = Queue(), np.random.default_rng(1), []
    for count in draw.poisson(offered * JOB_S, round(30 / JOB_S)):
        queue.step(int(count), queue_depth.WORKERS // autoscaling.CONSUMERS)
        depths.append(queue.depth)
    # A real worker has round trips to make, too, which count most shortly before it is at its limit.
    assert depth / 4 < np.mean(depths[200:]) < 1.3 * depth
    assert (queue.refused > 0) == (rows[-1]["refused"] > rows[0]["refused"])


@pytest.mark.parametrize(
    ("value", "target", "replicas", "wanted"),
    [(300, 40, 3, 8), (130, 40, 3, 3), (131, 40, 3, 3), (133, 40, 3, 4), (0, 40, 3, 0), (107, 40, 3, 3)],
)
def test_an_average_asks_for_pods_beyond_a_tolerance_of_a_tenth(
    value: float, target: float, replicas: int, wanted: int
) -> None:
    assert autoscaling.per_pod(value, target, replicas) == wanted


@pytest.mark.parametrize(
    ("utilization", "ready", "replicas", "wanted"),
    [
        (1.0, 3, 3, 5),
        (0.75, 3, 3, 3),  # within the tolerance
        (1.0, 3, 5, 5),  # those that start count as idle: 0.6 of all, which is less than 0.7
        (1.0, 3, 4, 4),  # 0.75 of all is within the tolerance
        (0.2, 10, 10, 3),
    ],
)
def test_processor_time_asks_for_pods_as_the_controller_does(
    utilization: float, ready: int, replicas: int, wanted: int
) -> None:
    assert autoscaling.by_cpu(utilization, 0.7, ready, replicas) == wanted


def test_pods_are_added_at_once_and_removed_slowly_and_late() -> None:
    scaler = Autoscaler(CHART)
    assert scaler.decide(0, 3, 40) == 9  # two times as many more in 15 s
    assert scaler.decide(15, 9, 40) == 27
    assert scaler.decide(30, 27, 5) == 27  # for 120 s it is the highest number so far
    assert scaler.decide(150, 27, 5) == 20  # a quarter in a minute
    assert scaler.decide(165, 20, 5) == 20
    assert scaler.decide(210, 20, 5) == 15
    assert Autoscaler(Scaling(maximum=6)).decide(0, 3, 40) == 6
    assert Autoscaler(CHART).decide(0, 1, 40) == 5  # four more are more than two times as many


@pytest.mark.parametrize("scaling", [CHART, CHART_BY_CPU], ids=["prometheus", "cpu"])
def test_a_step_of_five_is_caught_up_with_within_a_minute_and_nothing_swings(scaling: Scaling) -> None:
    found = autoscaling.judge(scaling, seeds=(5,))
    assert 15 < found.catch_up_s <= 60
    assert found.turns <= 1  # more than is needed at first, then what is
    assert found.turns_under_steady_load == 0


def test_by_depth_alone_pods_come_and_go() -> None:
    """The twin of the test above: what the second trigger is for."""
    course = Simulation(WAYS["depth alone, 40 a pod"], autoscaling.step_of(1), 3).run(1200)
    assert course.reversals(300, 1200) > 3
