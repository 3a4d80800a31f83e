"""Where the reports of this process are kept: in files, or in PostgreSQL where DATABASE_URL names a database."""

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from flask import g, has_app_context

import offload
import settings
from storage.errors import DatabaseUnavailable
from storage.images.folder import check_room
from storage.reports.folder import FolderReports, Limits
from storage.reports.port import ReportStore
from wire.settings_parser import SettingError
from wire.tables.feedback import REPORTS_FILE

if TYPE_CHECKING:
    from storage.reports.postgres.database import Database

# How long a request, and other processes, wait for the index of the reports: short of what SQLite is waited for.
INDEX_STEP_S = 2.0
# An operation that fails after this part of its time has waited for a database that does not serve.
WAITED_SHARE = 0.5


def lines_path() -> Path:
    """Return the file of lines; raise SettingError where the CSV next to it would be the same file."""
    lines = Path(settings.FEEDBACK_FILEPATH)
    if lines.resolve() == lines.with_name(REPORTS_FILE).resolve():
        raise SettingError(
            f"FEEDBACK_FILEPATH={settings.FEEDBACK_FILEPATH!r} is the place of the CSV: choose another file name"
        )
    return lines


def folder() -> Path:
    """Return the folder of the reports."""
    return lines_path().parent


def report_store() -> ReportStore:
    """Return the reports; the same object each time, as long as the settings stay. Nothing is connected yet."""
    # A child has connections of its own.
    return _opened(lines_path(), settings.MAX_REPORTS_BYTES, settings.DATABASE_URL, os.getpid())


def database(timeout_s: float | None = None) -> "Database":
    """Return the database of DATABASE_URL, one for the process; raise SettingError where there is none to be had."""
    if not settings.DATABASE_URL:
        raise SettingError("DATABASE_URL is not set: the reports are in files, and stay there")
    timeout_s = timeout_s or settings.DATABASE_TIMEOUT_S
    # A child has connections of its own.
    return _connected(settings.DATABASE_URL, settings.DATABASE_CONNECTIONS, timeout_s, os.getpid())


@lru_cache(maxsize=8)
def _connected(url: str, connections: int, timeout_s: float, _: int) -> "Database":
    try:
        from storage.reports.postgres.database import Database  # noqa: PLC0415  only for those who have one
    except ImportError as error:
        remedy = "python -m pip install --no-deps --require-hashes -r requirements/postgres.txt"
        raise SettingError(f"DATABASE_URL needs packages that are not installed ({error.name}): {remedy}") from error
    return Database(url, connections, timeout_s, _limited)


@lru_cache(maxsize=8)
def _opened(lines: Path, max_bytes: int, url: str, _: int) -> ReportStore:
    if url:
        opened = database()
        from storage.reports.postgres.reports import PostgresReports  # noqa: PLC0415  as above

        return PostgresReports(opened, lines, max_bytes, offload.run_for_reports)
    limits = Limits(max_bytes, lambda folder: check_room(folder, 0, settings.MIN_FREE_BYTES))
    # A command waits until it is done.
    return FolderReports(lines, limits, offload.run_for_reports, INDEX_STEP_S if offload.is_served() else math.inf)


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Limit an operation of the database; a request that has waited for a silent database does not wait again."""
    error, begin = DatabaseUnavailable(f"no answer within {seconds:g} s"), time.monotonic()
    if has_app_context() and g.get("has_waited_for_database"):
        raise error
    try:
        with offload.limited(seconds, error):
            yield
    except Exception:
        if has_app_context() and time.monotonic() - begin > seconds * WAITED_SHARE:
            g.has_waited_for_database = True
        raise
