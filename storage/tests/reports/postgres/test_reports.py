"""What PostgreSQL adds: several hosts, a server that is killed, and files that hold what their host has accepted."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sightline_testing.postgres_server import PostgresServer
from storage.errors import DatabaseUnavailable, KeyReused
from storage.reports import files
from storage.reports.postgres import reports as postgres_reports_module
from storage.reports.postgres.database import Database, ask
from storage.reports.postgres.reports import PostgresReports
from tests.reports.samples import add, decide, found, id_of, report_of, shown, state_of
from wire.tables.feedback import REPORTS_FILE


@pytest.fixture
def other(database_url: str, tmp_path: Path) -> Iterator[PostgresReports]:
    """The same reports, on another host."""
    database = Database(database_url)
    yield PostgresReports(database, tmp_path / "other" / "feedback", 1024**3)
    database.close()


def test_what_one_host_accepts_all_see_and_only_its_files_hold(
    postgres_reports: PostgresReports, other: PostgresReports, lines: Path, tmp_path: Path
) -> None:
    add(postgres_reports, "a")
    add(other, "b")
    decide(other, "a", "correct", "lynx")
    for each in (postgres_reports, other):
        assert [case["report_id"] for case in shown(each)] == [id_of("b"), id_of("a")]
        assert state_of(each, "a") == ("corrected", "lynx", "ann")
    assert lines.read_text() == "a\n"
    assert (tmp_path / "other" / "feedback").read_text() == "b\n"


def test_a_report_that_is_sent_again_to_another_host_is_kept_once(
    postgres_reports: PostgresReports, other: PostgresReports, tmp_path: Path
) -> None:
    postgres_reports.add(report_of("a", b"a" * 16))
    other.add(report_of("a", b"a" * 16))
    with pytest.raises(KeyReused):
        other.add(report_of("a", b"b" * 16, comment="another"))
    assert len(shown(other)) == 1
    assert not (tmp_path / "other" / REPORTS_FILE).exists()


def test_a_server_that_was_restarted_is_used_as_if_nothing_had_happened(
    postgres_reports: PostgresReports, postgres_process: PostgresServer
) -> None:
    add(postgres_reports, "a")
    for name in "bc":
        postgres_process.kill()
        postgres_process.start()
        add(postgres_reports, name)
    assert len(shown(postgres_reports)) == 3


def test_a_server_that_is_away_is_an_error_until_it_is_back(
    postgres_reports: PostgresReports, postgres_process: PostgresServer, lines: Path
) -> None:
    add(postgres_reports, "a")
    postgres_process.kill()
    with pytest.raises(DatabaseUnavailable):
        add(postgres_reports, "b")
    with pytest.raises(DatabaseUnavailable):
        decide(postgres_reports, "a", "reject")
    postgres_process.start()
    add(postgres_reports, "c")
    assert state_of(postgres_reports, "a") == ("open", "", "")
    assert postgres_reports.find(id_of("b")) is None
    assert lines.read_text() == "a\nc\n"


def test_a_server_that_takes_no_writes_any_more_is_left_for_the_one_that_does(
    postgres_reports: PostgresReports, postgres_process: PostgresServer
) -> None:
    add(postgres_reports, "a")
    postgres_process.execute("ALTER DATABASE reports SET default_transaction_read_only = on")
    postgres_process.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sightline'"
    )
    with pytest.raises(DatabaseUnavailable, match="read-only"):
        add(postgres_reports, "b")
    postgres_process.execute("ALTER DATABASE reports RESET default_transaction_read_only")
    add(postgres_reports, "c")


class LostError(Exception):
    """The moment at which a process is killed."""


@pytest.mark.parametrize("step", ["_append", "_set_filed"])
def test_files_get_what_a_killed_process_has_left_out_once(
    postgres_reports: PostgresReports, lines: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    add(postgres_reports, "a")

    def die(*_: object) -> None:
        raise LostError

    for name in "bc":
        with monkeypatch.context() as patch:
            patch.setattr(postgres_reports, step, die)
            with pytest.raises(LostError):
                add(postgres_reports, name)
    assert lines.read_text() == ("a\n" if step == "_append" else "a\nb\nc\n")
    for _ in range(2):
        postgres_reports.heal()
        assert lines.read_text() == "a\nb\nc\n"
    assert len(lines.with_name(REPORTS_FILE).read_text().splitlines()) == 4


def test_what_was_removed_from_a_file_stays_removed(postgres_reports: PostgresReports, lines: Path) -> None:
    add(postgres_reports, *"ab")
    lines.write_text("b\n")
    postgres_reports.heal()
    add(postgres_reports, "c")
    assert lines.read_text() == "b\nc\n"


def test_a_disk_that_fails_keeps_no_report_away_and_gets_it_later(
    postgres_reports: PostgresReports, lines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(postgres_reports, "a")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "append", fail)
        add(postgres_reports, "b")
    assert found(postgres_reports, "b")["status"] == "open"
    add(postgres_reports, "c")
    assert sorted(lines.read_text().splitlines()) == ["a", "b", "c"]


def test_without_a_folder_to_write_to_reports_are_kept(database: Database, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    reports = PostgresReports(database, tmp_path / "file" / "feedback", 1024**3)
    add(reports, "a")
    reports.heal()
    assert len(shown(reports)) == 1


def test_names_of_classes_are_those_of_all_hosts_soon(
    postgres_reports: PostgresReports, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert postgres_reports.renames() == ()
    query = "INSERT INTO renames (digest, time, label, name, reviewer) VALUES ('x', '', 'notebook', 'laptop', '')"
    database.run(lambda connection: ask(connection, query))
    monkeypatch.setattr(postgres_reports_module, "RENAMES_FRESH_S", -1)
    assert postgres_reports.renames() == (("notebook", "laptop"),)


def test_names_are_known_while_the_database_is_away(
    postgres_reports: PostgresReports, postgres_process: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert postgres_reports.renames() == ()
    monkeypatch.setattr(postgres_reports_module, "RENAMES_FRESH_S", -1)
    postgres_process.kill()
    try:
        assert postgres_reports.renames() == ()
    finally:
        postgres_process.start()


def test_no_more_connections_are_opened_than_allowed(database_url: str, postgres_process: PostgresServer) -> None:
    database = Database(database_url, connections=2, timeout_s=0.2)
    with pytest.raises(DatabaseUnavailable, match="busy"):
        database.run(lambda _: database.run(lambda _: database.run(lambda _: None)))
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sightline'"
    assert postgres_process.execute(count) == "2"
    database.close()


def test_nothing_of_a_database_is_imported_without_one() -> None:
    script = "import sys, storage.reports.folder; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"sqlalchemy", "psycopg", "alembic"} & set(done.stdout.split())


def test_files_get_what_they_lack_with_the_next_report_where_the_database_was_away_at_the_start(
    database: Database, lines: Path, postgres_process: PostgresServer
) -> None:
    add(PostgresReports(database, lines, 1024**3), *"ab")
    database.run(lambda connection: ask(connection, "UPDATE lines SET is_filed = false"))
    for path in lines.parent.iterdir():
        if path.name != files.ID_NAME:
            path.unlink()
    begun = PostgresReports(database, lines, 1024**3)
    postgres_process.kill()
    with pytest.raises(DatabaseUnavailable):
        begun.heal()
    postgres_process.start()
    add(begun, "c")
    assert sorted(lines.read_text().splitlines()) == ["a", "b", "c"]
