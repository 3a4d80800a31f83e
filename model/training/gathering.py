"""Everything that a version is trained on, read from images: by `improve` at first, and again for cross-validation."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from inference.arrays import Classes, Doubles, Floats
from inference.errors import CasesError
from onnx_tools.head import Head, read_head
from registry.versions import Case, HeldImage, Record
from storage.images.folder import image_folder
from storage.images.port import ImageStore
from training import feature_bank
from training.augmentation import MIRROR, TURN, augmentations, chosen_kinds
from training.features import FeatureExtractor, joined
from training.fitting import Cases
from training.progress import Progress
from training.train import TrainingSet

SYNTHETIC_IMAGES = 256
# Whether augmentations change a label is judged from so many of its images on, and by so many at most.
MIN_JUDGED, MAX_JUDGED = 3, 20
RIDGE = 0.1
SHORTEST = np.float32(1e-12)


@dataclass(frozen=True)
class Sources:
    """What to read: reviewed cases, and images whose answers must stay, at most so many of these."""

    cases: Sequence[Case]
    images: Sequence[HeldImage]
    max_images: int
    augment: tuple[str, ...] | None = None  # None: those of the bundle, without those that change labels

    @classmethod
    def of_record(cls, record: Record) -> "Sources":
        """Return what a version was made of."""
        return cls(record.cases, record.images, len(record.images), record.augment)


@dataclass(frozen=True)
class Gathered:
    """What could be read of the sources, and the labels of the version that is trained on it."""

    used: Sequence[Case]  # whose images could be read
    cases: Cases  # their features; `images` counts distinct contents
    labels: tuple[str, ...]  # those of the base, then the new ones in the order of their first case
    augment: tuple[str, ...]
    images: Sequence[HeldImage]  # in the order of training_set.traffic
    training_set: TrainingSet


def gather(extractor: FeatureExtractor, sources: Sources, uploads: ImageStore, progress: Progress) -> Gathered:
    """Read cases and images, of which `uploads` holds those without a path; raise CasesError where no case is left."""
    base = read_head(extractor.bundle.model)
    folder = extractor.bundle.folder
    chosen = chosen_kinds(folder) if folder else ()
    kinds = chosen if sources.augment is None else sources.augment
    used, rows = _read_cases(extractor, sources.cases, uploads, kinds, progress)
    if sources.augment is None and (harmful := changing_labels([case.label for case in used], rows, kinds)):
        kinds = tuple(kind for kind in kinds if kind not in harmful)
        used, rows = _read_cases(extractor, used, uploads, kinds, progress)
    labels = tuple(dict.fromkeys((*extractor.bundle.labels, *(case.label for case in used))))
    cases = _as_cases(used, rows, labels)
    known = _known(extractor, base, progress)
    images, traffic = _read_images(extractor, sources, uploads, base, progress)
    return Gathered(used, cases, labels, kinds, images, TrainingSet(base, known, traffic))


def _as_cases(used: Sequence[Case], rows: Floats, labels: tuple[str, ...]) -> Cases:
    index = {label: at for at, label in enumerate(labels)}
    contents = {sha256: at for at, sha256 in enumerate(dict.fromkeys(case.sha256 for case in used))}
    views = rows.shape[1]
    return Cases(
        rows.reshape(-1, rows.shape[2]),
        np.repeat([index[case.label] for case in used], views),
        np.repeat([contents[case.sha256] for case in used], views),
    )


def _read_cases(
    extractor: FeatureExtractor, wanted: Sequence[Case], uploads: ImageStore, kinds: tuple[str, ...], progress: Progress
) -> tuple[list[Case], Floats]:
    read: list[Case] = []

    def contents() -> Iterator[bytes | None]:
        for case in wanted:
            content = _content(uploads, case.image, case.sha256)
            read.append(case._replace(sha256=_sha256(content)))
            yield content

    used: list[Case] = []
    rows = np.empty((0, 0, 0), np.float32)
    found = extractor.of_contents(contents(), partial(augmentations, kinds=kinds))
    for at, row in enumerate(progress("reviewed cases", len(wanted), found)):
        if row is not None:
            if not used:  # one block for all: small ones would stay in memory after they are put together
                rows = np.empty((len(wanted), *row.shape), np.float32)
            rows[len(used)] = row
            used.append(read[at])
    if not used:
        raise CasesError(f"none of the {len(wanted)} reviewed images is in {uploads}: --uploads names their folder")
    return used, rows[: len(used)]


def _known(extractor: FeatureExtractor, base: Head, progress: Progress) -> Floats:
    """Return the features of the bundle's bank, if it has one, and of synthetic images."""
    bundle = extractor.bundle
    made = extractor.of_synthetic(SYNTHETIC_IMAGES, progress)
    bank = feature_bank.read(bundle.folder) if bundle.folder else None
    return made if bank is None else np.concatenate([made, feature_bank.checked(bank, base, bundle.folder)])


