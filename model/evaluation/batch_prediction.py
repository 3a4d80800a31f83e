"""Predictions of versions for many images, on every core: reviewed cases, traffic, labelled and synthetic images."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import cv2

import settings
from evaluation.comparison import Comparison, Pair
from inference import bundle, cpu, image_store, model
from inference.errors import CasesError
from inference.model import Model, Predictions, top_k
from registry import versions
from registry.versions import Case
from training.augmentation import synthetic_images
from training.cases import IMAGE_SUFFIXES
from training.features import FeatureExtractor, Progress, gather, in_order, model_input
from training.train import cross_validate
from wire.tables.csv_reader import Fault, TableReader
from wire.tables.csv_table import Table

TOP_K = 5
SYNTHETIC_IMAGES = 128
CLASSES_FILE = "classes.csv"
CLASSES = Table(("wnid", "label"), ("wnid", "label"))

Models = tuple[Model, Model]
Read = Callable[[Path], bytes | None]


def load(folder: Path) -> Model:
    """Return a version in the engine, with room for an image on each core."""
    cores = cpu.cores()
    loaded = model.load(folder, settings.ENGINE, streams=cores, cores=cores)
    bundle.check_place(loaded.bundle)
    return loaded


def predict(loaded: Model, contents: Iterable[bytes | None]) -> Iterator[Predictions | None]:
    """Yield the top 5 of each image, in order; None for one that is missing or broken."""

    def work(content: bytes | None) -> Predictions | None:
        pixels = model_input(loaded.bundle.preprocessing, content)
        return None if pixels is None else loaded.top_k(loaded.predict(pixels[None])[0], TOP_K)

    return in_order(work, contents, cpu.cores())


def on_cases(models: Models, cases: Sequence[Case], bundles: Path, uploads: Path, progress: Progress) -> Comparison:
    """Compare on reviewed cases; for the cases that a version was trained on, it is trained again without them."""

    def predicted(loaded: Model) -> list[Predictions | None]:
        contents = (image_store.read_same(uploads, case.image, case.sha256) for case in cases)
        what = f"reviewed cases, {loaded.bundle.name}/{loaded.bundle.version}"
        found = list(progress(what, len(cases), predict(loaded, contents)))
        there = {case.image for case, predictions in zip(cases, found, strict=True) if predictions is not None}
        held_out = cross_validated(loaded, there, bundles, uploads, progress)
        return [each and held_out.get(case.image, each) for case, each in zip(cases, found, strict=True)]

    remark = "what reviewers accepted or corrected; those that a version was trained on by cross-validation"
    images = [(uploads / case.image, case.label) for case in cases]
    return Comparison("Reviewed cases", remark, pairs(images, predicted(models[0]), predicted(models[1])))


def cross_validated(
    loaded: Model, images: set[str], bundles: Path, uploads: Path, progress: Progress
) -> dict[str, Predictions]:
    """Return the predictions for the images that a version was trained on, had it been trained without them."""
    folder = bundles / loaded.bundle.name / loaded.bundle.version
    record = versions.record_of(folder)
    if record is None or images.isdisjoint(case.image for case in record.cases):
        return {}
    extractor = FeatureExtractor(bundle.load(versions.base_of(bundles, folder)), settings.ENGINE, cpu.cores())
    gathered = gather(extractor, record.cases, record.traffic, uploads, progress)
    scores = cross_validate(gathered.cases, gathered.training_set)
    return {case.image: top_k(row, gathered.labels, TOP_K) for case, row in zip(gathered.used, scores, strict=True)}


def on_traffic(models: Models, names: Sequence[str], uploads: Path, progress: Progress) -> Comparison:
    """Compare on stored images that nobody reported."""

    def read(path: Path) -> bytes | None:
        return image_store.read_same(uploads, path.name)

    found = predict_both("unreported images", models, [(uploads / name, "") for name in names], read, progress)
    return Comparison("Unreported images", "what is stored and nobody reported", found)


def on_labelled(models: Models, folder: Path, progress: Progress) -> Comparison:
    """Compare on a folder of labelled images."""
    found = predict_both("labelled images", models, labelled_images(folder), Path.read_bytes, progress)
    return Comparison("Labelled images", f"those in {folder.name}", found)


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
    return pairs(images, *predicted)


def pairs(
    images: Sequence[tuple[Path, str]], first: Sequence[Predictions | None], second: Sequence[Predictions | None]
) -> list[Pair]:
    """Return the predictions for each image side by side, without the images that are missing or broken."""
    return [
        Pair(path, label, one, other)
        for (path, label), one, other in zip(images, first, second, strict=True)
        if one is not None and other is not None
    ]


def labelled_images(folder: Path) -> list[tuple[Path, str]]:
    """Return each image of a folder with its label: that of its folder, else that of the WordNet id in its name.

    Raise CasesError where there is none, or where classes.csv lacks an id or cannot be read.
    """
    label_of = _labels_by_wnid(folder / CLASSES_FILE)
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
            wnid = path.name.partition("_")[0]
            if path.parent == folder and wnid not in label_of:
                raise CasesError(f"{path} is in no label's folder, and {CLASSES_FILE} has no row for {wnid!r}")
            found.append((path, path.parent.name if path.parent != folder else label_of[wnid]))
    if not found:
        raise CasesError(f"{folder} holds no labelled images: a folder for each label is expected in it")
    return found


def _labels_by_wnid(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    label_of = {}
    with path.open("rb") as file:
        for found in TableReader(CLASSES, file, takes_open_end=True):
            if isinstance(found, Fault):
                raise CasesError(f"{path}, line {found.line} {found.reason}")
            label_of[found.cells["wnid"]] = found.cells["label"]
    return label_of
