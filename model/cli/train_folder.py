"""Make a version from folders of images: `python -m cli.models train FOLDER/`, a folder in it for each class.

The folders' names are the classes, new ones or known ones however they are written. No report is needed, and none is
used; otherwise it is what `python -m cli.improve` does, and `evaluate` and `promote` continue from there.
"""

import argparse
import hashlib
from collections.abc import Iterator
from pathlib import Path

import settings
from cli import improve
from evaluation.batch_prediction import labelled_images
from inference import bundle
from inference.errors import CasesError
from registry import versions
from registry.versions import Case
from training import cases
from wire.tables.labels import Spelling, key

MAX_CASES = 5000


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a folder in it for each class")
    improve.add_options(parser, MAX_CASES)


def run(options: argparse.Namespace) -> int:
    """Write a new version; return the exit status."""
    bundles = settings.bundles_folder()
    base = versions.base_of(bundles, bundle.choose(bundles, options.bundle, settings.PRECISION))
    names = cases.spelling(options.feedback, versions.class_labels(bundles, base))
    wanted = cases.choose(labelled_cases(options.folder, names), options.max_cases)
    improve.say_made(improve.make_version(base, wanted, options))
    return 0


def labelled_cases(folder: Path, names: Spelling) -> Iterator[Case]:
    """Yield a case for each image below a folder, by the names of their classes; raise CasesError."""
    seen: dict[str, tuple[Path, str]] = {}
    for path, name in labelled_images(folder, names):
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        if not key(name):
            raise CasesError(f"{path} is in a folder whose name names no class: rename it")
        other, known = seen.setdefault(sha256, (path, name))
        if known != name:
            raise CasesError(f"{other} and {path} are one image with two labels: remove it from one of the folders")
        if other == path:
            yield Case("", str(path.resolve()), sha256, name)
