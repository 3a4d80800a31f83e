"""Reports and decisions from and to elsewhere: `python -m commands.feedback import|export|repair|label-studio`.

The first three are about the database of DATABASE_URL:

import [FOLDER]  adds what the files of a feedback folder hold, and what was edited in them; again and again
export FOLDER    writes all reports, decisions and names of classes as such files
repair           appends to this host's files what it has accepted and they lack

label-studio FILE  keeps what was labelled in Label Studio as decisions, from its export as JSON or JSON-MIN
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from reports import label_studio, labels, record
from reports.label_studio import Labelled
from reports.schema import MAX_LABEL
from storage.errors import DecidedMeanwhile, StorageError
from storage.reports.port import OPEN, STATUS_OF, STATUSES, Decision, ReportStore
from wire import __version__
from wire.settings_parser import SettingError
from wire.tables.feedback import ACCEPT, CORRECT, REJECT, REPORTS_FILE
from wire.tables.labels import Spelling, key

# A command waits for as long as it takes.
TIMEOUT_S = 3600.0
MAX_REVIEWER = 60
UNCHANGED, UNLABELLED = "as before", "without a label"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    options = _parser().parse_args(arguments)
    action: Callable[[argparse.Namespace], int] = options.action
    try:
        return action(options)
    except (SettingError, StorageError, OSError, ValueError) as error:
        sys.stderr.write(f"nothing was done: {error}\n")
        return 1


def take_in(options: argparse.Namespace) -> int:
    """Add the files of a folder to the database."""
    database = record.database(TIMEOUT_S)
    from storage.reports.postgres import transfer  # noqa: PLC0415  its packages are there

    folder = options.folder or record.folder()
    if not (folder / REPORTS_FILE).exists():
        raise FileNotFoundError(f"{folder} has no {REPORTS_FILE}: name a feedback folder")
    found = transfer.import_folder(database, folder)
    sys.stderr.write("".join(f"{fault}\n" for fault in found.faults))
    sys.stdout.write(
        f"{folder}: {found.reports} reports added, {found.changed} changed; added {found.lines} lines, "
        f"{found.decisions} decisions, {found.renames} names of classes; {len(found.faults)} lines cannot be read\n"
    )
    return 1 if found.faults else 0


def write_out(options: argparse.Namespace) -> int:
    """Write all reports into the files of a folder."""
    database = record.database(TIMEOUT_S)
    from storage.reports.postgres import transfer  # noqa: PLC0415  as above

    transfer.export_folder(database, options.folder)
    sys.stdout.write(f"{options.folder} holds all reports, decisions and names of classes\n")
    return 0


def repair(_: argparse.Namespace) -> int:
    """Append to the files of this host what they lack."""
    record.database(TIMEOUT_S)
    record.report_store().heal()
    sys.stdout.write(f"{record.folder()} holds what this host has accepted\n")
    return 0


def take_labels(options: argparse.Namespace) -> int:
    """Keep what was labelled in Label Studio."""
    reports = record.report_store()
    spelling = labels.spelling().extended(reports.labels())
    counts, faults = Counter[str](), 0
    try:
        document = json.loads(options.file.read_bytes())
    except RecursionError:
        raise ValueError(f"{options.file} is nested too deeply to be an export of Label Studio") from None
    for labelled in label_studio.read(document):
        try:
            counts[_decide(labelled, reports, spelling)] += 1
        except (ValueError, DecidedMeanwhile) as fault:
            faults += 1
            sys.stderr.write(f"task {labelled.task} is not used: {fault}\n")
    kept = ", ".join(f"{counts[name]} {name}" for name in (*STATUSES[1:], UNCHANGED, UNLABELLED))
    sys.stdout.write(f"{options.file}: {kept}; {faults} tasks not used\n")
    return 1 if faults else 0


def _decide(labelled: Labelled, reports: ReportStore, spelling: Spelling) -> str:
    """Keep the decision of a task on its report, and return the result; raise ValueError or DecidedMeanwhile."""
    if not labelled.label and not labelled.is_rejected:
        return UNLABELLED
    report = reports.find(labelled.report_id) if labelled.report_id else None
    if report is None:
        raise ValueError(f"there is no report {labelled.report_id[:80]!r}: tasks are made by /review/label-studio.zip")
    label = "" if labelled.is_rejected else spelling.of(labelled.label)
    if len(label) > MAX_LABEL or not (key(label) or labelled.is_rejected):
        raise ValueError(f"{labelled.label[:80]!r} is no label of 1 to {MAX_LABEL} characters")
    kind = REJECT if labelled.is_rejected else ACCEPT if key(label) == key(report["label"]) else CORRECT
    is_rejected = report["status"] == STATUS_OF[REJECT]
    if report["status"] != OPEN and is_rejected == labelled.is_rejected and key(report["final_label"]) == key(label):
        return UNCHANGED
    # A label that is changed in Label Studio replaces the earlier one from there.
    seen = None if report["reviewer"] == labelled.reviewer[:MAX_REVIEWER] else labelled.seen
    reports.decide(Decision(labelled.report_id, kind, label, labelled.reviewer[:MAX_REVIEWER]), seen)
    return STATUS_OF[kind]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Moves reports and decisions from and to elsewhere.")
    parser.add_argument("--version", action="version", version=f"sightline {__version__}")
    actions = parser.add_subparsers(required=True, metavar="COMMAND")
    one = actions.add_parser("import", help="add the files of a feedback folder to the database")
    one.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="default: that of FEEDBACK_FILEPATH")
    one.set_defaults(action=take_in)
    one = actions.add_parser("export", help="write all reports, decisions and names of classes as files")
    one.add_argument("folder", type=Path, metavar="FOLDER", help="a new or empty one")
    one.set_defaults(action=write_out)
    one = actions.add_parser("repair", help="append to this host's files what it has accepted and they lack")
    one.set_defaults(action=repair)
    one = actions.add_parser("label-studio", help="keep what was labelled in Label Studio as decisions")
    one.add_argument("file", type=Path, metavar="FILE", help="its export as JSON or JSON-MIN")
    one.set_defaults(action=take_labels)
    return parser


if __name__ == "__main__":
    sys.exit(main())
