"""Two versions side by side: `python -m cli.evaluate [VERSION] [--against VERSION] [--labelled FOLDER] [--page FILE]`.

They are compared on the reviewed cases, on stored pictures that nobody reported, and on a folder of labelled pictures.
Of cases that a version was fitted on it is asked what it would say had it not been: fitted again without them
(cross-validation), which is what it will do with the next ones. Prints a table and writes a page with pictures.
"""

from inference import cpu

if __name__ == "__main__":
    cpu.lower_priority()  # before the other imports, which alone take most of a second

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import ml_service
import settings
from cli import paths as cli_paths
from cli.progress import Progress
from evaluation import batch_prediction, labelled, table
from evaluation import page as evaluation_page
from evaluation.comparison import Comparison, Pair
from inference import bundle, image_store
from inference.errors import ModelError, VersionError
from inference.model import Model, Predictions, top_k
from onnx_tools.head import read_head
from registry import versions
from training import cases, traffic, training_set
from training.cases import Reviewed
from training.cross_validation import held_out_logits
from training.features import Reader
from training.softmax import softmax

MOST_CASES = 1000
MOST_TRAFFIC = 400


def main(arguments: list[str] | None = None) -> int:
    """Print the table and write the page; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        names, comparisons = compare(options)
        page = options.page or ml_service.bundles_folder() / names[1] / "evaluation.html"
        page.write_text(evaluation_page.page(names, comparisons), encoding="utf-8")
    except (ModelError, OSError, KeyError) as fault:
        sys.stderr.write(f"nothing was compared: {fault}\n")
        return 1
    sys.stdout.write(table.table(names, comparisons))
    sys.stdout.write(f"with pictures: {page}\n")
    return 0


def compare(options: argparse.Namespace) -> tuple[tuple[str, str], list[Comparison]]:
    """The two versions, and what they were compared on."""
    for fault in cases.unread(options.feedback):
        sys.stderr.write(f"{fault}\n")
    bundles = ml_service.bundles_folder()
    second = versions.found(bundles, options.version) if options.version else _newest(bundles)
    first = versions.found(bundles, options.against) if options.against else _other(bundles, second)
    judges = batch_prediction.load(first), batch_prediction.load(second)
    found = [
        _on_cases((first, second), judges, options),
        _on_traffic(judges, options),
        *([_on_labelled(judges, options.labelled)] if options.labelled else []),
    ]
    comparisons = [comparison for comparison in found if comparison.pairs]
    if not comparisons:
        raise VersionError("there is nothing to compare on: no reviewed case, no stored picture, no --labelled folder")
    return (versions.identity(first), versions.identity(second)), comparisons


def _on_cases(folders: tuple[Path, Path], judges: tuple[Model, Model], options: argparse.Namespace) -> Comparison:
    chosen = cases.chosen(cases.reviewed(options.feedback), options.most_cases)
    said = [_of_cases(*each, chosen, options.uploads) for each in zip(folders, judges, strict=True)]
    paths = [(options.uploads / case.image, case.label) for case in chosen]
    remark = "what reviewers accepted or corrected; those that a version was fitted on, as if it had not been"
    return Comparison("Reviewed cases", remark, _pairs(paths, *said))


def _of_cases(folder: Path, judge: Model, chosen: Sequence[Reviewed], uploads: Path) -> list[Predictions | None]:
    contents = (image_store.read_same(uploads, case.image, case.sha256) for case in chosen)
    shown = Progress(f"reviewed cases, {versions.identity(folder)}", len(chosen))
    said = list(shown.through(batch_prediction.answers(judge, contents)))
    there = {case.image for case, answer in zip(chosen, said, strict=True) if answer is not None}
    held_out = _held_out(folder, judge, uploads, there)
    return [
        None if answer is None else held_out.get(case.image, answer) for case, answer in zip(chosen, said, strict=True)
    ]


def _held_out(folder: Path, judge: Model, uploads: Path, there: set[str]) -> dict[str, Predictions]:
    """What the version would say of the pictures it was fitted on, by their names, had it not been."""
    record = versions.record_of(folder)
    if record is None or there.isdisjoint(case.image for case in record.cases):
        return {}
    base = bundle.load(versions.base_of(ml_service.bundles_folder(), folder))
    reader = Reader(base, settings.ENGINE, cpu.cores())
    used, learned, names = training_set.gathered(reader, record.cases, record.traffic, uploads, judge.bundle.labels)
    first_views = learned.cases.features[np.unique(learned.cases.pictures, return_index=True)[1]]
    scores = softmax(held_out_logits(read_head(base.model), learned, first_views))
    return {case.image: top_k(row, names, batch_prediction.SHOWN) for case, row in zip(used, scores, strict=True)}


def _on_traffic(judges: tuple[Model, Model], options: argparse.Namespace) -> Comparison:
    names = traffic.unreported(options.uploads, cases.reported_images(options.feedback), options.most_traffic)
    paths = [(options.uploads / name, "") for name in names]
    return Comparison("Unreported pictures", "what is stored and nobody reported", _both("traffic", paths, judges))


def _on_labelled(judges: tuple[Model, Model], folder: Path) -> Comparison:
    pictures = list(labelled.pictures(folder))
    if not pictures:
        raise VersionError(f"{folder} holds no labelled pictures: a folder for each label is expected in it")
    return Comparison("Labelled pictures", f"those in {folder.name}", _both("labelled", pictures, judges))


def _both(what: str, paths: Sequence[tuple[Path, str]], judges: tuple[Model, Model]) -> list[Pair]:
    def said(judge: Model) -> Iterator[Predictions | None]:
        shown = Progress(f"{what}, {judge.bundle.name}/{judge.bundle.version}", len(paths))
        return shown.through(
            batch_prediction.answers(judge, (image_store.read_same(path.parent, path.name) for path, _ in paths))
        )

    return _pairs(paths, list(said(judges[0])), list(said(judges[1])))


def _pairs(
    paths: Sequence[tuple[Path, str]], first: Sequence[Predictions | None], second: Sequence[Predictions | None]
) -> list[Pair]:
    """Without the pictures that are gone or broken."""
    return [
        Pair(path, label, one, other)
        for (path, label), one, other in zip(paths, first, second, strict=True)
        if one is not None and other is not None
    ]


def _newest(bundles: Path) -> Path:
    """The version that was made last by improving."""
    made = [bundles / name for name in versions.identities(bundles)]
    made_at = {folder: record.made_at for folder in made if (record := versions.record_of(folder)) is not None}
    if not made_at:
        raise VersionError(f"no version in {bundles} was made by improve: name the one to compare")
    return max(made_at, key=lambda folder: (made_at[folder], folder.stat().st_mtime))


def _other(bundles: Path, second: Path) -> Path:
    """The active version; where that is the one to compare, the one that it was made from."""
    active = bundle.choose(bundles, settings.MODEL_BUNDLE, settings.PRECISION)
    return active if active != second else versions.base_of(bundles, second)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("version", nargs="?", default="", metavar="VERSION", help="default: the one made last")
    parser.add_argument("--against", default="", metavar="VERSION", help="default: the active one")
    told = Path(settings.LABELLED_FOLDER) if settings.LABELLED_FOLDER else None
    parser.add_argument("--labelled", type=Path, default=told, metavar="FOLDER", help="of pictures with known labels")
    parser.add_argument("--page", type=Path, metavar="FILE", help="default: evaluation.html beside the version")
    parser.add_argument("--feedback", type=Path, default=cli_paths.feedback_folder(), help="default: %(default)s")
    parser.add_argument("--uploads", type=Path, default=cli_paths.uploads_folder(), help="default: %(default)s")
    parser.add_argument("--most-cases", type=int, default=MOST_CASES, metavar="N", help="default: %(default)s")
    parser.add_argument("--most-traffic", type=int, default=MOST_TRAFFIC, metavar="N", help="default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())
