"""What the operator orders and decides, as rows of the audit log."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from flask import request

import offload
import settings
from auth import access, operator_session
from reports import record
from storage.audit.log import AuditFile, AuditLog, AuditRow
from storage.errors import StorageError

log = logging.getLogger(__name__)


def audit_log() -> AuditLog:
    """Return the log; the same object each time, as long as the settings stay. Nothing is connected yet."""
    return _opened(record.folder(), settings.DATABASE_URL, os.getpid())


def who() -> str:
    """Return the name under which the operator acts: that of the session, else that of the key."""
    return operator_session.name_of(request) or access.OPERATOR


def note(action: str, subject: Mapping[str, str], outcome: str = "", order: str = "", by: str = "") -> None:
    """Add a row about what the request is about to do; raise OSError or StorageError where it cannot be kept."""
    audit_log().add(_row(action, subject, outcome, order, by))


def note_done(action: str, subject: Mapping[str, str], outcome: str = "", order: str = "", by: str = "") -> None:
    """Add a row about what the request has done; likewise as `note_all_done`."""
    _add_or_log([_row(action, subject, outcome, order, by)])


def note_all_done(action: str, subjects: Sequence[tuple[Mapping[str, str], str]]) -> None:
    """Add a row for each of these subjects with its outcome, in one piece; log the rows where they cannot be kept.

    An error would have what is done repeated.
    """
    _add_or_log([_row(action, subject, outcome) for subject, outcome in subjects])


def _add_or_log(rows: Sequence[AuditRow]) -> None:
    try:
        audit_log().add_all(rows)
    except (OSError, StorageError) as error:
        for row in rows:
            log.error(
                "the audit log could not be written (%s); its row: %s", error, json.dumps(row.bounded()._asdict())
            )


def _row(action: str, subject: Mapping[str, str], outcome: str, order: str = "", by: str = "") -> AuditRow:
    return AuditRow(by or who(), action, subject, outcome, request.remote_addr or "", order)


@lru_cache(maxsize=8)
def _opened(folder: Path, url: str, _: int) -> AuditLog:
    if not url:
        return AuditFile(folder, offload.run)
    from storage.audit.postgres import PostgresAudit  # noqa: PLC0415  only for those who have a database

    return PostgresAudit(record.database())
