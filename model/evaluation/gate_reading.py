"""Reads what the promotion gate judges: a version's cases and rehearsal set, and images that it was not trained on."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import settings
from evaluation.gate_evidence import Subject, aligned
from inference import bundle, cpu
from inference.arrays import Floats
from inference.model import Model
from onnx_tools.head import Head, read_head
from registry import versions
from storage.images.port import ImageStore
from training import feature_bank
from training.features import FeatureExtractor, joined
from training.gathering import Sources, gather
from training.progress import Progress

Models = tuple[Model, Model]


def read(
    models: Models, bundles: Path, uploads: ImageStore, unreported: Sequence[str], progress: Progress
) -> Subject | None:
    """Return the second version compared with the first; None where it was not trained, or from another base."""
    active, candidate = (each.bundle for each in models)
    folders = [bundles / each.name / each.version for each in (active, candidate)]
    before, record = map(versions.record_of, folders)
    base_folder = versions.base_of(bundles, folders[1])
    if record is None or base_folder != versions.base_of(bundles, folders[0]):
        return None
    base = replace(bundle.load(base_folder), labels=bundle.load(folders[1]).labels)
    extractor = FeatureExtractor(base, settings.ENGINE, cpu.cores())
    gathered = gather(extractor, Sources.of_record(record), uploads, progress)
    contents = list(dict.fromkeys(case.sha256 for case in gathered.used))
    labels = list(candidate.labels)
    labels += [label for label in active.labels if label not in set(labels)]
    learned = {case.sha256 for case in before.cases} if before else set()
    bank = feature_bank.read(base_folder)
    used = {case.sha256: case for case in reversed(gathered.used)}
    return Subject(
        labels,
        aligned(_head(folders[1]), candidate.labels, labels),
        aligned(_head(folders[0]), active.labels, labels),
        [used[sha256] for sha256 in contents],
        gathered.cases,
        gathered.training_set,
        np.array([sha256 in learned for sha256 in contents]),
        bank.classes if bank else np.empty(0, np.intp),
        _features(extractor, uploads, unreported, progress, gathered.cases.features.shape[1]),
    )


def _head(folder: Path) -> Head:
    """Return the last layer as the files have it: a version in the engine holds no graph any more."""
    return read_head(bundle.load(folder).model)


def _features(
    extractor: FeatureExtractor, uploads: ImageStore, names: Sequence[str], progress: Progress, width: int
) -> Floats:
    contents = (uploads.read_same(name) for name in names)
    rows = progress("unreported images", len(names), extractor.of_contents(contents))
    return joined([row for row in rows if row is not None], width)
