from __future__ import annotations

import logging
import threading

import pytest

from sightline_testing.waiting import WAIT_S, wait_until
from wire import QueueUnavailable
from wire.redis.loop import LONGEST_PAUSE_S, Backoff, Loop


def test_a_step_that_fails_is_told_of_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    faults: list[Exception] = [QueueUnavailable("away"), QueueUnavailable("away still"), ValueError("a bug")]
    done = threading.Event()

    def step() -> None:
        if faults:
            raise faults.pop(0)
        done.set()

    loop = Loop("steps", step, 0.001)
    with caplog.at_level(logging.INFO):
        loop.start()
        assert done.wait(WAIT_S)
        loop.stop()
    # Loops of other tests' connections may continue.
    messages = [record.message for record in caplog.records if record.message.startswith("steps: ")]
    assert messages[:2] == ["steps: away", "steps: unexpected fault"]
    assert "steps: works again" in messages


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_is_started_again() -> None:
    runs: list[threading.Thread] = []

    def step() -> None:
        runs.append(threading.current_thread())
        if len(runs) == 1:
            raise SystemExit

    loop = Loop("steps", step, 0.001)
    loop.start()
    wait_until(lambda: runs and not runs[0].is_alive(), "the first thread is dead")
    loop.start()
    wait_until(lambda: len(runs) > 2, "a second one runs")
    assert runs[1] is not runs[0]
    loop.stop()
    assert not runs[1].is_alive()


def test_a_loop_for_which_no_thread_was_to_be_had_starts_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    ran = threading.Event()
    loop = Loop("steps", ran.set, 0.001)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            loop.start()
    loop.start()
    assert ran.wait(WAIT_S)
    loop.stop()


def test_a_stopped_loop_is_not_started_again() -> None:
    loop = Loop("steps", lambda: None, 0.001)
    loop.start()
    loop.stop()
    loop.start()
    assert loop.is_stopping


def test_a_step_may_stop_its_own_loop() -> None:
    stopped = threading.Event()

    def step() -> None:
        loop.stop()
        stopped.set()

    loop = Loop("steps", step)
    loop.start()
    assert stopped.wait(WAIT_S)


def test_a_loop_that_is_hurried_does_not_wait_for_its_interval() -> None:
    steps = threading.Semaphore(0)
    loop = Loop("steps", steps.release, interval_s=3600)
    loop.start()
    assert steps.acquire(timeout=WAIT_S)
    loop.hurry()
    assert steps.acquire(timeout=WAIT_S)
    loop.stop()


def test_pauses_double_up_to_a_second_and_begin_anew_after_success() -> None:
    backoff = Backoff()
    pauses = [backoff.next_pause_s() for _ in range(10)]
    ceilings = [min(0.05 * 2**attempt, LONGEST_PAUSE_S) for attempt in range(10)]
    assert all(ceiling / 2 <= pause <= ceiling for pause, ceiling in zip(pauses, ceilings, strict=True))
    backoff.reset()
    assert backoff.next_pause_s() <= 0.05
