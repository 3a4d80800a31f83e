import math

import pytest

from operate import figures
from operate.figures import CLIENT, SERVED, SERVER, WINDOWS, Interval, Measured
from storage.history.port import DAY, HOUR, MINUTE, Sum
from storage.reports.port import Quality
from wire.orders.messages import Known, Order, Outcome

NOW = 1_700_049_630.0


def test_each_window_divides_its_time_into_steps_that_end_now() -> None:
    for window in WINDOWS.values():
        found = figures.traffic(window, NOW, [])
        assert len(found.steps) == window.seconds // window.step
        assert found.steps[-1].at <= NOW < found.steps[-1].at + window.step
        assert (found.total, found.p50_s, found.hit_share, found.marks) == (0, None, None, [])


def test_requests_are_counted_by_what_became_of_them() -> None:
    at = int(NOW) // MINUTE * MINUTE
    sums = [
        Sum(at, "answers", "200", "", 5),
        Sum(at - MINUTE, "answers", "202", "", 1),
        Sum(at, "answers", "400", "", 2),
        Sum(at, "answers", "429", "", 3),
        Sum(at, "answers", "503", "", 4),
        Sum(at, "dropped", "rejected", "", 4),
        Sum(at, "cache", "hit", "", 1),
        Sum(at, "cache", "miss", "", 3),
        Sum(at - 2 * HOUR, "answers", "200", "", 100),
    ]
    found = figures.traffic(WINDOWS["1h"], NOW, sums)
    assert found.total == 15
    assert found.steps[-1].kinds == {SERVED: 5, CLIENT: 2, SERVER: 7}
    assert found.steps[-2].kinds == {SERVED: 1}
    assert (found.dropped["rejected"], found.hit_share) == (4, 0.25)


def test_a_version_is_marked_where_it_begins_to_answer() -> None:
    at = int(NOW) // MINUTE * MINUTE
    sums = [Sum(at - n * MINUTE, "version", version, "", 1) for n, version in ((9, "a/1"), (5, "a/2"), (5, "a/1"))]
    [(step, version)] = figures.traffic(WINDOWS["1h"], NOW, sums).marks
    assert (step.at, version) == (at - 5 * MINUTE, "a/2")


@pytest.mark.parametrize(
    ("buckets", "part", "expected"),
    [
        ({}, 0.5, None),
        ({0.1: 10}, 0.5, 0.05),
        ({0.1: 10, 0.2: 10}, 0.5, 0.1),
        ({0.1: 10, 0.2: 10}, 0.99, 0.198),
        ({0.1: 0, 0.2: 10}, 0.5, 0.15),
        ({0.1: 1, math.inf: 9}, 0.99, 0.1),
    ],
)
def test_quantiles_are_those_of_the_histogram(buckets: dict[float, int], part: float, expected: float | None) -> None:
    assert figures.quantile(buckets, part) == (None if expected is None else pytest.approx(expected))


def test_intervals_hold_the_share_and_stay_between_0_and_1() -> None:
    assert figures.interval(0, 0) is None
    assert figures.interval(8, 10) == pytest.approx(Interval(0.8, 0.490, 0.943), abs=0.001)
    for successes, count in ((0, 1), (1, 1), (0, 1000), (1000, 1000)):
        found = figures.interval(successes, count)
        assert found is not None
        assert 0 <= found.low <= found.share <= found.high <= 1


def test_quality_is_told_by_version() -> None:
    quality = Quality(
        [
            {"model": "net", "model_version": "1", "status": "open", "count": 1},
            {"model": "net", "model_version": "1", "status": "accepted", "count": 2},
            {"model": "net", "model_version": "1", "status": "rejected", "count": 2},
            {"model": "", "model_version": "", "status": "open", "count": 7},
        ],
        [{"model": "net", "model_version": "1", "count": 4, "correct": 1}],
        [],
        [],
    )
    one, two, unknown = figures.by_version(quality, {"net/1": 1000, "net/2": 500})
    assert (one.name, one.reports, one.per_thousand) == ("net/1", 5, 5.0)
    assert one.taken is not None
    assert one.accuracy is not None
    assert (one.taken.share, one.accuracy.share) == (0.5, 0.25)
    assert (two.name, two.per_thousand, two.taken, two.accuracy) == ("net/2", 0, None, None)
    assert (unknown.reports, unknown.per_thousand) == (7, None)
    assert figures.counts_by_status(quality) == {"open": 8, "accepted": 2, "corrected": 0, "rejected": 2}


def test_drift_compares_two_weeks() -> None:
    today = int(NOW) // DAY * DAY
    none = figures.drift(NOW, [Sum(today, "label", "net/1", "cat", 5)])
    assert (none.answers, none.distance) == ((0, 5), None)
    found = figures.drift(
        NOW,
        [
            Sum(today - 7 * DAY, "label", "net/1", "cat", 8),
            Sum(today - 8 * DAY, "label", "net/1", "dog", 2),
            Sum(today - 6 * DAY, "label", "net/1", "cat", 3),
            Sum(today, "label", "net/2", "dog", 5),
            Sum(today, "label", "net/2", "lynx", 2),
            Sum(today - 7 * DAY, "confidence", "1.0", "", 4),
            Sum(today, "confidence", "0.1", "", 1),
            Sum(today, "confidence", "0.3", "", 1),
        ],
    )
    assert found.answers == (10, 10)
    assert found.distance == pytest.approx(0.5)
    assert [each.label for each in found.changes] == ["cat", "dog", "lynx"]
    assert found.confidence == pytest.approx((0.95, 0.15))


def evaluated(version: str, right: float, *, kind: str = "evaluate", state: str = "done") -> Known:
    """An order that compared a version with m/1, on images without labels and on 40 reviewed cases."""
    unlabelled = {"title": "Unreported images", "images": 9, "agreeing": 9, "notes": []}
    top1 = [[0.5, 0.4, 0.6], [right, right - 0.1, right + 0.1]]
    labelled = {"title": "Reviewed cases", "images": 40, "top1": top1}
    result = {"version": version, "first": "m/1", "comparisons": [unlabelled, labelled]}
    return Known(Order(kind, "Ann"), None, Outcome(state, 0, "", result))


def test_the_accuracy_of_a_version_is_that_of_its_last_evaluation_else_of_the_reviews_of_its_answers() -> None:
    reviewed = {"model_version": "", "count": 10, "correct": 8}
    quality = Quality((), [{**reviewed, "model": "m", "model_version": version} for version in "13"], (), ())
    orders = [
        Known(Order("evaluate", "Ann")),
        evaluated("m/2", 0.1, state="failed"),
        evaluated("m/2", 0.9, kind="train"),
        evaluated("m/2", 0.7),
        Known(Order("export", "Ann"), None, Outcome("done", 0, "", {"images": 3})),
    ]
    found = figures.accuracies(orders, figures.by_version(quality, {}))
    assert found == {
        "m/1": Measured(Interval(0.5, 0.4, 0.6), 40, "evaluated, reviewed cases"),
        "m/2": Measured(Interval(0.9, 0.8, 1.0), 40, "evaluated, reviewed cases"),
        "m/3": Measured(figures.interval(8, 10) or Interval(0, 0, 0), 10, "reviewed answers"),
    }
    assert figures.accuracies((), ()) == {}
