"""Find images to review: `python -m cli.suggest [--max-images N]`.

They are searched among stored images without a report: those that the active version is least sure of, that the
candidate (the shadow) answers otherwise, that are unlike everything in training, and that are like the cases of a class
that was taught but answered as another one. The review page lists them until someone has decided.
"""

import settings
from inference import cpu

if __name__ == "__main__":
    cpu.lower_priority(settings.COMMAND_NICENESS)  # before the other imports, which alone take most of a second

import argparse
import hashlib
import heapq
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cli import command
from evaluation import batch_prediction, suggestions
from evaluation.suggestions import Distances, Found, Known, Look
from inference import bundle, cpu
from inference.arrays import Floats
from inference.errors import HeadError
from inference.model import Model
from registry import activation, versions
from registry.versions import Case
from storage.images.port import ImageStore
from training import cases, feature_bank
from training.features import FeatureExtractor, in_order, model_input
from wire.orders.suggestions import MAX_SUGGESTIONS, NEAR, UNLIKE, Search, Suggestion, Suggestions

MAX_IMAGES, MAX_CASES = 1000, 1000
REDIS_TIMEOUT_S = 10.0


class Suggested(NamedTuple):
    """How many images were searched, how many are listed, and for how many of them each reason holds.

    `distance` has the fields of evaluation.suggestions.Distances; None where that cannot be known.
    """

    looked_at: int
    listed: int
    reasons: dict[str, int]
    notes: dict[str, str]
    distance: dict[str, Any] | None


class _Versions(NamedTuple):
    """The versions that answer: the active one, the candidate, and the first one's features, if it has any."""

    active: Model
    candidate: Model | None
    extractor: FeatureExtractor | None


def main(arguments: list[str] | None = None) -> int:
    """Look for images and replace the list; return the exit status."""
    options = parser().parse_args(arguments)
    return command.run(lambda: suggest(options), "the list stays as it was")


def suggest(options: argparse.Namespace) -> Suggested:
    """Search a random sample of stored images without a report, and list those to review."""
    bundles, notes = settings.bundles_folder(), dict[str, str]()
    folder = command.active_bundle()
    loaded = _load(bundles, folder, options.feedback, notes)
    known = _known(bundles, folder, loaded, options.uploads, notes)
    names = _sample(options.uploads, cases.reported_images(options.feedback), options.max_images)
    looks = _looks(names, loaded, options.uploads, cases.reported_contents(options.feedback))
    found = suggestions.choose(looks, known)[:MAX_SUGGESTIONS]
    search = Search(int(time.time()), len(looks), _name(loaded.active), _name(loaded.candidate), notes)
    _store().replace(_listed(found, search.model, options.uploads), search)
    reasons = Counter(reason for each in found for reason in each.reasons)
    command.warn(*(f"not searched, {reason}: {why}" for reason, why in notes.items()))
    counts = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
    command.say(f"{len(found)} of {len(looks)} images to review{': ' if counts else ''}{counts}")
    distance = _distance(looks, known, options.uploads)
    return Suggested(len(looks), len(found), dict(reasons), notes, None if distance is None else distance._asdict())


def _distance(looks: Sequence[Look], known: Known | None, uploads: ImageStore) -> Distances | None:
    """Print and return how far the images are from training, without the names of those that were erased meanwhile."""
    found = suggestions.distances(looks, known)
    if found is None:
        return None
    command.say(
        f"distance from training: median {found.quantiles[0]:.2f}, of its own images {found.in_training[0]:.2f}"
    )
    there = set(uploads.names())
    return found._replace(furthest=[each for each in found.furthest if each[0] in there])


def _store() -> Suggestions:
    return Suggestions(settings.queue_address(), settings.REDIS_QUEUE, REDIS_TIMEOUT_S)


def _load(bundles: Path, folder: Path, feedback: Path, notes: dict[str, str]) -> _Versions:
    active, trial = batch_prediction.load(folder), activation.tried_beside(bundles)
    candidate = None
    if trial is not None:
        models = active, batch_prediction.load(bundles / trial.version)
        (active, candidate), _ = batch_prediction.same_names(models, bundles, feedback)
    try:
        return _Versions(active, candidate, FeatureExtractor(bundle.load(folder), settings.ENGINE, cpu.cores()))
    except HeadError as fault:
        notes |= dict.fromkeys((UNLIKE, NEAR), f"the model has no features ({fault})")
        return _Versions(active, candidate, None)


