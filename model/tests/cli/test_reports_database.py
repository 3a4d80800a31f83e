"""The commands, where the reports of all hosts are in a database."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

import settings
from cli import command, export, labels, reports_database
from sightline_testing.reviewed import FeedbackFiles
from storage.reports.postgres import transfer


@pytest.fixture
def files(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FeedbackFiles]:
    """Cases, of which the database knows, and the images of which are on this host."""
    monkeypatch.setattr(settings, "DATABASE_URL", database_url)
    monkeypatch.setattr(command, "known_labels", lambda: ("tabby",))
    files = FeedbackFiles(tmp_path / "uploads", tmp_path / "feedback")
    files.accept([(b"one", "bar chart"), (b"two", "feedback.csv")])
    files.report(b"not reviewed", "pie chart")
    database = transfer.open_database(database_url)
    transfer.import_folder(database, files.feedback)
    database.close()
    yield files
    reports_database._copy.cache_clear()


def test_an_export_has_the_cases_and_all_reports_of_the_database(files: FeedbackFiles, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert export.main([str(out), "--uploads", str(files.uploads)]) == 0
    assert {path.parent.name for path in out.glob("*/*")} == {"bar chart", "%66eedback.csv"}
    for name in ("feedback.csv", "decisions.csv"):
        assert (out / name).read_text().splitlines()[1:] == (files.feedback / name).read_text().splitlines()[1:]


def test_a_class_is_renamed_for_all_hosts(files: FeedbackFiles, tmp_path: Path) -> None:
    assert labels.main(["rename", "bar chart", "column chart"]) == 0
    reports_database._copy.cache_clear()
    assert export.main([str(tmp_path / "out"), "--uploads", str(files.uploads)]) == 0
    with (tmp_path / "out" / "cases.csv").open(newline="") as file:
        assert [row["label"] for row in csv.DictReader(file)] == ["column chart", "feedback.csv"]
    assert not (files.feedback / "labels.csv").exists()


def test_a_folder_that_is_given_is_read_in_place_of_the_database(
    files: FeedbackFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    words = ["--feedback", str(files.feedback), "--uploads", str(files.uploads)]
    assert export.main([str(tmp_path / "out"), *words]) == 0
    assert labels.main(["rename", *words, "bar chart", "column chart"]) == 0
    assert (files.feedback / "labels.csv").exists()


def test_a_database_that_is_away_is_named(
    files: FeedbackFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(settings, "DATABASE_URL", "postgresql://nobody:secret@127.0.0.1:1/none")
    with pytest.raises(SystemExit):
        export.main([str(tmp_path / "out")])
    told = capsys.readouterr().err
    assert "the reports cannot be read from DATABASE_URL: " in told
    assert "secret" not in told
