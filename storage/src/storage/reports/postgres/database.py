"""The connections to a PostgreSQL database: how many, for how long, and what an error of theirs means."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias, TypeVar

import psycopg
from psycopg import errors as pg
from sqlalchemy import Connection, create_engine, exc
from sqlalchemy.pool import QueuePool

from storage.errors import DatabaseUnavailable, SchemaMismatch, StorageFull
from storage.reports.postgres import schema

LOG = logging.getLogger("sightline.reports")
Result = TypeVar("Result")
# Ends what is done within after so many seconds, by raising DatabaseUnavailable.
Limit: TypeAlias = Callable[[float], AbstractContextManager[None]]

# A connection that was open may have died with its server: then another one is opened, once.
ATTEMPTS = 2
# libpq takes no less.
MIN_CONNECT_S = 2
# A connection that is used for longer than this is replaced, so that a database behind a name may move.
MAX_AGE_S = 600
LOG_EVERY_S = 10.0
# What a server answers that stops, starts, is a standby, or has too many connections.
_AWAY = (pg.OperationalError, pg.ReadOnlySqlTransaction, pg.InterfaceError)


def no_limit(_: float) -> AbstractContextManager[None]:
    """Let work take as long as the server's own timeouts allow."""
    return nullcontext()


class Database:
    """One database; threads, and greenlets under gevent's patched modules, may share it.

    Nothing is connected before it is used. At most `connections` are open, each operation ends within `timeout_s`.
    """

    def __init__(self, url: str, connections: int = 4, timeout_s: float = 2.0, limit: Limit = no_limit) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._limit = limit
        self._is_checked = False
        self._logged_at = -LOG_EVERY_S
        self._engine = create_engine(
            "postgresql+psycopg://",
            creator=self._connect,
            poolclass=QueuePool,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=timeout_s,
            pool_recycle=MAX_AGE_S,
        )

    def run(self, work: Callable[[Connection], Result], *, is_snapshot: bool = False) -> Result:
        """Return what `work` returns, in a transaction; where the server was lost meanwhile, it is called again.

        In a snapshot, `work` reads what there was at one moment.

        It may have been committed the first time, so `work` has to find what it wrote itself. Raise DatabaseUnavailable
        where the database does not serve, StorageFull where its disk is full.
        """
        try:
            with self._limit(self._timeout_s):
                return self._run(work, is_snapshot)
        except exc.TimeoutError as error:
            raise self._logged(f"all connections were busy for {self._timeout_s:g} s") from error
        except exc.DBAPIError as error:
            raise self._translated(error) from error
        except DatabaseUnavailable as error:
            raise self._logged(error) from error

    def check_schema(self) -> None:
        """Raise SchemaMismatch where the tables are not those of this version."""
        self.run(lambda _: None)

    def close(self) -> None:
        """Close all idle connections."""
        self._engine.dispose()

    def _run(self, work: Callable[[Connection], Result], is_snapshot: bool) -> Result:
        engine = self._engine.execution_options(isolation_level="REPEATABLE READ") if is_snapshot else self._engine
        for attempt in range(ATTEMPTS):
            try:
                with engine.begin() as connection:
                    if not self._is_checked:
                        schema.check(connection)
                        self._is_checked = True
                    return work(connection)
            except exc.DBAPIError as error:
                if attempt + 1 == ATTEMPTS or not self._is_lost(error):
                    raise
        raise AssertionError

    def _is_lost(self, error: exc.DBAPIError) -> bool:
        """Return whether the connection is of no use any more; then neither are the others."""
        if isinstance(error.orig, pg.ReadOnlySqlTransaction):
            self._engine.dispose()  # it was the primary, and no other error will close what is connected to it
            return True
        return error.connection_invalidated

    def _connect(self) -> psycopg.Connection[Any]:
        timeout_s = max(MIN_CONNECT_S, round(self._timeout_s))
        # Poolers such as PgBouncer refuse options at the start, and lose prepared statements.
        connection = schema.connect(self._url, timeout_s, "sightline", autocommit=True, prepare_threshold=None)
        connection.execute(f"SET statement_timeout = {round(self._timeout_s * 1000)}")
        connection.autocommit = False
        return connection

    def _translated(self, error: exc.DBAPIError) -> Exception:
        if isinstance(error.orig, pg.DiskFull):
            return StorageFull("the disk of the database is full")
        if isinstance(error.orig, pg.UndefinedTable):
            return SchemaMismatch(schema.MISSING)
        if error.connection_invalidated or isinstance(error.orig, _AWAY):
            return self._logged(error.orig)
        return error

    def _logged(self, reason: object) -> DatabaseUnavailable:
        [first_line, *_] = str(reason).strip().splitlines() or ["no reason is known"]
        if time.monotonic() - self._logged_at >= LOG_EVERY_S:
            self._logged_at = time.monotonic()
            LOG.error("the database of the reports cannot be used: %s", first_line)
        return DatabaseUnavailable(first_line)


def ask(connection: Connection, query: str, values: Sequence[Any] = ()) -> Sequence[Any]:
    """Return the rows of a query whose parameters stand as `?`, each by column; none where it returns none."""
    found = connection.exec_driver_sql(query.replace("?", "%s"), tuple(map(storable, values)))
    return found.mappings().all() if found.returns_rows else ()


def storable(value: Any) -> Any:
    """Return a text without the characters that PostgreSQL does not take: NUL, and half of a pair of UTF-16.

    A list is one of such texts.
    """
    if isinstance(value, list):
        return [storable(each) for each in value]
    if not isinstance(value, str) or (value.isascii() and "\0" not in value):
        return value
    return value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
