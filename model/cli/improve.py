"""Make a better version of the model from reviewed reports: `python -m cli.improve [--bundle MODEL/VERSION]`.

The last layer is fitted again, always from the version that was never fitted: a case that is rejected later leaves no
trace. Reports that no one has reviewed are not used. The new version is served after `python -m cli.models promote`.
"""

import settings
from inference import cpu

if __name__ == "__main__":
    cpu.lower_priority(settings.COMMAND_NICENESS)  # before the other imports, which alone take most of a second

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from cli import command
from inference import bundle
from inference.bundle import Bundle
from inference.errors import CasesError
from onnx_tools.head import Head, with_head
from registry import versions
from registry.versions import Case, HeldImage, Record
from training import augmentation, cases, classes
from training.features import FeatureExtractor
from training.gathering import SYNTHETIC_IMAGES, Gathered, Sources, gather
from training.train import train
from wire.tables.labels import Spelling, key

# With these, memory and time stay the same however many reports there are.
MAX_CASES = 2000
MAX_TRAFFIC, CANDIDATES = 400, 2
MAX_ORDINARY = 1000
SHOWN = 3


def main(arguments: list[str] | None = None) -> int:
    """Write a new version; return the exit status."""
    options = parser().parse_args(arguments)
    return command.run(lambda: say_made(improve(options)), "nothing was improved")


def say_made(folder: Path) -> None:
    """Print what to do with a new version."""
    made = versions.identity(folder)
    command.say(
        f"made {made}; compare it: python -m cli.evaluate {made}; serve it: python -m cli.models promote {made}"
    )


def improve(options: argparse.Namespace) -> Path:
    """Return the folder of the new version."""
    bundles = settings.bundles_folder()
    base = versions.base_of(bundles, bundle.choose(bundles, options.bundle, settings.PRECISION))
    command.warn(*cases.unread(options.feedback))
    known = versions.class_labels(bundles, base)
    reviewed = _of_classes(
        cases.reviewed(options.feedback, known), options.only, cases.spelling(options.feedback, known)
    )
    wanted = cases.choose(reviewed, options.max_cases)
    if options.only and not wanted:
        raise CasesError(f"{options.feedback} holds no reviewed report of {', '.join(options.only)}: see `labels list`")
    if not wanted:
        raise CasesError(
            f"{options.feedback} holds no reviewed report: accept or correct some on the review page; "
            "those that no one has reviewed are not used"
        )
    return make_version(base, wanted, options)


def _of_classes(found: Iterator[Case], only: Sequence[str], names: Spelling) -> Iterator[Case]:
    """Yield the cases of these classes, however they are spelled; all where none is named."""
    keys = {key(names.of(label)) for label in only}
    return (case for case in found if not keys or key(case.label) in keys)


def make_version(base: Path, wanted: Sequence[Case], options: argparse.Namespace) -> Path:
    """Train on these cases and write the version; return its folder."""
    begin, loaded, sources = time.perf_counter(), bundle.load(base), _sources(wanted, options)
    known = versions.class_labels(base.parents[1], base)
    names = cases.spelling(options.feedback, known)
    command.say(
        f"{len(wanted)} cases, {len(sources.images)} unreported or ordinary images, from {versions.identity(base)}"
    )
    numbered = replace(loaded, labels=classes.numbered(known, names))
    extractor = FeatureExtractor(numbered, settings.ENGINE, cpu.cores())
    gathered = gather(extractor, sources, options.uploads, command.progress)
    command.warn(*_left_out(wanted, gathered))
    command.say(*_remarks(gathered, loaded))
    head, rehearsed = train(gathered.cases, gathered.training_set, command.progress)
    head = _numbered(head, gathered, names, len(loaded.labels))
    record = Record(
        versions.identity(base),
        datetime.now(UTC).isoformat(timespec="seconds"),
        tuple(gathered.used),
        tuple(gathered.images),
        SYNTHETIC_IMAGES,
        gathered.augment,
    )
    version = options.new_version or versions.next_version(base.parent, base.name)
    folder = versions.put(base, version, with_head(loaded.model, head), gathered.labels, record)
    took_s = time.perf_counter() - begin
    command.say(f"{len(gathered.used)} cases, {rehearsed} images in the rehearsal set, {took_s:.1f} s")
    return folder


def _numbered(head: Head, gathered: Gathered, names: Spelling, base_count: int) -> Head:
    """Return the head with a row for each label, also for those that no case shows any more."""
    shown = {case.label for case in gathered.used}
    unused = list(classes.unused(gathered.labels, names, base_count, shown))
    return classes.without(head, len(gathered.labels), unused)


def _sources(wanted: Sequence[Case], options: argparse.Namespace) -> Sources:
    """Return the cases, the ordinary images, and twice the stored ones that are kept, so that they cover classes."""
    reported = cases.reported_images(options.feedback)
    stored = cases.unreported(options.uploads, reported, CANDIDATES * options.max_traffic, held_out=False)
    ordinary = cases.ordinary(options.ordinary, MAX_ORDINARY) if options.ordinary else []
    images = [HeldImage(name) for name in (*stored, *ordinary)]
    return Sources(wanted, images, options.max_traffic + len(ordinary))


def _left_out(wanted: Sequence[Case], gathered: Gathered) -> Iterator[str]:
    read = {case.image for case in gathered.used}
    missing = [case.image for case in wanted if case.image not in read]
    if missing:
        some = ", ".join(missing[:SHOWN])
        yield f"left out, because they are gone, altered or no images: {len(missing)} of {len(wanted)}, such as {some}"


def _remarks(gathered: Gathered, base: Bundle) -> Iterator[str]:
    shown = {case.label for case in gathered.used}
    old = len(shown.intersection(gathered.labels[: len(base.labels)]))
    yield f"fitting {len(shown) - old} new classes and {old} old ones"
    if gathered.augment != augmentation.KINDS:
        yield f"augmentations: {', '.join(gathered.augment) or 'none'}; others are off or would show another label"


def add_options(parser: argparse.ArgumentParser, max_cases: int = MAX_CASES) -> None:
    """Add what all ways to make a version have."""
    parser.add_argument(
        "--bundle",
        default=settings.MODEL_BUNDLE,
        metavar="MODEL/VERSION",
        help="the version to improve (default: active)",
    )
    command.add_new_version(parser, "name of the new one (default: next number)")
    command.add_folders(parser)
    command.add_ordinary(parser)
    command.add_limits(parser, max_cases, MAX_TRAFFIC)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    parser = command.parser(__doc__)
    add_options(parser)
    what = "train on the cases of this class; may be given several times (default: all classes)"
    parser.add_argument("--only", action="append", default=[], metavar="LABEL", help=what)
    return parser


if __name__ == "__main__":
    sys.exit(main())
