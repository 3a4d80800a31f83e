"""Rebuild the index of the reports from the CSV files: `python -m commands.index_reports`."""

import argparse
import logging
import sys

from reports import record
from storage.reports.index import ReportIndex
from storage.reports.index_tables import faults_in
from storage.reports.port import STATUSES
from wire import __version__


def main(arguments: list[str] | None = None) -> int:
    """Rebuild the index, and print how many reports it holds; return the exit status."""
    parser = argparse.ArgumentParser(description="Rebuild the index of the reports from the CSV files.")
    parser.add_argument("--version", action="version", version=f"sightline {__version__}")
    parser.parse_args(arguments)
    index = ReportIndex(record.folder())
    index.remove()
    query = "SELECT status, count(*) FROM reports GROUP BY status"
    counts = dict(index.read(lambda database: database.execute(query).fetchall()))
    unread = index.query(lambda ask: faults_in(ask, 0)).total
    by_status = ", ".join(f"{counts.get(status, 0)} {status}" for status in STATUSES)
    sys.stdout.write(f"{index.path}: {sum(counts.values())} reports ({by_status})\n")
    if unread:
        sys.stderr.write(f"{unread} lines cannot be read and are not used; they are named above\n")
    return 1 if unread else 0


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    sys.exit(main())
