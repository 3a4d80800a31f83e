"""The audit log in the database of the reports of all hosts."""

import json
import uuid
from collections.abc import Sequence
from functools import partial

from sqlalchemy import Connection

from storage.audit.log import MAX_SHOWN, AuditLog, AuditRow
from storage.reports.postgres.database import Database, ask

_COLUMNS = ("row_id", "time", "who", "address", "action", "subject", "outcome", "order_id")
_ADD = f"""
INSERT INTO audit ({", ".join(_COLUMNS)})
SELECT {", ".join(_COLUMNS)} FROM unnest({", ".join(["?::text[]"] * len(_COLUMNS))}) WITH ORDINALITY
  AS new ({", ".join(_COLUMNS)}, place) ORDER BY place ON CONFLICT DO NOTHING
"""  # noqa: S608  our own words
_NEWEST = f"SELECT {', '.join(_COLUMNS)} FROM audit ORDER BY seq DESC LIMIT ?"  # noqa: S608  as above


class PostgresAudit(AuditLog):
    """The rows of all hosts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_all(self, rows: Sequence[AuditRow]) -> None:
        """Insert them."""
        if not rows:
            return
        columns = [list(column) for column in zip(*map(_values, rows), strict=True)]
        self._database.run(lambda connection: ask(connection, _ADD, columns))

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


def _values(row: AuditRow) -> tuple[str, ...]:
    kept = row.bounded()
    subject = json.dumps(kept.subject, ensure_ascii=False)
    # By its id the row is there once, also where it is added again since the connection was lost.
    return uuid.uuid4().hex, kept.time, kept.who, kept.address, kept.action, subject, kept.outcome, kept.order
