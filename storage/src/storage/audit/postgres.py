"""The audit log in the database of the reports of all hosts."""

import json
import uuid
from functools import partial

from sqlalchemy import Connection

from storage.audit.log import MAX_SHOWN, AuditLog, AuditRow
from storage.reports.postgres.database import Database, ask

_COLUMNS = ("row_id", "time", "who", "address", "action", "subject", "outcome", "order_id")
_ADD = f"INSERT INTO audit ({', '.join(_COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"  # noqa: S608  our own words
_NEWEST = f"SELECT {', '.join(_COLUMNS)} FROM audit ORDER BY seq DESC LIMIT ?"  # noqa: S608  as above


class PostgresAudit(AuditLog):
    """The rows of all hosts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, row: AuditRow) -> None:
        """Insert a row."""
        kept = row.bounded()
        subject = json.dumps(kept.subject, ensure_ascii=False)
        # By its id the row is there once, also where it is added again since the connection was lost.
        values = (uuid.uuid4().hex, kept.time, kept.who, kept.address, kept.action, subject, kept.outcome, kept.order)
        self._database.run(lambda connection: ask(connection, _ADD, values))

    def newest(self, count: int) -> list[AuditRow]:
        """Read them."""

        def work(connection: Connection) -> list[AuditRow]:
            asking = partial(ask, connection)
            return [
                AuditRow(
                    row["who"], row["action"], json.loads(row["subject"]), row["outcome"], row["address"],
                    row["order_id"], row["time"],
                )
                for row in asking(_NEWEST, [min(count, MAX_SHOWN)])
            ]  # fmt: skip

        return self._database.run(work)
