"""The reports of all hosts, where DATABASE_URL names a database, as the files that the commands read."""

import argparse
import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import settings
from inference.errors import CasesError
from storage.errors import StorageError

# The option's value in place of a folder.
NAME = "a copy of DATABASE_URL"


def folder(text: str) -> Path:
    """Return the folder that an option names; raise ArgumentTypeError where the database cannot be copied."""
    try:
        return _copy() if text == NAME else Path(text)
    except (StorageError, ImportError) as error:
        raise argparse.ArgumentTypeError(f"the reports cannot be read from DATABASE_URL: {error}") from error


def is_copy(feedback: Path) -> bool:
    """Return whether a folder is the copy of the database."""
    return _copy.cache_info().currsize > 0 and feedback == _copy()


def add_rename(cells: dict[str, str]) -> None:
    """Add a row to the names of classes; raise CasesError where the database does not serve."""
    from storage.reports.postgres import transfer  # noqa: PLC0415  only for those who have a database

    try:
        database = transfer.open_database(settings.DATABASE_URL)
        transfer.add_rename(database, cells)
        database.close()
    except StorageError as error:
        raise CasesError(f"DATABASE_URL: {error}") from error


@cache
def _copy() -> Path:
    """Return a copy of everything, which is removed as the process ends."""
    from storage.reports.postgres import transfer  # noqa: PLC0415  as above

    copy = Path(tempfile.mkdtemp(prefix="sightline-reports-"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    database = transfer.open_database(settings.DATABASE_URL)
    transfer.export_folder(database, copy)
    database.close()
    return copy
