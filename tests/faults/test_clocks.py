"""The clocks of api and workers are wrong, by seconds and in either direction, and jump: no deadline notices."""

import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from sightline_testing.faults import skewed_clock
from sightline_testing.faults.keeper import USUAL, Keeper, Scale
from sightline_testing.faults.ledger import Outcome
from sightline_testing.faults.leftovers import nothing_left_over
from sightline_testing.faults.load import Load
from sightline_testing.faults.rates import usual_rate
from sightline_testing.faults.sabotage import Sabotage
from sightline_testing.faults.system import System, running_system
from sightline_testing.waiting import wait_until

RATE = 15.0
SKEW_S = 5
# Shorter than the clocks are apart: code that compared them would drop jobs that have time, or do jobs that have none.
DEADLINE_MS = 2_000
TOO_SHORT_MS = 1_000
AT_STAKE = 10
# A consumer that waits for a job is given one even while its process is held still.
SKEWED = {**USUAL, "CONSUMERS": "1"}


@pytest.fixture
def source(tmp_path: Path, sabotage: Sabotage) -> Path:
    """A copy of the service whose api and workers each have a clock of their own; Redis keeps the machine's."""
    source = sabotage.copy(tmp_path)
    for part in ("api", "model"):
        shutil.copy(skewed_clock.__file__, source / part / "sitecustomize.py")
    return source


@pytest.fixture
def skewed(source: Path, tmp_path: Path, keeper: Keeper, sabotage: Sabotage) -> Iterator[System]:
    keeper.stop()
    set_clocks(source, api=SKEW_S, model=-SKEW_S)
    with running_system(tmp_path / "state", {**SKEWED, **sabotage.settings}, source=source) as system:
        yield system


def set_clocks(source: Path, **seconds: int) -> None:
    for part, skew in seconds.items():
        (source / part / skewed_clock.FILE.name).write_text(f"{skew}\n")


def test_no_deadline_depends_on_the_clocks_of_api_and_workers(skewed: System, source: Path, scale: Scale) -> None:
    headers = {"X-Request-Timeout-Ms": f"{scale.of(60_000, DEADLINE_MS)}"}
    assert abs(clock_of_the_api(skewed) - time.time() - SKEW_S) < SKEW_S, "the clock is right: this proves nothing"
    with (
        nothing_left_over(skewed),
        Load(skewed.url, skewed.asked, rate=usual_rate(skewed, scale, RATE), headers=headers) as load,
    ):
        for api, model in ((SKEW_S, -SKEW_S), (-SKEW_S, SKEW_S), (0, -SKEW_S), (3600, -3600), (-3600, 3600)):
            set_clocks(source, api=api, model=model)
            time.sleep(scale.of(1.0, 15.0))
    if scale.is_full:
        scale.tell(f"clocks wrong by {SKEW_S} s and by an hour: {load.ledger}")
    assert load.ledger.count(Outcome.RIGHT), load.ledger
    assert not load.ledger.failed(), load.ledger


def test_work_that_nobody_waits_for_is_dropped_by_a_worker_that_is_behind(skewed: System) -> None:
    """The worker believes that the jobs were sent in its future, and the api cannot take them back."""
    with Load(skewed.url, skewed.asked, rate=50.0, headers={"X-Request-Timeout-Ms": f"{TOO_SHORT_MS}"}) as load:
        with skewed.held_workers():
            wait_until(lambda: skewed.queue_depth() >= AT_STAKE, "jobs are in the queue")
            held = skewed.api_pids()
            for pid in held:
                skewed.kill(pid, signal.SIGSTOP)
            time.sleep(1.2 * TOO_SHORT_MS / 1000)
            # A busy worker was stopped with a batch in hand, and a busy api has not read every answer.
            came_in_time = skewed.pending() + kinds_of_replies(skewed)["answer"]
        try:
            wait_until(lambda: skewed.queue_depth() == 0, "nothing is left to do")
            done = kinds_of_replies(skewed)
        finally:
            for pid in held:
                skewed.kill(pid, signal.SIGCONT)
        load.rate = 0.0
    assert done["answer"] <= came_in_time, (
        f"{done['answer']} jobs were done without a waiting client, and {came_in_time} came in time"
    )
    assert done["failure"], "no job was left to be dropped: this proves nothing"


def kinds_of_replies(system: System) -> Counter[str]:
    """Return the numbers of unread answers and failures."""
    names = system.redis("KEYS", system.keys.replies("*").replace("{", "[{]"))
    entries = [entry for name in names for entry in system.redis("XRANGE", name, "-", "+")]
    return Counter(fields[0].decode() for _, fields in entries)


def clock_of_the_api(system: System) -> float:
    return parsedate_to_datetime(system.client.get("/livez").headers["Date"]).timestamp()
