"""Bring the tables of DATABASE_URL to this version's: `python -m commands.migrate`. Run it before a new version."""

import argparse
import sys

import settings
from reports import record
from storage.errors import StorageError
from wire import __version__
from wire.settings_parser import SettingError


def main(arguments: list[str] | None = None) -> int:
    """Migrate, and print which revision there was and is; return the exit status."""
    parser = argparse.ArgumentParser(description="Brings the tables of DATABASE_URL to those of this version.")
    parser.add_argument("--version", action="version", version=f"sightline {__version__}")
    parser.parse_args(arguments)
    try:
        record.database()
        from storage.reports.postgres import schema  # noqa: PLC0415  its packages are there

        before, now = schema.migrate(settings.DATABASE_URL)
    except (SettingError, StorageError) as error:
        sys.stderr.write(f"nothing was migrated: {error}\n")
        return 1
    sys.stdout.write(
        f"revision {now}, as before\n" if before == now else f"revision {now}, before {before or 'none'}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
