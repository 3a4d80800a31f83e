"""From the files of hosts into a database, and from there into files that the service can use."""

import csv
from pathlib import Path

import pytest

from storage.reports.folder import FolderReports
from storage.reports.port import Report, ReportStore
from storage.reports.postgres import transfer
from storage.reports.postgres.database import Database
from storage.reports.postgres.reports import PostgresReports
from tests.reports.conftest import limits
from tests.reports.samples import add, decide, found, id_of, report_of, shown, state_of
from wire.tables.csv_table import Form, Layout
from wire.tables.feedback import DECISIONS, DECISIONS_FILE, RENAMES_FILE, REPORTS, REPORTS_FILE


def fill(reports: ReportStore) -> None:
    add(reports, "a", label="lynx", comment='"big",\u2028 =1+1', image_sha256="ab")
    add(reports, "b", "c", label="puma")
    reports.add(report_of("keyed", b"k" * 16))
    reports.add(Report(id_of("free"), "free text", None))
    reports.add(Report(id_of("again"), "free text", None))
    decide(reports, "a", "accept", "lynx")
    decide(reports, "b", "reject")
    decide(reports, "b", "correct", "Bar Chart", "bob")


def seen_in(reports: ReportStore) -> list[tuple[object, ...]]:
    """The fields of each report in the inbox, without those that a database numbers again."""
    numbers = {"seq", "decision"}
    cases = shown(reports)
    return [tuple(value for name, value in sorted(case.items()) if name not in numbers) for case in cases]


@pytest.fixture
def imported(folder_reports: FolderReports, database: Database, lines: Path, tmp_path: Path) -> PostgresReports:
    """The database of another host, after an import of the files of this one."""
    fill(folder_reports)
    (lines.parent / RENAMES_FILE).write_text("time,label,name,reviewer\n,notebook,laptop,operator\n")
    counts = transfer.import_folder(database, lines.parent)
    assert counts == transfer.Imported(lines=6, reports=4, changed=0, decisions=3, renames=1, faults=[])
    return PostgresReports(database, tmp_path / "other" / "feedback", 1024**3)


def test_files_are_taken_in_as_they_are(imported: PostgresReports, folder_reports: FolderReports) -> None:
    assert seen_in(imported) == seen_in(folder_reports)
    assert imported.labels() == folder_reports.labels() == ["lynx", "Bar Chart"]
    assert imported.renames() == folder_reports.renames() == (("notebook", "laptop"),)
    assert [case["report_id"] for case in imported.cases(0)] == [case["report_id"] for case in folder_reports.cases(0)]


def test_files_that_are_taken_in_again_change_nothing(
    imported: PostgresReports, database: Database, lines: Path
) -> None:
    decide(imported, "a", "reject")
    before = seen_in(imported)
    assert transfer.import_folder(database, lines.parent) == transfer.Imported(0, 0, 0, 0, 0, [])
    assert seen_in(imported) == before


def test_a_key_of_before_keeps_its_report(imported: PostgresReports) -> None:
    imported.add(report_of("keyed", b"k" * 16))
    assert len(shown(imported)) == 4


def test_what_was_edited_and_appended_since_is_taken_in_and_nothing_is_removed(
    imported: PostgresReports, database: Database, lines: Path
) -> None:
    rows = lines.with_name(REPORTS_FILE)
    with rows.open(newline="") as file:
        cells = list(csv.DictReader(file))
    cells[1]["label"] = "cougar"
    cells.append({**cells[2], "report_id": id_of("new")})
    form = Form("utf-16-le", Layout(";", tuple(reversed(REPORTS.columns))))
    header = "\ufeff" + ";".join(form.layout.columns)
    kept = [cells[1], cells[3], cells[4]]
    rows.write_bytes(form.encoded(header) + b"".join(form.encoded(REPORTS.line(each, form.layout)) for each in kept))
    decisions = lines.with_name(DECISIONS_FILE)
    decisions.write_text(decisions.read_text().replace("Bar Chart", "bar diagram"))
    with lines.open("a") as file:
        file.write("one more\n")
    counts = transfer.import_folder(database, lines.parent)
    assert counts == transfer.Imported(lines=1, reports=1, changed=1, decisions=1, renames=0, faults=[])
    assert found(imported, "b")["label"] == "cougar"
    assert state_of(imported, "b") == ("corrected", "bar diagram", "bob")
    assert state_of(imported, "a") == ("accepted", "lynx", "ann")
    assert found(imported, "new")["label"] == "puma"


def test_what_cannot_be_read_is_named_and_the_rest_is_taken_in(database: Database, tmp_path: Path) -> None:
    good, long = (REPORTS.line({"report_id": name, "image_path": "a.jpg"}) for name in ("good", "x" * 5000))
    (tmp_path / REPORTS_FILE).write_text(f"{REPORTS.header_line}\n{long}\n1,2\n{good}\n")
    (tmp_path / DECISIONS_FILE).write_text(f"{DECISIONS.header_line}\n,good,perhaps,,\n,gone,reject,,\n")
    counts = transfer.import_folder(database, tmp_path)
    assert (counts.reports, counts.decisions) == (1, 1)
    assert [fault.split(", ")[1][:30] for fault in counts.faults] == [
        "line 2 has a report_id of more",
        "line 3 has 2 cells",
        "line 2 has decision='perhaps'",
    ]


def test_decisions_of_a_later_import_do_not_undo_newer_ones(
    imported: PostgresReports, database: Database, tmp_path: Path
) -> None:
    decide(imported, "a", "correct", "wild cat", "cat")
    old = tmp_path / "old"
    old.mkdir()
    cells = {"time": "2020-01-01T00:00:00+00:00", "report_id": id_of("a"), "decision": "reject"}
    (old / DECISIONS_FILE).write_text(f"{DECISIONS.header_line}\n{DECISIONS.line(cells)}\n")
    assert transfer.import_folder(database, old).decisions == 1
    assert state_of(imported, "a") == ("corrected", "wild cat", "cat")


def test_an_export_is_a_folder_that_the_service_can_go_on_with(
    imported: PostgresReports, database: Database, lines: Path, tmp_path: Path
) -> None:
    add(imported, "of another host", comment="a NUL: \0")
    decide(imported, "a", "correct", "wild cat")
    out = tmp_path / "out"
    transfer.export_folder(database, out)
    exported = FolderReports(out / "feedback", limits())
    assert str(seen_in(exported)).replace("\\x00", "\ufffd") == str(seen_in(imported))
    assert [case["final_label"] for case in exported.cases(0)] == [case["final_label"] for case in imported.cases(0)]
    assert (out / "feedback").read_text().splitlines() == [*lines.read_text().splitlines(), "of another host"]
    assert (out / REPORTS_FILE).read_bytes().startswith(lines.with_name(REPORTS_FILE).read_bytes())
    assert exported.renames() == (("notebook", "laptop"),)
    assert transfer.import_folder(database, out)[1:] == (0, 0, 0, 0, [])


def test_an_export_writes_over_nothing(database: Database, tmp_path: Path) -> None:
    (tmp_path / REPORTS_FILE).write_text("of another program")
    with pytest.raises(FileExistsError):
        transfer.export_folder(database, tmp_path)
    assert (tmp_path / REPORTS_FILE).read_text() == "of another program"
