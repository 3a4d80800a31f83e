"""Both implementations of the reports, for tests of what they share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.reports.folder import FolderReports, Limits
from storage.reports.port import ReportStore
from storage.reports.postgres.database import Database
from storage.reports.postgres.reports import PostgresReports

MAX_BYTES = 1024**3


def limits() -> Limits:
    return Limits(MAX_BYTES, lambda folder: None)


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """The file of lines; feedback.csv is next to it."""
    return tmp_path / "feedback" / "feedback"


@pytest.fixture
def folder_reports(lines: Path) -> FolderReports:
    return FolderReports(lines, limits())


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def postgres_reports(database: Database, lines: Path) -> PostgresReports:
    return PostgresReports(database, lines, MAX_BYTES)


@pytest.fixture(params=["folder", "postgres"])
def reports(request: pytest.FixtureRequest) -> ReportStore:
    found: ReportStore = request.getfixturevalue(f"{request.param}_reports")
    return found
