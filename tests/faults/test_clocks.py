"""The clocks of api and workers are wrong, by seconds and in either direction, and jump: no deadline notices."""

import shutil
import signal
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from sightline_testing.faults import skewed_clock
from sightline_testing.faults.keeper import USUAL, Keeper, Scale
from sightline_testing.faults.ledger import Outcome
from sightline_testing.faults.leftovers import nothing_left_over
from sightline_testing.faults.load import Load
from sightline_testing.faults.sabotage import copy_of_source
from sightline_testing.faults.system import System, running_system
from sightline_testing.waiting import wait_until

RATE = (15.0, 60.0)
SKEW_S = 5
# Shorter than the clocks are apart: whoever compared them would drop what has time, or do what has none.
DEADLINE_MS = 2_000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the service whose api and workers each have a clock of their own; Redis keeps the machine's."""
    source = copy_of_source(tmp_path)
    for part in ("api", "model"):
        shutil.copy(skewed_clock.__file__, source / part / "sitecustomize.py")
    return source


@pytest.fixture
def skewed(source: Path, tmp_path: Path, keeper: Keeper) -> Iterator[System]:
    keeper.stop()
    set_clocks(source, api=SKEW_S, model=-SKEW_S)
    with running_system(tmp_path / "state", USUAL, source=source) as system:
        yield system


def set_clocks(source: Path, **seconds: int) -> None:
    for part, skew in seconds.items():
        (source / part / skewed_clock.FILE.name).write_text(f"{skew}\n")


def test_no_deadline_depends_on_the_clocks_of_api_and_workers(skewed: System, source: Path, scale: Scale) -> None:
    headers = {"X-Request-Timeout-Ms": f"{scale.of(60_000, DEADLINE_MS)}"}
    assert abs(clock_of_the_api(skewed) - time.time() - SKEW_S) < SKEW_S, "the clock is right: this proves nothing"
    with nothing_left_over(skewed), Load(skewed.url, skewed.asked, rate=scale.of(*RATE), headers=headers) as load:
        for api, model in ((SKEW_S, -SKEW_S), (-SKEW_S, SKEW_S), (0, -SKEW_S), (3600, 0)):
            set_clocks(source, api=api, model=model)
            time.sleep(scale.of(1.0, 15.0))
    assert load.ledger.count(Outcome.RIGHT) == len(load.ledger.entries), load.ledger


def test_work_that_nobody_waits_for_is_dropped_by_a_worker_that_is_behind(skewed: System) -> None:
    """The worker believes that the jobs were sent in its future."""
    for pid in skewed.worker_pids():
        skewed.kill(pid, signal.SIGSTOP)
    with Load(skewed.url, skewed.asked, rate=20.0, headers={"X-Request-Timeout-Ms": "300"}) as load:
        wait_until(lambda: load.ledger.count(Outcome.LATE) > 5, "some were too late")
    for pid in skewed.worker_pids():
        skewed.kill(pid, signal.SIGCONT)
    assert load.ledger.count(Outcome.LATE, Outcome.REFUSED) == len(load.ledger.entries), load.ledger
    wait_until(lambda: skewed.queue_depth() == 0, "nothing is left to do")


def clock_of_the_api(system: System) -> float:
    return parsedate_to_datetime(system.client.get("/livez").headers["Date"]).timestamp()
