"""The disk fills up while images and reports come in: they are refused, nothing is torn, and it passes by itself."""

import csv
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sightline_testing.faults.keeper import Scale
from sightline_testing.faults.ledger import Outcome
from sightline_testing.faults.leftovers import nothing_left_over
from sightline_testing.faults.load import Load
from sightline_testing.faults.system import System
from sightline_testing.waiting import wait_until

RATE = 10.0
REPORT = "{{'filename': '{name}.jpg', 'prediction': \"carpenter's_kit\", 'score': 0.5}}"
FULL = "failed storage_full"


def test_a_full_disk_refuses_images_and_reports_and_tears_nothing(system: System, scale: Scale) -> None:
    reports, times = Reports(system), scale.of(2, 10)
    with nothing_left_over(system), Load(system.url, system.asked, rate=RATE) as load:
        wait_until(lambda: load.ledger.count(Outcome.RIGHT) > 5, "it answers")
        for attempt in range(times):
            assert reports.send(f"before-{attempt}") == 200
            with full_disk(system, reports):
                refused = load.ledger.counts()[FULL]
                wait_until(lambda: load.ledger.counts()[FULL] > refused + 5, "images are refused")  # noqa: B023
                assert {reports.send(f"during-{attempt}-{number}") for number in range(5)} == {507}
            right = load.ledger.count(Outcome.RIGHT)
            wait_until(lambda: load.ledger.count(Outcome.RIGHT) > right + 5, "it answers again")  # noqa: B023
            assert reports.send(f"after-{attempt}") == 200
    ledger = load.ledger
    if scale.is_full:
        scale.tell(f"disk full {times} times: {ledger}; {len(reports.accepted)} reports acknowledged, the others 507")
    assert ledger.count(Outcome.RIGHT) + ledger.counts()[FULL] == len(ledger.entries), ledger
    reports.check()
    assert not list((system.state_dir / "uploads").glob(".*.part")), "an incomplete image was left behind"
    assert all(image.read_bytes().endswith(b"\xff\xd9") for image in (system.state_dir / "uploads").glob("*.jpg"))


class Reports:
    """Reports that are sent, and the files that have to hold all those that were accepted, once each."""

    def __init__(self, system: System) -> None:
        self._client = system.client
        self.rows = system.state_dir / "feedback" / "feedback.csv"
        self.lines = system.state_dir / "feedback" / "feedback"
        self.accepted: list[str] = []

    def send(self, name: str) -> int:
        """Send one and give the status."""
        status = self._client.post_form("/feedback", {"report": REPORT.format(name=name)}).status
        if status == 200:
            self.accepted.append(name)
        return status

    def check(self) -> None:
        """Hold the files against what was accepted."""
        text = self.rows.read_text(encoding="utf-8")
        assert text.endswith("\n")
        rows = list(csv.DictReader(text.splitlines(), strict=True))
        assert all(None not in row and None not in row.values() for row in rows), "a row is torn"
        kept = [Path(row["image_path"]).stem for row in rows]
        assert sorted(kept) == sorted(self.accepted), "the rows are not those that were acknowledged"
        lines = self.lines.read_text(encoding="utf-8").splitlines()
        acknowledged = [REPORT.format(name=name) for name in self.accepted]
        assert sorted(lines) == sorted(acknowledged), "the lines are not those that were acknowledged"


@contextmanager
def full_disk(system: System, reports: Reports) -> Iterator[None]:
    """Let no file of the api grow beyond what the reports have now and a little: the same errors as a full disk."""
    pids = system.api_pids()
    size = max(reports.rows.stat().st_size, reports.lines.stat().st_size) + 20
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        for pid in pids:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
