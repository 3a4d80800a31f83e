"""Which tables the database has: a revision, compared with that of this version, and raised by migrations."""

from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Connection, exc, text

from storage.errors import DatabaseUnavailable, SchemaMismatch

# The newest of migrations/versions, whose names sort in their order.
REVISION = "0004"
MIGRATE = "`python -m commands.migrate`"
MISSING = f"the database has no tables for reports: run {MIGRATE} once"
ENCODING = "UTF8"
_FOLDER = Path(__file__).with_name("migrations")


def connect(url: str, timeout_s: int, name: str, **options: Any) -> psycopg.Connection[Any]:
    """Open a connection; raise SchemaMismatch where the database does not take texts of all languages."""
    connection = psycopg.connect(url, connect_timeout=timeout_s, application_name=name, **options)
    encoding = connection.info.parameter_status("server_encoding")
    if encoding is not None and encoding != ENCODING:
        connection.close()
        raise SchemaMismatch(f"the database has the encoding {encoding}: create one with ENCODING '{ENCODING}'")
    return connection


def check(connection: Connection) -> None:
    """Raise SchemaMismatch where the tables are not those of this version."""
    found = revision(connection)
    if found == REVISION:
        return
    if not found:
        raise SchemaMismatch(MISSING)
    if found < REVISION:
        raise SchemaMismatch(
            f"the database has revision {found} of the tables, this version needs {REVISION}: run {MIGRATE}"
        )
    raise SchemaMismatch(
        f"the database has revision {found} of the tables, newer than {REVISION} of this version: run a newer version"
    )


def revision(connection: Connection) -> str:
    """Return the revision of the tables, empty where there are none."""
    if connection.execute(text("SELECT to_regclass('alembic_version')")).scalar() is None:
        return ""
    return str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or "")


def migrate(url: str) -> tuple[str, str]:
    """Bring the tables to the revision of this version; return which revision there was and is.

    Wait for a migration by another process. Raise SchemaMismatch where there is a newer revision.
    """
    from alembic import command  # noqa: PLC0415  for those who migrate alone, with Alembic
    from alembic.config import Config  # noqa: PLC0415  as above
    from sqlalchemy import NullPool, create_engine  # noqa: PLC0415  as above

    def opened() -> psycopg.Connection[Any]:
        return connect(url, 10, "sightline migrate")

    engine = create_engine("postgresql+psycopg://", creator=opened, poolclass=NullPool)
    configuration = Config()
    configuration.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    try:
        engine.connect().close()
    except exc.OperationalError as error:
        raise DatabaseUnavailable(str(error.orig).partition("\n")[0]) from error
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('sightline migrations'))"))
        before = revision(connection)
        if before > REVISION:
            check(connection)
        configuration.attributes["connection"] = connection
        command.upgrade(configuration, REVISION)
        return before, revision(connection)
