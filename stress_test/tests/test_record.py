"""Requests become figures."""

from stress_test.answers import REFUSED
from stress_test.record import Recorder, Request, faults, figures, percentile

OVER_A_SECOND: list[Request] = [(0.0, "predict", float(ms), 200, "") for ms in range(1, 101)]


def test_percentiles_are_those_of_right_answers() -> None:
    found = figures([*OVER_A_SECOND, (0.0, "predict", 9000.0, 504, "status 504")], seconds=2)
    assert (found.answered, found.failed, found.per_second) == (100, 1, 50)
    assert (found.p50_ms, found.p95_ms, found.p99_ms, found.max_ms) == (50, 95, 99, 100)


def test_a_refusal_as_promised_is_counted_by_itself() -> None:
    found = figures([(0.0, "predict", 3.0, 503, REFUSED), (0.0, "predict", 3.0, 503, "503 without Retry-After")], 1)
    assert (found.refused, found.failed) == (1, 1)


def test_what_begins_before_the_warm_up_is_over_or_after_the_end_does_not_count() -> None:
    recorder = Recorder(begin=10.0)
    recorder.add(9.9, "predict", 5.0, 200, "")
    recorder.add(10.0, "predict", 5.0, 200, "")
    recorder.stop(20.0)
    recorder.add(20.1, "predict", 5.0, 200, "")
    recorder.add(19.9, "predict", 5.0, 200, "")  # it was running at the end
    assert [request[0] for request in recorder.document()["requests"]] == [10.0, 19.9]


def test_nothing_has_no_percentile_and_no_fault() -> None:
    assert percentile([], 99) == 0.0
    assert faults(OVER_A_SECOND) == {}
