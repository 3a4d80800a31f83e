"""Makes a better version of the model from reviewed reports: `python -m cli.improve [--bundle MODEL/VERSION]`.

The last layer is fitted anew, always from the version that was never fitted: what was accepted by mistake and is
rejected later leaves no trace. Reports that nobody has reviewed are not used. The new version is not served before
`python -m cli.models promote` says so.
"""

from inference import cpu

if __name__ == "__main__":
    cpu.lower_priority()  # before the other imports, which alone take most of a second

import argparse
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import ml_service
import settings
from cli import paths
from inference import bundle
from inference.errors import CasesError, ModelError
from onnx_tools.head import read_head, with_head
from registry import versions
from registry.versions import Case, Record
from training import cases, traffic, training_set
from training.features import Reader
from training.improving import improved

# With these, memory and time stay the same however many reports there are.
MOST_CASES = 2000
MOST_TRAFFIC = 400


def main(arguments: list[str] | None = None) -> int:
    """Write a new version; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        folder = improve(options)
    except (ModelError, OSError) as fault:
        sys.stderr.write(f"nothing was improved: {fault}\n")
        return 1
    made = versions.identity(folder)
    sys.stdout.write(
        f"made {made}; compare it: python -m cli.evaluate {made}; serve it: python -m cli.models promote {made}\n"
    )
    return 0


def improve(options: argparse.Namespace) -> Path:
    """The folder of the new version."""
    begin, bundles = time.perf_counter(), ml_service.bundles_folder()
    base = versions.base_of(bundles, bundle.choose(bundles, options.bundle, settings.PRECISION))
    loaded, uploads = bundle.load(base), options.uploads
    for fault in cases.unread(options.feedback):
        sys.stderr.write(f"{fault}\n")
    chosen = cases.chosen(cases.reviewed(options.feedback), options.most_cases)
    wanted = [Case(case.report_id, case.image, case.sha256, case.label) for case in chosen]
    if not wanted:
        raise CasesError(
            f"{options.feedback} holds no reviewed report: accept or correct some on the review page; "
            "those that nobody has reviewed are not used"
        )
    names = traffic.unreported(uploads, cases.reported_images(options.feedback), options.most_traffic)
    _say(f"{len(wanted)} reviewed cases, {len(names)} unreported pictures, from {versions.identity(base)}")
    reader = Reader(loaded, settings.ENGINE, cpu.cores())
    used, learned, labels = training_set.gathered(reader, wanted, names, uploads, loaded.labels)
    _say(f"fitting {len(labels) - len(loaded.labels)} new classes and {len(_known(used, loaded.labels))} old ones ...")
    head, held_to = improved(read_head(loaded.model), learned)
    record = Record(
        base=versions.identity(base),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        cases=tuple(used),
        traffic=tuple(names),
        held_to=held_to,
        ordinary=len(learned.ordinary),
    )
    version = options.version or versions.next_version(base.parent, base.name)
    folder = versions.put(base, version, with_head(loaded.model, head), labels, record)
    _say(f"{len(used)} cases, held to {held_to} unreported pictures, {time.perf_counter() - begin:.1f} s")
    return folder


def _known(used: Iterable[Case], labels: tuple[str, ...]) -> set[str]:
    return {case.label for case in used} & set(labels)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--bundle", default=settings.MODEL_BUNDLE, metavar="MODEL/VERSION", help="to improve (default: the active one)"
    )
    parser.add_argument("--version", default="", metavar="NAME", help="of what is made (default: the next free one)")
    parser.add_argument(
        "--feedback", type=Path, default=paths.feedback_folder(), metavar="FOLDER", help="default: %(default)s"
    )
    parser.add_argument(
        "--uploads", type=Path, default=paths.uploads_folder(), metavar="FOLDER", help="default: %(default)s"
    )
    parser.add_argument("--most-cases", type=int, default=MOST_CASES, metavar="N", help="default: %(default)s")
    parser.add_argument("--most-traffic", type=int, default=MOST_TRAFFIC, metavar="N", help="default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
