"""The api is killed while many write reports: what was acknowledged is kept, whole, and once for each key."""

import csv
import itertools
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from threading import Event

import pytest

from sightline_testing.faults.keeper import Keeper, Scale
from sightline_testing.faults.system import System
from sightline_testing.waiting import wait_until

ANSWERED = 201
PAUSE_S = 0.05
# Every so many kills it is the master rather than a process that answers.
MASTER_EACH = 10


@pytest.fixture
def system(keeper: Keeper) -> Iterator[System]:
    """A service that nobody has to share its reports with."""
    keeper.stop()
    yield keeper.give()
    keeper.stop()


def test_reports_are_kept_once_each_while_the_api_is_killed(system: System, scale: Scale) -> None:
    writers, reports, kills = scale.of((8, 25, 4), (64, 1000, 200))
    answer = system.client.upload("/predict?top_k=1", system.asked[0].content).json()
    writing = Writing(system, answer["prediction_id"])
    begin = time.monotonic()
    with ThreadPoolExecutor(writers) as pool:
        written = [pool.submit(writing.write, f"writer-{number}", reports) for number in range(writers)]
        try:
            kill_again_and_again(system, writing, kills, writers * reports)
        except BaseException:
            writing.broken_off.set()
            raise
        ids = dict(itertools.chain.from_iterable(future.result() for future in written))
    if scale.is_full:
        seconds = time.monotonic() - begin
        scale.tell(f"{len(ids)} reports, {writers} writers, {kills} kills, {writing.again} sent again, {seconds:.0f} s")
    assert len(ids) == writers * reports
    check(system.state_dir / "feedback", ids)
    if scale.is_full:
        scale.tell(f"{len(ids)} reports: 0 lost, 0 torn, 0 doubled")


class Writing:
    """Clients that send each report, with its key, until it is acknowledged."""

    def __init__(self, system: System, prediction_id: str) -> None:
        self._client = system.client
        self._prediction_id = prediction_id
        self.accepted = itertools.count()
        self.last_accepted = 0
        self.again = 0
        self.broken_off = Event()

    def write(self, writer: str, reports: int) -> list[tuple[str, str]]:
        """Give the comment and the id of each."""
        return list(self._ids(writer, reports))

    def _ids(self, writer: str, reports: int) -> Iterator[tuple[str, str]]:
        for number in range(reports):
            comment = f'{writer}, report {number}:\nit says "no", and more'
            yield comment, self._sent(f"{writer}-{number}", comment)

    def _sent(self, key: str, comment: str) -> str:
        body = json.dumps({"prediction_id": self._prediction_id, "label": "tabby", "comment": comment}).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        while not self.broken_off.is_set():
            try:
                response = self._client.send("POST", "/feedback", body, headers)
            except (OSError, HTTPException):
                pass  # it was killed; whether the report is kept, nobody knows
            else:
                assert response.status == ANSWERED or response.status >= 500, response.text
                if response.status == ANSWERED:
                    self.last_accepted = next(self.accepted)
                    return str(response.json()["report_id"])
            self.again += 1
            time.sleep(PAUSE_S)
        pytest.fail("broken off")


def kill_again_and_again(system: System, writing: Writing, kills: int, reports: int) -> None:
    """Kill what answers so many times, each time in the midst of writing."""
    for count in range(1, kills + 1):
        accepted = writing.last_accepted
        # Spread over all of the writing, and never before the one that was killed last has been replaced.
        due = min(count * reports // (kills + 1), reports - 2)
        wait_until(lambda: writing.last_accepted > max(accepted, due), "reports are accepted", 120)  # noqa: B023
        [victim, *_] = [system.api_master()] if count % MASTER_EACH == 0 else system.api_pids()
        system.kill(victim)


def check(folder: Path, ids: dict[str, str]) -> None:
    """Hold the files against what was acknowledged."""
    text = (folder / "feedback.csv").read_text(encoding="utf-8")
    assert text.endswith("\n")
    rows = whole_rows(text)
    kept = [(row["report_id"], row["comment"]) for row in rows]
    assert len(kept) == len(set(kept)), "a report is there twice"
    lost = set(ids.values()) - {report_id for report_id, _ in kept}
    assert not lost, f"{len(lost)} acknowledged reports are lost"
    assert len(kept) == len(ids), "a report is there twice under one key"
    # All are about one answer.
    lines = set((folder / "feedback").read_text(encoding="utf-8").splitlines())
    assert len(lines) == 1, f"a line is torn: {lines}"


def whole_rows(text: str) -> list[dict[str, str]]:
    """The rows of the CSV; AssertionError where one is not whole."""
    try:
        rows = list(csv.DictReader(text.splitlines(keepends=True), strict=True))
    except csv.Error as fault:
        raise AssertionError(f"a row is torn: {fault}") from fault
    torn = [row for row in rows if None in row or None in row.values()]
    assert not torn, f"a row is torn: {torn}"
    return rows