def _known(bundles: Path, folder: Path, loaded: _Versions, uploads: ImageStore, notes: dict[str, str]) -> Known | None:
    """Return the images of the bundle's feature bank, and the cases of the candidate, else of the active version."""
    extractor = loaded.extractor
    if extractor is None:
        return None
    base = versions.base_of(bundles, folder)
    bank = feature_bank.read(base)
    taught = folder if loaded.candidate is None else bundles / _name(loaded.candidate)
    record = versions.record_of(taught)
    shown = cases.choose(iter(record.cases), MAX_CASES) if record is not None else []
    rows, labels = _of_cases(extractor, shown, uploads)
    if bank is None:
        notes[UNLIKE] = "the model came without features of the images that it was trained on"
    if not labels:
        notes[NEAR] = "the version was taught no class by reviewed cases"
    if bank is not None:
        rows, labels = [*bank.features, *rows], [""] * len(bank.features) + labels
    return Known(np.stack(rows), labels) if rows else None


def _of_cases(
    extractor: FeatureExtractor, shown: Sequence[Case], uploads: ImageStore
) -> tuple[list[Floats], list[str]]:
    contents = (uploads.read_same(Path(case.image).name, case.sha256) for case in shown)
    found = command.progress("cases of training", len(shown), extractor.of_contents(contents))
    pairs = [(row[0], case.label) for row, case in zip(found, shown, strict=True) if row is not None]
    return [row for row, _ in pairs], [label for _, label in pairs]


def _sample(uploads: ImageStore, reported: set[str], most: int) -> list[str]:
    """Return the names of at most so many images without a report, other random ones each time."""
    salt = str(time.time_ns()).encode()
    names = (name for name in uploads.names() if name not in reported)
    return heapq.nsmallest(most, names, key=lambda name: hashlib.sha256(salt + name.encode()).digest())


def _looks(names: Sequence[str], loaded: _Versions, uploads: ImageStore, reported: set[str]) -> list[Look]:
    """Return what is known of each image that can be read, once for each content, without those that were reported."""
    found = in_order(lambda name: _look(name, loaded, uploads), names, cpu.cores())
    looks = {look.image: look for look in command.progress("stored images", len(names), found) if look is not None}
    return [look for image, look in looks.items() if image not in reported]


def _look(name: str, loaded: _Versions, uploads: ImageStore) -> Look | None:
    content = uploads.read_same(name)
    pixels = model_input(loaded.active.bundle.preprocessing, content)
    if content is None or pixels is None:
        return None
    [(prediction, score)] = loaded.active.top_k(loaded.active.predict(pixels[None])[0], 1)
    row = None if loaded.extractor is None else loaded.extractor.of_input(pixels)
    other = _answer(loaded.candidate, content)
    return Look(hashlib.sha256(content).hexdigest(), name, prediction, score, other, row)


def _answer(candidate: Model | None, content: bytes) -> str:
    """Return the class that the candidate answers, empty where there is none."""
    pixels = None if candidate is None else model_input(candidate.bundle.preprocessing, content)
    if candidate is None or pixels is None:
        return ""
    return candidate.top_k(candidate.predict(pixels[None])[0], 1)[0][0]


def _listed(found: Sequence[Found], model: str, uploads: ImageStore) -> list[Suggestion]:
    """Return the entries of the list, without images that were erased meanwhile."""
    there = set(uploads.names())
    listed = ((look, reasons) for look, reasons in found if look.filename in there)
    return [
        Suggestion(look.image, look.filename, look.prediction, round(look.score, 4), model, reasons, rank)
        for rank, (look, reasons) in enumerate(listed)
    ]


def _name(loaded: Model | None) -> str:
    return "" if loaded is None else f"{loaded.bundle.name}/{loaded.bundle.version}"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command's arguments."""
    parser = command.parser(__doc__)
    parser.add_argument(
        "--max-images", type=int, default=MAX_IMAGES, metavar="N", help="look at at most so many (default: %(default)s)"
    )
    command.add_folders(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
