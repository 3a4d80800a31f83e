"""What holds for the history wherever it is kept, and what a file of one host is exposed to."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.errors import StorageStuck
from storage.history import port
from storage.history.folder import FolderHistory
from storage.history.port import DAY, HOUR, KEPT_S, MINUTE, History, Sample, Sum
from storage.history.postgres import PostgresHistory
from storage.reports.postgres.database import Database

NOON = 1_700_049_600
ONE = Sample("answers", "200", "", 1.0)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, timeout_s=30)
    yield database
    database.close()


@pytest.fixture(params=["folder", "postgres"])
def history(request: pytest.FixtureRequest, tmp_path: Path) -> History:
    if request.param == "folder":
        return FolderHistory(tmp_path / "feedback")
    return PostgresHistory(request.getfixturevalue("database"))


def test_samples_are_added_up_by_minute_hour_and_day(history: History) -> None:
    assert history.read(DAY, 0, NOON * 2, ["answers"]) == []
    history.add(NOON + 59.9, [ONE, Sample("answers", "503", "queue_full", 2.5), Sample("other", "200", "", 9)])
    history.add(NOON + 60, [ONE])
    minutes = history.read(MINUTE, NOON, NOON + HOUR, ["answers"])
    assert minutes == [
        Sum(NOON, "answers", "200", "", 1),
        Sum(NOON, "answers", "503", "queue_full", 2.5),
        Sum(NOON + 60, "answers", "200", "", 1),
    ]
    assert history.read(MINUTE, NOON, NOON + 60, ["answers"]) == minutes[:2]
    [hour, _] = history.read(HOUR, NOON, NOON + HOUR, ["answers"])
    assert hour == Sum(NOON // HOUR * HOUR, "answers", "200", "", 2)
    assert {each.name for each in history.read(DAY, 0, NOON * 2, ["answers", "other"])} == {"answers", "other"}


def test_each_period_is_kept_for_its_time(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port, "KEPT_S", {MINUTE: 2 * MINUTE, HOUR: 2 * HOUR, DAY: 3 * DAY})
    for minute in range(5):
        history.add(NOON + minute * MINUTE, [ONE])
    kept = [each.at for each in history.read(MINUTE, 0, NOON * 2, ["answers"])]
    assert kept == [NOON + minute * MINUTE for minute in (2, 3, 4)]
    for day in range(1, 6):
        history.add(NOON + day * DAY, [ONE])
    assert [len(history.read(period, 0, NOON * 2, ["answers"])) for period in KEPT_S] == [3, 3, 4]


def test_labels_are_kept_by_day_alone(history: History) -> None:
    history.add(NOON, [Sample("label", "net/1", "tabby", 1)])
    assert [len(history.read(period, 0, NOON * 2, ["label"])) for period in KEPT_S] == [0, 0, 1]


@pytest.mark.parametrize("ahead_s", [30 * DAY, 4000 * DAY, -4000 * DAY])
def test_a_clock_that_was_wrong_for_a_while_removes_nothing(history: History, ahead_s: int) -> None:
    for day in range(3):
        history.add(NOON + day * DAY, [ONE])
    for minute in range(3):
        history.add(NOON + 2 * DAY + ahead_s + minute * MINUTE, [ONE])
    history.add(NOON + 2 * DAY + MINUTE, [ONE])
    assert [len(history.read(period, NOON - DAY, NOON + 3 * DAY, ["answers"])) for period in KEPT_S] == [4, 3, 3]


def test_many_writers_at_once_lose_nothing(history: History) -> None:
    samples = [Sample("answers", str(number), "", 1.0) for number in range(5)]

    def write() -> None:
        for _ in range(10):
            history.add(NOON, samples)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {each.amount for each in history.read(DAY, 0, NOON * 2, ["answers"])} == {80.0}


def test_a_damaged_file_is_set_aside(tmp_path: Path) -> None:
    history = FolderHistory(tmp_path)
    history.add(NOON, [ONE])
    history.path.write_bytes(b"no database at all" * 100)
    history.add(NOON, [ONE])
    assert [each.amount for each in history.read(MINUTE, 0, NOON * 2, ["answers"])] == [1.0]
    assert len(list(tmp_path.glob("history.sqlite3.damaged-*"))) == 1


def test_a_place_that_cannot_be_written_to_is_reported(tmp_path: Path) -> None:
    history = FolderHistory(tmp_path)
    history.path.mkdir()
    with pytest.raises((OSError, StorageStuck)):
        history.add(NOON, [ONE])


def test_a_year_of_a_thousand_labels_and_a_day_of_minutes_stays_below_fifty_megabytes(tmp_path: Path) -> None:
    history = FolderHistory(tmp_path)
    labels = [Sample("label", "net/1-int8", f"a_label_of_usual_length_{number}", 1) for number in range(1000)]
    sizes = []
    for day in range(6):
        history.add(NOON + day * DAY, labels)
        sizes.append(history.path.stat().st_size)
    assert (sizes[-1] - sizes[0]) / 5 * 365 < 50e6
