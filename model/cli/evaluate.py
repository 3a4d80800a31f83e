"""Compare two versions: `python -m cli.evaluate [VERSION] [--against VERSION] [--labelled FOLDER] [--page FILE]`.

They are compared on the reviewed cases, on stored images that no one reported, and on a folder of labelled images. For
cases that a version was trained on, it is trained again without them (cross-validation), since what counts is what it
predicts for the next ones. Prints a table and writes a page with images.
"""

import settings
from inference import cpu

if __name__ == "__main__":
    cpu.lower_priority(settings.COMMAND_NICENESS)  # before the other imports, which alone take most of a second

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from cli import command
from evaluation import batch_prediction, domains, report
from evaluation.comparison import Comparison
from evaluation.independent import TrainedOn, unreported
from inference.errors import VersionError
from inference.model import Model
from registry import versions
from training import cases

MAX_CASES = 1000
MAX_TRAFFIC = 400


class Evaluation(NamedTuple):
    """A version compared with another one, `first`, on images of each kind."""

    first: str
    second: str
    comparisons: Sequence[Comparison]


def main(arguments: list[str] | None = None) -> int:
    """Print the table and write the page; return the exit status."""
    options = parser().parse_args(arguments)
    return command.run(lambda: evaluate(options), "nothing was compared")


def evaluate(options: argparse.Namespace) -> Evaluation:
    """Compare two versions, print the table and write the page; return what was found."""
    bundles = settings.bundles_folder()
    command.warn(*cases.unread(options.feedback))
    second = versions.find(bundles, options.version) if options.version else _newest(bundles)
    first = versions.find(bundles, options.against) if options.against else _other(bundles, second)
    names = versions.identity(first), versions.identity(second)
    comparisons = _comparisons(first, second, options)
    page = options.page or second / "evaluation.html"
    page.write_text(report.page(names, comparisons), encoding="utf-8")
    command.say(report.table(names, comparisons) + f"with images: {page}")
    return Evaluation(*names, comparisons)


def _comparisons(first: Path, second: Path, options: argparse.Namespace) -> list[Comparison]:
    bundles = settings.bundles_folder()
    loaded = batch_prediction.load(first), batch_prediction.load(second)
    models, names = batch_prediction.same_names(loaded, bundles, options.feedback)
    reviewed = (case._replace(label=names.of(case.label)) for case in cases.reviewed(options.feedback))
    chosen = cases.choose(reviewed, options.max_cases)
    trained_on = TrainedOn.of(versions.record_of(first), versions.record_of(second))
    reported = cases.reported_images(options.feedback)
    traffic = unreported(options.uploads, reported, options.max_traffic, trained_on)
    found = [
        batch_prediction.on_cases(models, chosen, bundles, options.uploads, command.progress),
        batch_prediction.on_traffic(models, traffic, options.uploads, command.progress),
    ]
    if options.labelled:
        found.append(batch_prediction.on_labelled(models, options.labelled, names, trained_on, command.progress))
    comparisons = [_with_domains(models[0], comparison) for comparison in found if comparison.pairs]
    if not comparisons:
        raise VersionError("there is nothing to compare on: no reviewed case, no stored image, no --labelled folder")
    return comparisons


def _with_domains(version: Model, comparison: Comparison) -> Comparison:
    return replace(comparison, notes=[*comparison.notes, *domains.notes(version, comparison.pairs)])


def _newest(bundles: Path) -> Path:
    """Return the version that was made last by improving."""
    made = [bundles / name for name in versions.identities(bundles)]
    made_at = {folder: record.made_at for folder in made if (record := versions.record_of(folder)) is not None}
    if not made_at:
        raise VersionError(f"no version in {bundles} was made by improve: name the one to compare")
    return max(made_at, key=lambda folder: (made_at[folder], folder.stat().st_mtime))


def _other(bundles: Path, second: Path) -> Path:
    """Return the active version; where that is the one to compare, the one that it was made from."""
    active = command.active_bundle()
    return active if active != second else versions.base_of(bundles, second)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    parser = command.parser(__doc__)
    parser.add_argument(
        "version", nargs="?", default="", metavar="VERSION", help="the one to evaluate (default: the one made last)"
    )
    parser.add_argument(
        "--against", default="", metavar="VERSION", help="the one to compare with (default: the active one)"
    )
    command.add_labelled(parser)
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="the page to write (default: evaluation.html next to the version)"
    )
    command.add_folders(parser)
    command.add_limits(parser, MAX_CASES, MAX_TRAFFIC)
    return parser


if __name__ == "__main__":
    sys.exit(main())
