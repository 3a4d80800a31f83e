"""Predictions of versions for many images, on every core: reviewed cases, traffic, labelled and synthetic images."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import cv2
import numpy as np

import settings
from evaluation import offsets, wrong_labels
from evaluation.comparison import Comparison, Pair
from evaluation.estimate import MIN_SHARE
from evaluation.held_out import cross_validated as held_out_of
from evaluation.independent import TrainedOn
from inference import bundle, cpu, files, model
from inference.errors import CasesError
from inference.model import Model, Predictions, top_k
from registry import versions
from registry.versions import Case
from storage.images.names import SUFFIXES
from storage.images.port import ImageStore
from training import cases
from training.augmentation import synthetic_images
from training.features import FeatureExtractor, in_order, model_input
from training.gathering import Sources, gather
from training.progress import Progress
from wire.tables import feedback
from wire.tables.csv_reader import Fault, TableReader
from wire.tables.csv_table import Table
from wire.tables.labels import Spelling

TOP_K = 5
SYNTHETIC_IMAGES = 128
SELECTION = (
    "Images are mostly reported because the version served then was wrong, so its accuracy here is lower than on all "
    "images of these classes."
)
CLASSES_FILE = "classes.csv"
CLASSES = Table(("wnid", "label"), ("wnid", "label"))
EXPORTED = Table(("file_name", "label"), ("file_name", "label"))

Models = tuple[Model, Model]
Read = Callable[[Path], bytes | None]


def load(folder: Path) -> Model:
    """Return a version in the engine, with room for an image on each core."""
    cores = cpu.cores()
    loaded = model.load(folder, settings.ENGINE, streams=cores, cores=cores)
    bundle.check_place(loaded.bundle)
    return loaded


def same_names(models: Models, bundles: Path, feedback_folder: Path) -> tuple[Models, Spelling]:
    """Return two versions in which a class that was renamed or merged meanwhile has one name, and all these names."""
    first, second = (each.bundle for each in models)
    known = versions.class_labels(bundles, versions.base_of(bundles, bundles / second.name / second.version))
    names = cases.spelling(feedback_folder, known).extended(first.labels)

    def renamed(each: Model) -> Model:
        return replace(each, bundle=replace(each.bundle, labels=tuple(map(names.of, each.bundle.labels))))

    return (renamed(models[0]), renamed(models[1])), names


def predict(loaded: Model, contents: Iterable[bytes | None]) -> Iterator[Predictions | None]:
    """Yield the top 5 of each image, in order; None for one that is missing or broken."""

    def work(content: bytes | None) -> Predictions | None:
        pixels = model_input(loaded.bundle.preprocessing, content)
        return None if pixels is None else loaded.top_k(loaded.predict(pixels[None])[0], TOP_K)

    return in_order(work, contents, cpu.cores())


class CrossValidated(NamedTuple):
    """What a version answers to images, by their names, had it been trained without each of them."""

    predictions: Mapping[str, Predictions]
    shares: Mapping[str, float]  # of the images of a new class: which share of them is left to be trained on
    notes: Sequence[str]


def on_cases(
    models: Models, chosen: Sequence[Case], bundles: Path, uploads: ImageStore, progress: Progress
) -> Comparison:
    """Compare on reviewed cases; for the cases that a version was trained on, it is trained again without them."""

    def predicted(loaded: Model) -> tuple[list[Predictions | None], CrossValidated]:
        contents = (uploads.read_same(case.image, case.sha256) for case in chosen)
        what = f"reviewed cases, {loaded.bundle.name}/{loaded.bundle.version}"
        found = list(progress(what, len(chosen), predict(loaded, contents)))
        there = {case.image for case, predictions in zip(chosen, found, strict=True) if predictions is not None}
        held_out = cross_validated(loaded, there, bundles, uploads, progress)
        both = zip(chosen, found, strict=True)
        return [each and held_out.predictions.get(case.image, each) for case, each in both], held_out

    remark = "what reviewers accepted or corrected; those that a version was trained on by cross-validation"
    images = [(Path(case.image), case.label) for case in chosen]
    (first, of_first), (second, of_second) = map(predicted, models)
    compared = [
        pair._replace(shares=(of_first.shares.get(pair.path.name, 1.0), of_second.shares.get(pair.path.name, 1.0)))
        for pair in pairs(images, first, second, _reader(uploads))
    ]
    return Comparison("Reviewed cases", remark, compared, [SELECTION, *_on_new_classes(compared), *of_second.notes])


def _on_new_classes(compared: Sequence[Pair]) -> Iterator[str]:
    """Yield how the accuracy of the second version on its new classes is estimated, and where it is not."""
    held_out = [pair for pair in compared if MIN_SHARE <= pair.shares[1] < 1]
    if held_out:
        right, share = sum(pair.rights[1] for pair in held_out), fmean(pair.shares[1] for pair in held_out)
        yield (
            f"Versions trained without them have {right} of {len(held_out)} images of B's new classes right. These "
            f"versions had {share:.0%} of the images of each class; top-1 and top-5 estimate what B does with all."
        )
    if few := sum(min(pair.shares) < MIN_SHARE for pair in compared):
        yield f"Of {few} images of new classes with one or two cases nothing can be estimated: three are required."


def cross_validated(
    loaded: Model, images: set[str], bundles: Path, uploads: ImageStore, progress: Progress
) -> CrossValidated:
    """Return the answers to the images that a version was trained on, had it been trained without them.

    With them comes which of their labels may be wrong, and what an offset of the version's new classes would change.
    """
    folder = bundles / loaded.bundle.name / loaded.bundle.version
    record = versions.record_of(folder)
    if record is None or images.isdisjoint(case.image for case in record.cases):
        return CrossValidated({}, {}, [])
    base = replace(bundle.load(versions.base_of(bundles, folder)), labels=bundle.load(folder).labels)
    extractor = FeatureExtractor(base, settings.ENGINE, cpu.cores())
    gathered = gather(extractor, Sources.of_record(record), uploads, progress)
    held_out = held_out_of(gathered.cases, gathered.training_set, progress)
    labels = loaded.bundle.labels  # as the classes are called now
    distinct = list({case.sha256: case for case in gathered.used}.values())
    row_of = {case.sha256: row for row, case in enumerate(distinct)}
    rows = {case.image: row_of[case.sha256] for case in gathered.used}
    classes = gathered.cases.originals.classes
    is_new = classes >= len(gathered.training_set.base.weights)
    shares = np.where(is_new, held_out.shares, 1.0)
    doubtful = wrong_labels.find(distinct, classes, labels, held_out.cases)
    return CrossValidated(
        {image: top_k(held_out.cases[row], labels, TOP_K) for image, row in rows.items()},
        {image: float(shares[row]) for image, row in rows.items()},
        [*wrong_labels.lines(doubtful, len(distinct)), *offsets.notes(gathered.cases, gathered.training_set, held_out)],
    )


def on_traffic(models: Models, names: Sequence[str], uploads: ImageStore, progress: Progress) -> Comparison:
    """Compare on stored images that no one reported."""

    images = [(Path(name), "") for name in names]
    found = predict_both("unreported images", models, images, _reader(uploads), progress)
    return Comparison("Unreported images", "stored images that no one reported", found)


def _reader(uploads: ImageStore) -> Read:
    return lambda path: uploads.read_same(path.name)


def on_labelled(models: Models, folder: Path, names: Spelling, trained_on: TrainedOn, progress: Progress) -> Comparison:
    """Compare on those of a folder of labelled images that no version was trained on."""
    there = labelled_images(folder, names)
    images = [(path, label) for path, label in there if not trained_on.holds(path.read_bytes())]
    found = predict_both("labelled images", models, images, Path.read_bytes, progress)
    left_out = f", without {len(there) - len(images)} that a version was trained on" if len(images) < len(there) else ""
    return Comparison("Labelled images", f"those in {folder.name}{left_out}", found)


def on_synthetic(models: Models, progress: Progress) -> Comparison:
    """Compare on images made by code, where there is too little traffic."""
    made: dict[Path, bytes] = {}
    for number, pixels in enumerate(synthetic_images(SYNTHETIC_IMAGES, *models[0].bundle.preprocessing.size)):
        _, encoded = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        made[Path(f"synthetic-{number}.png")] = encoded.tobytes()
    found = predict_both("synthetic images", models, [(path, "") for path in made], made.get, progress)
    return Comparison("Synthetic images", "made by code", found)


def predict_both(
    what: str, models: Models, images: Sequence[tuple[Path, str]], read: Read, progress: Progress
) -> list[Pair]:
    """Return the predictions of both versions for images with labels, which are empty where unknown."""
    predicted = []
    for each in models:
        contents = (read(path) for path, _ in images)
        name = f"{what}, {each.bundle.name}/{each.bundle.version}"
        predicted.append(list(progress(name, len(images), predict(each, contents))))
    first, second = predicted
    return pairs(images, first, second, read)


def pairs(
    images: Sequence[tuple[Path, str]],
    first: Sequence[Predictions | None],
    second: Sequence[Predictions | None],
    read: Read = Path.read_bytes,
) -> list[Pair]:
    """Return the predictions for each image side by side, without the images that are missing or broken."""
    return [
        Pair(path, label, one, other, read)
        for (path, label), one, other in zip(images, first, second, strict=True)
        if one is not None and other is not None
    ]


def images_of(labelled: bundle.Bundle, folder: Path) -> list[tuple[Path, str]]:
    """Return the labelled images of a folder, with the classes as a bundle spells them; see `labelled_images`."""
    return labelled_images(folder, Spelling(labelled.labels))


def labelled_images(folder: Path, names: Spelling) -> list[tuple[Path, str]]:
    """Return each image of a folder with its class: that of its folder, else that of the WordNet id in its name.

    Folders are named as people write labels, or as `export` does. Raise CasesError where there is none, or where a
    table next to them lacks one or cannot be read.
    """
    label_of = _labels(folder / CLASSES_FILE, CLASSES)
    label_of_folder = _FolderLabels(folder)
    found = []
    for path in sorted(files.below(folder)):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            wnid = path.name.partition("_")[0]
            if path.parent == folder and wnid not in label_of:
                raise CasesError(f"{path} is in no label's folder, and {CLASSES_FILE} has no row for {wnid!r}")
            label = label_of_folder[path.parent.name] if path.parent != folder else label_of[wnid]
            found.append((path, names.of(label)))
    if not found:
        raise CasesError(f"{folder} holds no labelled images: a folder for each label is expected in it")
    return found


class _FolderLabels(dict[str, str]):
    """The label of each folder by its name; of one whose name was cut it is in the table that `export` has written."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def __missing__(self, name: str) -> str:
        label = feedback.label_of(name)
        if label is None:
            table = _labels(self._folder / feedback.CASES_CSV, EXPORTED)
            label = next((each for each in table.values() if feedback.folder_name(each) == name), None)
        if label is None:
            raise CasesError(f"the name of {self._folder / name} was cut, and no {feedback.CASES_CSV} has its label")
        return self.setdefault(name, label)


def _labels(path: Path, table: Table) -> dict[str, str]:
    """Return the labels of a table by its first column."""
    if not path.exists():
        return {}
    label_of = {}
    with path.open("rb") as file:
        for found in TableReader(table, file, takes_open_end=True):
            if isinstance(found, Fault):
                raise CasesError(f"{path}, line {found.line} {found.reason}")
            label_of[found.cells[table.columns[0]]] = found.cells["label"]
    return label_of
