"""Make a better version of the model from reviewed reports: `python -m cli.improve [--bundle MODEL/VERSION]`.

The last layer is fitted again, always from the version that was never fitted: a case that is rejected later leaves no
trace. Reports that nobody has reviewed are not used. The new version is served after `python -m cli.models promote`.
"""

import settings
from inference import cpu

if __name__ == "__main__":
    cpu.lower_priority(settings.COMMAND_NICENESS)  # before the other imports, which alone take most of a second

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import ml_service
from cli import command
from inference import bundle
from inference.errors import CasesError
from onnx_tools.head import with_head
from registry import versions
from registry.versions import Record
from training import cases
from training.features import FeatureExtractor, gather
from training.train import train

# With these, memory and time stay the same however many reports there are.
MAX_CASES = 2000
MAX_TRAFFIC = 400


def main(arguments: list[str] | None = None) -> int:
    """Write a new version; return the exit status."""
    options = _parser().parse_args(arguments)
    return command.run(lambda: _run(options), "nothing was improved")


def _run(options: argparse.Namespace) -> int:
    made = versions.identity(improve(options))
    command.say(
        f"made {made}; compare it: python -m cli.evaluate {made}; serve it: python -m cli.models promote {made}"
    )
    return 0


def improve(options: argparse.Namespace) -> Path:
    """Return the folder of the new version."""
    begin, bundles = time.perf_counter(), ml_service.bundles_folder()
    base = versions.base_of(bundles, bundle.choose(bundles, options.bundle, settings.PRECISION))
    loaded = bundle.load(base)
    command.warn(*cases.unread(options.feedback))
    wanted = cases.choose(cases.reviewed(options.feedback), options.max_cases)
    if not wanted:
        raise CasesError(
            f"{options.feedback} holds no reviewed report: accept or correct some on the review page; "
            "those that nobody has reviewed are not used"
        )
    traffic = cases.unreported(options.uploads, cases.reported_images(options.feedback), options.max_traffic)
    command.say(f"{len(wanted)} reviewed cases, {len(traffic)} unreported images, from {versions.identity(base)}")
    extractor = FeatureExtractor(loaded, settings.ENGINE, cpu.cores())
    used, found, training_set, labels = gather(extractor, wanted, traffic, options.uploads, command.progress)
    known = len({case.label for case in used} & set(loaded.labels))
    command.say(f"fitting {len(labels) - len(loaded.labels)} new classes and {known} old ones ...")
    head, rehearsed = train(found, training_set)
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    record = Record(
        versions.identity(base), made_at, tuple(used), tuple(traffic), rehearsed, len(training_set.synthetic)
    )
    version = options.version or versions.next_version(base.parent, base.name)
    folder = versions.put(base, version, with_head(loaded.model, head), labels, record)
    took_s = time.perf_counter() - begin
    command.say(f"{len(used)} cases, {rehearsed} unreported images in the rehearsal set, {took_s:.1f} s")
    return folder


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(__doc__)
    parser.add_argument(
        "--bundle",
        default=settings.MODEL_BUNDLE,
        metavar="MODEL/VERSION",
        help="the version to improve (default: active)",
    )
    parser.add_argument("--version", default="", metavar="NAME", help="name of the new one (default: next number)")
    command.add_folders(parser)
    command.add_limits(parser, MAX_CASES, MAX_TRAFFIC)
    return parser


if __name__ == "__main__":
    sys.exit(main())
