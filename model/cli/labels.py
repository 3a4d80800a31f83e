"""Rename and merge classes: `python -m cli.labels list`, `rename LABEL NAME`, `merge LABEL INTO`.

Reports, decisions, exports and the next version have the new name, also where the old one is used. Class numbers
stay: a renamed class keeps its own, that of a class that was merged into another is not used any more. Versions that
exist keep their labels, so that a rollback serves the old names until the next version is promoted.
"""

import argparse
import fcntl
import os
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from cli import command, reports_database
from inference.errors import CasesError
from training import cases
from wire.tables.csv_reader import HEAD_BYTES, form_of
from wire.tables.feedback import RENAMES, RENAMES_FILE
from wire.tables.labels import Spelling, key, tidy

MAX_CHARACTERS = 200  # as of a reviewer's label


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit status."""
    options = _parser().parse_args(arguments)
    return command.run(lambda: options.action(options), "nothing was changed")


def show(options: argparse.Namespace) -> None:
    """Print the classes that have cases or were renamed, with the numbers of their class and of their cases."""
    labels = command.known_labels()
    names = _names(options.feedback, labels)
    counts = Counter(case.label for case in cases.reviewed(options.feedback, labels))
    number_of = {name: number for number, name in reversed(list(enumerate(map(names.of, labels))))}
    renamed = {names.of(name): None for _, name in cases.renames(options.feedback)}
    for name in sorted({*counts, *renamed}, key=lambda name: number_of.get(name, len(labels))):
        others = [each for each in names.keys(name) if each != key(name)]
        known_as = f"  (also {', '.join(others)})" if others else ""
        command.say(f"{number_of.get(name, 'new'):>6} {counts[name]:6} cases  {name}{known_as}")


def rename(options: argparse.Namespace) -> None:
    """Give a class a name that no class has."""
    names, old = _class_of(options)
    new = tidy(options.name)
    if not key(new) or len(new) > MAX_CHARACTERS:
        raise CasesError(f"{options.name[:MAX_CHARACTERS]!r} cannot be a name: give 1 to {MAX_CHARACTERS} characters")
    if new == old:
        raise CasesError(f"the class is called {old!r} already")
    if key(new) not in names.keys(old) and new in names:
        raise CasesError(f"{names.of(new)!r} is a class already: `merge` makes one class of both")
    _append(options.feedback, old, new)
    command.say(f"{old!r} is called {new!r} from now on; `improve` makes a version that answers so")


def merge(options: argparse.Namespace) -> None:
    """Make a class part of another one."""
    names, old = _class_of(options)
    if options.name not in names:
        raise CasesError(f"{options.name!r} is no class: `rename` gives {old!r} this name")
    new = names.of(options.name)
    if new == old:
        raise CasesError(f"{options.label!r} and {options.name!r} are one class already, {old!r}")
    _append(options.feedback, old, new)
    command.say(f"{old!r} is part of {new!r} from now on; `improve` makes a version without it")


def _class_of(options: argparse.Namespace) -> tuple[Spelling, str]:
    """Return all names, and the name of the class that is to be changed."""
    names = _names(options.feedback, command.known_labels())
    if options.label not in names:
        raise CasesError(
            f"{options.label!r} is no class of the model, and no reviewer has decided so: `list` shows all"
        )
    return names, names.of(options.label)


def _names(feedback: Path, labels: tuple[str, ...]) -> Spelling:
    return cases.spelling(feedback, labels).extended(cases.final_labels(feedback).values())


def _append(folder: Path, label: str, name: str) -> None:
    """Add a row to the table of names; kept when this returns."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    cells = {"time": now, "label": label, "name": name, "reviewer": "operator"}
    if reports_database.is_copy(folder):
        reports_database.add_rename(cells)
    else:
        _append_row(folder / RENAMES_FILE, cells)


def _append_row(path: Path, cells: dict[str, str]) -> None:
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        head = file.read(HEAD_BYTES)
        form = form_of(RENAMES, head)
        lines = [RENAMES.line(cells, form.layout)]
        if not head:
            lines.insert(0, RENAMES.header_line)
        elif not _ends_a_line(file.fileno(), form.encoded("")):
            lines.insert(0, "")
        file.write(b"".join(map(form.encoded, lines)))
        file.flush()
        os.fsync(file.fileno())


def _ends_a_line(file: int, line_end: bytes) -> bool:
    return os.pread(file, len(line_end), os.fstat(file).st_size - len(line_end)) == line_end


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(__doc__)
    actions = parser.add_subparsers(required=True, metavar="COMMAND")
    one = actions.add_parser("list", help="print the classes that have cases or were renamed")
    command.add_folders(one)
    one.set_defaults(action=show)
    for name, second, action in (("rename", "NAME", rename), ("merge", "INTO", merge)):
        one = actions.add_parser(name, help=str(action.__doc__).lower().rstrip("."), allow_abbrev=False)
        one.add_argument("label", metavar="LABEL", help="the class, in any spelling")
        one.add_argument("name", metavar=second)
        command.add_folders(one)
        one.set_defaults(action=action)
    return parser


if __name__ == "__main__":
    sys.exit(main())
