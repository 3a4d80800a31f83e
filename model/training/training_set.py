"""The features that a last layer is fitted on, from stored pictures and from those made by code."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from cli.progress import Progress
from inference import image_store
from inference.arrays import Floats
from inference.errors import CasesError
from registry.versions import Case
from training.augmentations import views
from training.features import Reader
from training.fitting import Cases
from training.improving import Material
from training.synthetic_images import ordinary_pictures

ORDINARY_PICTURES = 256


def gathered(
    reader: Reader, wanted: Sequence[Case], names: Sequence[str], uploads: Path, labels: tuple[str, ...]
) -> tuple[list[Case], Material, tuple[str, ...]]:
    """The cases whose pictures are there and whole, what is learned from, and the labels with the new ones."""
    contents = (image_store.read_same(uploads, case.image, case.sha256) for case in wanted)
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
    stored_contents = (image_store.read_same(uploads, name) for name in names)
    seen = _stacked(_shown("unreported pictures", len(names), reader.of_contents(stored_contents)), drawn.shape[1])
    return used, Material(learned, drawn, seen), extended


def _stacked(rows: Iterable[Floats | None], width: int = 0) -> Floats:
    """One row under the other; none at all is so wide."""
    found = [row for row in rows if row is not None]
    return np.concatenate(found) if found else np.empty((0, width), np.float32)


def _shown(what: str, count: int, rows: Iterator[Floats | None]) -> Iterator[Floats | None]:
    return Progress(what, count).through(rows)
