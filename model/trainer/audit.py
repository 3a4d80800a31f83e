"""The rows of the audit log on what came of orders."""

import logging
from functools import cache
from pathlib import Path

import settings
from storage.audit.log import AuditFile, AuditLog, AuditRow
from storage.errors import StorageError
from wire.orders.messages import Order, Outcome

log = logging.getLogger("trainer")


def add_outcome(order: Order, outcome: Outcome) -> None:
    """Add what came of an order; the row that it was ordered stands already, by the api."""
    told = f"{outcome.state}: {outcome.reason}" if outcome.reason else outcome.state
    subject = {**order.subject, **{name: text for name, text in outcome.result.items() if isinstance(text, str)}}
    try:
        audit_log().add(AuditRow(order.by, order.kind, subject, told, order.address, order.id))
    except (OSError, StorageError) as fault:
        log.error("the audit log lacks what came of order %s: %s", order.id, fault)


@cache
def audit_log() -> AuditLog:
    """Return the log: of the database where the reports are in one, else the file in the folder of reports."""
    if not settings.DATABASE_URL:
        return AuditFile(Path(settings.FEEDBACK_FILEPATH).parent)
    from storage.audit.postgres import PostgresAudit  # noqa: PLC0415  only for those who have a database
    from storage.reports.postgres.database import Database  # noqa: PLC0415  as above

    return PostgresAudit(Database(settings.DATABASE_URL))
