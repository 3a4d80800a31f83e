from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sightline_testing.postgres_server import PostgresServer
from storage.errors import SchemaMismatch
from storage.reports.postgres import schema
from storage.reports.postgres.database import Database

VERSIONS = Path(schema.__file__).parent / "migrations" / "versions"


@pytest.fixture
def empty_url(postgres_process: PostgresServer) -> Iterator[str]:
    """A database without tables."""
    postgres_process.execute("CREATE DATABASE empty")
    yield postgres_process.url("empty")
    postgres_process.execute("DROP DATABASE empty WITH (FORCE)")


def test_the_newest_migration_is_the_revision_of_this_version() -> None:
    assert sorted(path.name for path in VERSIONS.glob("*.py"))[-1].startswith(f"{schema.REVISION}_")


def test_a_database_is_refused_until_it_is_migrated(empty_url: str) -> None:
    database = Database(empty_url)
    with pytest.raises(SchemaMismatch, match="no tables for reports: run `python -m commands"):
        database.check_schema()
    assert schema.migrate(empty_url) == ("", schema.REVISION)
    database.check_schema()
    assert schema.migrate(empty_url) == (schema.REVISION, schema.REVISION)
    database.close()


def test_several_migrations_at_once_are_one(empty_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(schema.migrate, [empty_url] * 4))
    assert sorted(done) == [("", schema.REVISION), *[(schema.REVISION, schema.REVISION)] * 3]


@pytest.mark.parametrize(("found", "reason"), [("0000", "needs 0004: run"), ("9999", "run a newer version")])
def test_the_tables_of_another_version_are_refused(
    empty_url: str, postgres_process: PostgresServer, found: str, reason: str
) -> None:
    schema.migrate(empty_url)
    postgres_process.execute(f"UPDATE alembic_version SET version_num = '{found}'", "empty")  # noqa: S608  ours
    database = Database(empty_url)
    with pytest.raises(SchemaMismatch, match=f"revision {found} of the tables.*{reason}"):
        database.check_schema()
    if found > schema.REVISION:
        with pytest.raises(SchemaMismatch, match="run a newer version"):
            schema.migrate(empty_url)
    database.close()


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_does_not_take_all_letters_is_refused(postgres_process: PostgresServer, encoding: str) -> None:
    postgres_process.execute(f"CREATE DATABASE limited ENCODING '{encoding}' TEMPLATE template0")
    url = postgres_process.url("limited")
    database = Database(url)
    for use in (database.check_schema, lambda: schema.migrate(url)):
        with pytest.raises(SchemaMismatch, match=f"has the encoding {encoding}: create one with ENCODING 'UTF8'"):
            use()
    database.close()
    postgres_process.execute("DROP DATABASE limited WITH (FORCE)")
