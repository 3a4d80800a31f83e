import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.watchdog import POLLS_THAT_MAKE_GROWTH, Watchdog, resident_mb
from sightline_testing.waiting import wait_until

MODEL = Path(__file__).resolve().parents[2]
# A worker that computes for ever with the interpreter's lock in hand.
LOCKED = (
    "import re, time; from serving.watchdog import Watchdog\n"
    "watchdog = Watchdog(print, hang_s=2, max_growth_mb=0, max_failures=0)\n"
    "watchdog.start(); time.sleep(0.5); re.fullmatch('(a+)+', 'a' * 64 + 'b')\n"
)


def ails() -> bool:
    return False


@pytest.fixture
def reasons() -> list[str]:
    return []


@pytest.fixture
def watchdog(reasons: list[str]) -> Iterator[Watchdog]:
    watchdog = Watchdog(reasons.append, hang_s=60, max_growth_mb=50, max_failures=3)
    watchdog.start()
    yield watchdog
    watchdog.stop()


def test_a_fresh_worker_is_asked_for_once_after_so_many_failures_in_a_row(
    watchdog: Watchdog, reasons: list[str]
) -> None:
    for flags in ([True, True, False, True], [True]):
        watchdog.note(flags, ails)
    assert not reasons
    watchdog.note([True, True], ails)
    assert len(reasons) == 1
    assert "3 jobs in a row" in reasons[0]


def test_failures_of_a_sound_worker_bring_no_fresh_one_whoever_asks_for_them(
    watchdog: Watchdog, reasons: list[str]
) -> None:
    tries: list[bool] = []

    def is_sound() -> bool:
        tries.append(True)
        return True

    for _ in range(12):
        watchdog.note([True], is_sound)
    assert not reasons
    assert len(tries) == 4
    watchdog.note([True, True, True], ails)
    assert len(reasons) == 1


def test_memory_that_stays_taken_brings_a_fresh_worker(reasons: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.watchdog.POLL_EVERY_S", 0.01)
    watchdog = Watchdog(reasons.append, hang_s=60, max_growth_mb=50, max_failures=3)
    watchdog.start()
    held = b"\1" * (200 * 1024 * 1024)
    wait_until(lambda: reasons, "the growth was noticed")
    watchdog.stop()
    assert "MAX_MEMORY_GROWTH_MB=50" in reasons[0]
    assert held


def test_memory_that_is_held_on_purpose_is_no_growth(reasons: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([100.0, *([500.0] * 1000)])
    held = iter([400.0] * 100 + [100.0] * 1000)
    monkeypatch.setattr("serving.watchdog.POLL_EVERY_S", 0.001)
    monkeypatch.setattr("serving.watchdog.resident_mb", lambda: next(sizes))
    watchdog = Watchdog(reasons.append, hang_s=60, max_growth_mb=50, max_failures=3, held_mb=lambda: next(held))
    watchdog.start()
    wait_until(lambda: reasons, "the growth was noticed")
    watchdog.stop()
    assert "grown by 300 MB" in reasons[0]


def test_memory_that_is_given_back_in_time_is_no_growth(reasons: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([100.0, *([500.0] * (POLLS_THAT_MAKE_GROWTH - 1)), *([120.0] * 1000)])
    monkeypatch.setattr("serving.watchdog.POLL_EVERY_S", 0.001)
    monkeypatch.setattr("serving.watchdog.resident_mb", lambda: next(sizes))
    watchdog = Watchdog(reasons.append, hang_s=60, max_growth_mb=50, max_failures=3)
    watchdog.start()
    wait_until(lambda: next(sizes) == 120.0, "the peak has passed")
    watchdog.stop()
    assert not reasons


def test_the_memory_of_this_process_is_known() -> None:
    before = resident_mb()
    held = b"\1" * (100 * 1024 * 1024)
    assert resident_mb() > before + 90
    assert held


def test_a_process_that_hangs_with_the_lock_in_hand_ends_and_says_where() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LOCKED], cwd=MODEL, capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 1
    assert "fullmatch" in ended.stderr
