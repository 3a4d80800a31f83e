"""The history of all hosts, in the database of the reports."""

from collections.abc import Collection, Sequence
from functools import partial

from sqlalchemy import Connection

from storage.history import port
from storage.history.port import History, Sample, Sum
from storage.reports.postgres.database import Database, ask


class PostgresHistory(History):
    """The history in PostgreSQL. A connection that breaks while it commits may have samples counted twice."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, now: float, samples: Sequence[Sample]) -> None:
        """Add them in one transaction."""

        def work(connection: Connection) -> None:
            # Lost with the last moment before a crash, as those that are not written yet.
            ask(connection, "SET LOCAL synchronous_commit = off")
            port.add(partial(ask, connection), now, samples)

        self._database.run(work)

    def read(self, period: int, since: float, until: float, names: Collection[str]) -> list[Sum]:
        """Read the table."""
        return self._database.run(lambda connection: port.read(partial(ask, connection), period, since, until, names))
