"""When requests fall due."""

import pytest

from stress_test.pace import ClosedLoop, ConstantRate


class Clock:
    """A clock that is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_users_of_a_closed_loop_pause_as_told() -> None:
    pauses = [ClosedLoop(1.0, 5.0).wait_s() for _ in range(200)]
    assert min(pauses) >= 1
    assert max(pauses) <= 5
    assert sum(pauses) / len(pauses) == pytest.approx(3, abs=0.5)


def test_at_a_constant_rate_requests_fall_due_however_slow_the_answers() -> None:
    clock = Clock()
    pace = ConstantRate(10.0, clock)
    assert [pace.wait_s() for _ in range(3)] == pytest.approx([0.0, 0.1, 0.2])
    clock.now = 1.0  # no user was free for a while: the requests that are due start immediately
    assert [pace.wait_s() for _ in range(8)] == [0.0] * 8
    assert pace.wait_s() == pytest.approx(0.1)


def test_lateness_says_that_users_are_too_few() -> None:
    clock = Clock()
    pace = ConstantRate(10.0, clock)
    pace.wait_s()
    clock.now = 2.0
    pace.wait_s()
    assert pace.lateness_s == pytest.approx(1.9)
