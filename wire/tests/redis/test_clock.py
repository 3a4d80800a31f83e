"""Redis' clock jumps where another server takes over: what was added before does not expire for that."""

from __future__ import annotations

import time

import pytest

from wire.redis.clock import RedisClock

NOW_S = 1_700_000_000.0


class Readings:
    """Readings of a server's clock, which is ahead of the true one."""

    def __init__(self) -> None:
        self.clock = RedisClock()
        self.ahead_s = 0.0
        self._begin = time.monotonic()

    def now_s(self) -> float:
        return NOW_S + time.monotonic() - self._begin + self.ahead_s

    def entry(self, age_s: float = 0.0) -> bytes:
        return f"{round(1000 * (self.now_s() - age_s))}-0".encode()

    def read(self, late_s: float = 0.0) -> None:
        """Read the clock; the reply comes late, or the command was sent so much earlier."""
        seconds, part = divmod(self.now_s() - late_s / 2, 1)
        self.clock.read([b"%d" % seconds, b"%d" % (part * 1e6)], time.monotonic() - late_s)

    def age_s(self, entry: bytes) -> float:
        return (self.clock.now_ms(entry) - int(entry.partition(b"-")[0])) / 1000


@pytest.fixture
def readings() -> Readings:
    return Readings()


def test_a_steady_clock_is_taken_as_it_is(readings: Readings) -> None:
    entry = readings.entry(2.0)
    for late_s in (0.0, 30.0, 0.2, 0.0):
        readings.read(late_s)
        assert readings.age_s(entry) == pytest.approx(2.0 - late_s / 2, abs=0.1)


def test_a_clock_ahead_does_not_age_what_was_added_before(readings: Readings) -> None:
    readings.read()
    before = readings.entry(1.0)
    readings.ahead_s = 5.0
    after = readings.entry(1.0)
    readings.read()
    assert readings.age_s(before) == pytest.approx(1.0, abs=0.1)
    assert readings.age_s(after) == pytest.approx(1.0, abs=0.1)
    readings.ahead_s = 10.0
    readings.read()
    assert readings.age_s(before) == pytest.approx(1.0, abs=0.1)
    assert readings.age_s(after) == pytest.approx(1.0, abs=0.1)


def test_a_clock_that_goes_back_lets_nothing_expire_early(readings: Readings) -> None:
    readings.read()
    readings.ahead_s = 5.0
    before = readings.entry(1.0)
    readings.read()
    readings.ahead_s = 0.0
    after = readings.entry(1.0)
    readings.read()
    assert readings.age_s(before) < 1.0
    assert readings.age_s(after) == pytest.approx(1.0, abs=0.1)


def test_a_process_that_stood_still_sees_no_jump(readings: Readings) -> None:
    """The reply was there all the time."""
    readings.read()
    entry = readings.entry(1.0)
    readings.read(20.0)
    readings.read()
    assert readings.age_s(entry) == pytest.approx(1.0, abs=0.1)