def _read_images(
    extractor: FeatureExtractor, sources: Sources, uploads: ImageStore, base: Head, progress: Progress
) -> tuple[list[HeldImage], Floats]:
    read: list[HeldImage] = []

    def contents() -> Iterator[bytes | None]:
        for image in sources.images:
            content = _content(uploads, image.name, image.sha256)
            read.append(HeldImage(image.name, _sha256(content)))
            yield content

    found = progress("unreported and ordinary images", len(sources.images), extractor.of_contents(contents()))
    rows = {at: row for at, row in enumerate(found) if row is not None}
    features, images = joined(list(rows.values()), base.weights.shape[1]), [read[at] for at in rows]
    chosen = covering(base.logits(features).argmax(axis=1) if len(features) else [], sources.max_images)
    return [images[at] for at in chosen], features[chosen]


def covering(classes: Iterable[int], most: int) -> list[int]:
    """Return the positions of at most so many, in order: a first one of each class before a second one of any."""
    counts: dict[int, int] = {}
    ranks = []
    for at, each in enumerate(classes):
        counts[each] = counts.get(each, 0) + 1
        ranks.append((counts[each], at))
    return sorted(at for _, at in sorted(ranks)[:most])


def _content(uploads: ImageStore, name: str, sha256: str) -> bytes | None:
    path = Path(name)
    images = image_folder(path.parent) if path.is_absolute() else uploads
    return images.read_same(path.name, sha256)


def _sha256(content: bytes | None) -> str:
    return hashlib.sha256(content or b"").hexdigest()


def changing_labels(labels: Sequence[str], rows: Floats | Sequence[Floats], kinds: tuple[str, ...]) -> set[str]:
    """Return which of MIRROR and TURN make images of a label look like those of one other label.

    That is so where most images of a label are recognised from its other images, and most of its augmented ones are
    taken for one other label.
    """
    names, classes = np.unique(labels, return_inverse=True)
    judged = np.concatenate([np.flatnonzero(classes == each)[:MAX_JUDGED] for each in range(len(names))])
    classes, judged_rows = classes[judged], [rows[at] for at in judged]
    originals = _directions([row[0] for row in judged_rows])
    likeness = originals @ originals.T
    inverse: Doubles = np.linalg.inv(likeness + RIDGE * np.eye(len(likeness))).astype(np.float64)
    duals = inverse @ np.eye(len(names))[classes]
    own = _likest(likeness, inverse, duals)
    found = set()
    for at, kind in enumerate(kinds, 1):
        if kind in (MIRROR, TURN):
            changed = _likest(_directions([row[at] for row in judged_rows]) @ originals.T, inverse, duals)
            if any(_moves(own[classes == each], changed[classes == each], each) for each in range(len(names))):
                found.add(kind)
    return found


def _likest(likeness: Floats, inverse: Doubles, duals: Doubles) -> Classes:
    """Return the label of each row by a ridge regression on all originals but the one that the row was made from."""
    shares = duals / inverse.diagonal()[:, None]
    scores = likeness @ duals - (likeness * inverse.T).sum(axis=1)[:, None] * shares
    found: Classes = scores.argmax(axis=1)
    return found


def _moves(own: Classes, changed: Classes, label: int) -> bool:
    if len(own) < MIN_JUDGED or 2 * (own == label).sum() <= len(own):
        return False
    others = np.bincount(changed[changed != label], minlength=1)
    return bool(2 * others.max() > len(changed))


def _directions(rows: Sequence[Floats]) -> Floats:
    deviations = np.stack(rows) - np.mean(rows, axis=0)
    directions: Floats = deviations / np.maximum(np.linalg.norm(deviations, axis=1, keepdims=True), SHORTEST)
    return directions
