"""The audit log, as a file and in a database: rows are there whole, in their order, and bounded."""

import json
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.audit.log import AUDIT_FILE, MAX_TEXT, AuditFile, AuditLog, AuditRow
from storage.audit.postgres import PostgresAudit
from storage.reports.postgres.database import Database

ROW = AuditRow("Ann", "promote", {"version": "m/2-int8"}, "done", "192.0.2.1", "1-0", "2026-01-01T00:00:00.000+00:00")


@pytest.fixture(params=["file", "database"])
def audit(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AuditLog]:
    if request.param == "file":
        yield AuditFile(tmp_path / "feedback")
        return
    database = Database(request.getfixturevalue("database_url"))
    yield PostgresAudit(database)
    database.close()


def test_rows_come_back_newest_first_and_no_more_than_asked_for(audit: AuditLog) -> None:
    assert audit.newest(10) == []
    for number in range(5):
        audit.add(ROW._replace(order=str(number)))
    assert audit.newest(10)[-1] == ROW._replace(order="0")
    assert [row.order for row in audit.newest(3)] == ["4", "3", "2"]


def test_a_row_has_its_time_with_the_zone_and_no_long_text(audit: AuditLog) -> None:
    audit.add(AuditRow("A\0nn\ud800\n", "train", {"label": "x" * 10_000}))
    [row] = audit.newest(1)
    assert row.time.endswith("+00:00")
    assert len(row.subject["label"]) == MAX_TEXT
    assert row.who.startswith("A")


def test_what_a_killed_writer_left_of_a_row_spoils_no_other(tmp_path: Path) -> None:
    audit = AuditFile(tmp_path)
    audit.add(ROW)
    with audit.path.open("ab") as file:
        file.write(b'{"who": "half')
    audit.add(ROW._replace(order="2"))
    assert [row.order for row in audit.newest(10)] == ["2", "1-0"]
    assert len(audit.path.read_bytes().splitlines()) == 3


def test_a_long_log_is_read_from_its_end(tmp_path: Path) -> None:
    audit = AuditFile(tmp_path)
    audit.add(ROW)
    line = audit.path.read_bytes()
    audit.path.write_bytes(line * 5000)
    audit.add(ROW._replace(order="last"))
    assert [row.order for row in audit.newest(700)] == ["last", *["1-0"] * 699]


def test_many_processes_add_whole_rows(tmp_path: Path) -> None:
    program = """
import sys
import tracemalloc
from pathlib import Path
from storage.audit.log import AuditFile, AuditRow
for number in range(50):
    AuditFile(Path(sys.argv[1])).add(AuditRow(sys.argv[2], "train", {"number": str(number)}))
"""
    writers = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path), name]) for name in "abc"]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
    rows = [json.loads(line) for line in (tmp_path / AUDIT_FILE).read_text().splitlines()]
    for name in "abc":
        assert [row["subject"]["number"] for row in rows if row["who"] == name] == [str(each) for each in range(50)]


def test_rows_of_one_request_are_kept_in_their_order(audit: AuditLog) -> None:
    audit.add_all([])
    audit.add_all([ROW._replace(order=str(number)) for number in range(3)])
    audit.add(ROW._replace(order="last"))
    assert [row.order for row in audit.newest(10)] == ["last", "2", "1", "0"]


def test_a_long_stretch_without_a_line_end_is_passed_over(tmp_path: Path) -> None:
    log = AuditFile(tmp_path)
    log.add(ROW._replace(order="before"))
    with (tmp_path / AUDIT_FILE).open("ab") as file:
        file.write(bytes(4_000_000))
    log.add(ROW._replace(order="after"))
    tracemalloc.start()
    assert [row.order for row in log.newest(10)] == ["after", "before"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000, "it is not gathered, which would take the square of its length"
