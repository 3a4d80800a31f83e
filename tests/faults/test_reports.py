"""The api is killed while many write reports: what was acknowledged is kept, whole, and once for each key."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sightline_testing.faults.keeper import Keeper, Scale
from sightline_testing.faults.system import System
from sightline_testing.faults.writing import Writing, check_rows, ids_of
from sightline_testing.waiting import wait_until

# Every so many kills it is all of the api rather than one process.
ALL_EACH = 10


@pytest.fixture
def system(keeper: Keeper) -> Iterator[System]:
    """A service whose reports no other test uses."""
    keeper.stop()
    yield keeper.give()
    keeper.stop()


def test_reports_are_kept_once_each_while_the_api_is_killed(system: System, scale: Scale) -> None:
    writers, reports, kills = scale.of((8, 25, 4), (64, 1000, 200))
    answer = system.client.upload("/predict?top_k=1", system.asked[0].content).json()
    writing = Writing(system.client, answer["prediction_id"])
    begin = time.monotonic()
    with writing.by(writers, reports) as written:
        kill_again_and_again(system, writing, kills, writers * reports)
    ids = ids_of(written)
    if scale.is_full:
        seconds = time.monotonic() - begin
        scale.tell(f"{len(ids)} reports, {writers} writers, {kills} kills, {writing.again} sent again, {seconds:.0f} s")
    assert len(ids) == writers * reports
    check(system.state_dir / "feedback", ids)
    if scale.is_full:
        scale.tell(f"{len(ids)} reports: 0 lost, 0 torn, 0 doubled")


def kill_again_and_again(system: System, writing: Writing, kills: int, reports: int) -> None:
    """Kill what answers so many times, each time in the midst of writing."""
    for count in range(1, kills + 1):
        accepted = writing.last_accepted
        # Spread over all of the writing, and never before the one that was killed last has been replaced.
        due = min(count * reports // (kills + 1), reports - 2)
        wait_until(lambda: writing.last_accepted > max(accepted, due), "reports are accepted", 120)  # noqa: B023
        if count % ALL_EACH == 0:
            system.kill_api()
        else:
            system.kill(system.api_pids()[0])


def check(folder: Path, ids: dict[str, str]) -> None:
    """Hold the files against what was acknowledged."""
    check_rows((folder / "feedback.csv").read_text(encoding="utf-8"), ids)
    # All are about one answer.
    lines = set((folder / "feedback").read_text(encoding="utf-8").splitlines())
    assert len(lines) == 1, f"a line is torn: {lines}"
