"""Makes a better version of the model from reviewed reports: `python improve.py [--bundle MODEL/VERSION]`.

The last layer is fitted anew, always from the version that was never fitted: what was accepted by mistake and is
rejected later leaves no trace. Reports that nobody has reviewed are not used. The new version is not served before
`python models.py promote` says so.
"""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import machine
import ml_service
import places
import settings
import stored
from inference import bundle
from inference.errors import InferenceError
from learning import cases, traffic, versions
from learning.arrays import Floats
from learning.cases import Reviewed
from learning.errors import CasesError, LearningError
from learning.features import Reader
from learning.fitting import Cases
from learning.head import read_head, with_head
from learning.improving import Material, improved
from learning.ordinary import ordinary_pictures
from learning.versions import Case, Record
from learning.views import views
from progress import Progress

# With these, memory and time stay the same however many reports there are.
MOST_CASES = 2000
MOST_TRAFFIC = 400
ORDINARY_PICTURES = 256


def main(arguments: list[str] | None = None) -> int:
    """Write a new version; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        folder = improve(options)
    except (LearningError, InferenceError, OSError) as fault:
        sys.stderr.write(f"nothing was improved: {fault}\n")
        return 1
    made = versions.identity(folder)
    sys.stdout.write(f"made {made}; compare it: python evaluate.py {made}; serve it: python models.py promote {made}\n")
    return 0


def improve(options: argparse.Namespace) -> Path:
    """The folder of the new version."""
    begin, bundles = time.perf_counter(), ml_service.bundles_folder()
    base = versions.base_of(bundles, bundle.choose(bundles, options.bundle, settings.PRECISION))
    loaded, uploads = bundle.load(base), options.uploads
    wanted = cases.chosen(cases.reviewed(options.feedback), options.most_cases)
    if not wanted:
        raise CasesError(
            f"{options.feedback} holds no reviewed report: accept or correct some on the review page; "
            "those that nobody has reviewed are not used"
        )
    names = traffic.unreported(uploads, cases.reported_images(options.feedback), options.most_traffic)
    _say(f"{len(wanted)} reviewed cases, {len(names)} unreported pictures, from {versions.identity(base)}")
    reader = Reader(loaded, settings.ENGINE, machine.cores())
    used, material, labels = material_of(reader, wanted, names, uploads, loaded.labels)
    _say(f"fitting {len(labels) - len(loaded.labels)} new classes and {len(_known(used, loaded.labels))} old ones ...")
    head, held_to = improved(read_head(loaded.model), material)
    record = Record(
        base=versions.identity(base),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        cases=tuple(Case(case.report_id, case.image, case.sha256, case.label) for case in used),
        traffic=tuple(names),
        held_to=held_to,
        ordinary=ORDINARY_PICTURES,
    )
    version = options.version or versions.next_version(base.parent, base.name)
    folder = versions.put(base, version, with_head(loaded.model, head), labels, record)
    _say(f"{len(used)} cases, held to {held_to} unreported pictures, {time.perf_counter() - begin:.1f} s")
    return folder


def material_of(
    reader: Reader, wanted: Sequence[Reviewed], names: Sequence[str], uploads: Path, labels: tuple[str, ...]
) -> tuple[list[Reviewed], Material, tuple[str, ...]]:
    """The cases whose pictures are there and whole, what is learned from, and the labels with the new ones."""
    contents = (stored.read_same(uploads, case.image, case.sha256) for case in wanted)
    rows = _shown("reviewed cases", len(wanted), reader.of_contents(contents, views))
    kept = [(case, row) for case, row in zip(wanted, rows, strict=True) if row is not None]
    if not kept:
        raise CasesError(f"none of the {len(wanted)} reviewed pictures is in {uploads}: --uploads says where they are")
    used = [case for case, _ in kept]
    # A dict keeps the order of the first report of each.
    extended = tuple(dict.fromkeys((*labels, *(case.label for case in used))))
    index = {label: at for at, label in enumerate(extended)}
    looks = [len(row) for _, row in kept]
    learned = Cases(
        np.concatenate([row for _, row in kept]),
        np.repeat([index[case.label] for case in used], looks),
        np.repeat(np.arange(len(used)), looks),
    )
    ordinary = ordinary_pictures(ORDINARY_PICTURES, *reader.preprocessing.size)
    drawn = _stacked(_shown("pictures made by code", ORDINARY_PICTURES, reader.of_pixels(ordinary)))
    stored_contents = (stored.read_same(uploads, name) for name in names)
    seen = _stacked(_shown("unreported pictures", len(names), reader.of_contents(stored_contents)), drawn.shape[1])
    return used, Material(learned, drawn, seen), extended


def _stacked(rows: Iterable[Floats | None], width: int = 0) -> Floats:
    """One row under the other; none at all is so wide."""
    found = [row for row in rows if row is not None]
    return np.concatenate(found) if found else np.empty((0, width), np.float32)


def _known(used: Iterable[Reviewed], labels: tuple[str, ...]) -> set[str]:
    return {case.label for case in used} & set(labels)


def _shown(what: str, count: int, rows: Iterator[Floats | None]) -> Iterator[Floats | None]:
    return Progress(what, count).through(rows)


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
        "--feedback", type=Path, default=places.feedback_folder(), metavar="FOLDER", help="default: %(default)s"
    )
    parser.add_argument(
        "--uploads", type=Path, default=places.uploads_folder(), metavar="FOLDER", help="default: %(default)s"
    )
    parser.add_argument("--most-cases", type=int, default=MOST_CASES, metavar="N", help="default: %(default)s")
    parser.add_argument("--most-traffic", type=int, default=MOST_TRAFFIC, metavar="N", help="default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
