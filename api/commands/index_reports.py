"""Make the index of the reports anew from the CSV files: `python -m commands.index_reports`."""

import logging
import sys

from reports import store
from reports.index import ReportIndex
from reports.index_tables import STATUSES, faults_in


def main() -> int:
    """Make the index anew, and print of how many reports."""
    index = ReportIndex(store.paths()[0].parent)
    index.remove()
    by_status = "SELECT status, count(*) FROM reports GROUP BY status"
    counts = dict(index.read(lambda database: database.execute(by_status).fetchall()))
    unread, _ = index.read(lambda database: faults_in(database, 0))
    told = ", ".join(f"{counts.get(status, 0)} {status}" for status in STATUSES)
    sys.stdout.write(f"{index.path}: {sum(counts.values())} reports ({told})\n")
    if unread:
        sys.stderr.write(f"{unread} lines cannot be read and are not used; they are named above\n")
    return 1 if unread else 0


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    sys.exit(main())
