"""PostgreSQL is killed and restarted while many write reports: what was acknowledged is kept, whole, and once each."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sightline_testing.faults.keeper import USUAL, Keeper, Scale
from sightline_testing.faults.system import System
from sightline_testing.faults.writing import Writing, check_rows, ids_of
from sightline_testing.postgres_server import PostgresServer
from sightline_testing.waiting import wait_until
from storage.reports.postgres import transfer

# How long it is away, each time: shorter and longer than a request waits.
AWAY_S = (0.0, 0.5, 3.0)


@pytest.fixture
def system(keeper: Keeper, database_url: str) -> Iterator[System]:
    """A service with two api processes, whose reports are in a database of their own."""
    yield keeper.give({**USUAL, "DATABASE_URL": database_url, "API_WORKERS": "2"}, workers=1)
    keeper.stop()


def test_reports_are_kept_once_each_while_their_database_is_killed(
    system: System, scale: Scale, postgres_process: PostgresServer, database_url: str, tmp_path: Path
) -> None:
    writers, reports, kills = scale.of((8, 20, 3), (64, 150, 20))
    answer = system.client.upload("/predict?top_k=1", system.asked[0].content).json()
    writing = Writing(system.client, answer["prediction_id"])
    begin = time.monotonic()
    with writing.by(writers, reports) as written:
        for count in range(1, kills + 1):
            due = count * writers * reports // (kills + 1)
            wait_until(lambda: writing.last_accepted > due, "reports are accepted", 120)  # noqa: B023
            postgres_process.kill()
            if scale.is_full:
                time.sleep(AWAY_S[count % len(AWAY_S)])
            postgres_process.start()
    ids = ids_of(written)
    if scale.is_full:
        seconds = time.monotonic() - begin
        scale.tell(f"{len(ids)} reports, {writers} writers, {kills} kills, {writing.again} sent again, {seconds:.0f} s")
    assert len(ids) == writers * reports
    database = transfer.open_database(database_url)
    transfer.export_folder(database, tmp_path / "out")
    database.close()
    check_rows((tmp_path / "out" / "feedback.csv").read_text(encoding="utf-8"), ids)
    pending = "SELECT count(*) FROM lines WHERE NOT is_filed"
    wait_until(lambda: postgres_process.execute(pending, "reports") == "0", "the files hold what was accepted")
    check_rows((system.state_dir / "feedback" / "feedback.csv").read_text(encoding="utf-8"), ids)
    if scale.is_full:
        scale.tell(f"{len(ids)} reports in PostgreSQL: 0 lost, 0 torn, 0 doubled")
