import threading
import time

import pytest

from sightline.pacing import Pacing, Stopped


def test_no_more_are_let_through_than_the_limit() -> None:
    pacing, together, most = Pacing(2), 0, 0
    lock = threading.Lock()

    def pass_through() -> None:
        nonlocal together, most
        with pacing.places(1):
            with lock:
                together += 1
                most = max(most, together)
            while most < 2:  # the next one has not come yet
                time.sleep(0.001)
            with lock:
                together -= 1

    threads = [threading.Thread(target=pass_through) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert most == 2


def test_what_goes_well_widens_up_to_the_most() -> None:
    pacing = Pacing(6)
    for _ in range(100):
        pacing.went_well()
    assert pacing.limit == 6


def test_until_a_refusal_the_limit_doubles_with_each_round() -> None:
    pacing = Pacing(64)
    for _ in range(4):
        pacing.went_well()
    assert pacing.limit == 8
    pacing.was_refused(0.0)
    for _ in range(4):
        pacing.went_well()
    assert 4.9 < pacing.limit < 5


def test_a_request_has_a_share_of_the_limit_so_that_others_are_under_way() -> None:
    pacing = Pacing(32)
    with pacing.places(8) as count:
        assert count == 1
    pacing.went_well(28)
    with pacing.places(8) as first, pacing.places(8) as second, pacing.places(2) as third:
        assert (first, second, third) == (8, 8, 2)


def test_a_refusal_halves_once_for_each_pause_and_never_below_one() -> None:
    pacing = Pacing(32)
    for _ in range(20):
        pacing.was_refused(30.0)
    assert pacing.limit == 2
    for _ in range(20):
        pacing.was_refused(0.0)
        pacing._not_before = 0.0
    assert pacing.limit == 1


def test_who_waits_when_the_run_ends_is_told() -> None:
    pacing = Pacing(1)
    pacing.was_refused(3600.0)
    told: list[str] = []

    def wait() -> None:
        try:
            with pacing.places(1):
                told.append("through")
        except Stopped:
            told.append("stopped")

    thread = threading.Thread(target=wait)
    thread.start()
    pacing.stop()
    thread.join(30)
    assert told == ["stopped"]
    with pytest.raises(Stopped), pacing.places(1):
        pass
