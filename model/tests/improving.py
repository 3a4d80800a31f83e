"""What the tests of `improve`, and of the commands that work on its versions, have in common."""

import hashlib
import os
from collections.abc import Hashable, Iterable
from pathlib import Path

import pytest

import settings
from cli import improve
from evaluation import batch_prediction
from inference import engines, model
from inference.arrays import Batch, Scores
from inference.bundle import Bundle
from inference.engines import Engine
from inference.model import Model
from sightline_testing.feedback_loop import copy_default_bundle
from sightline_testing.reviewed import FeedbackFiles
from tests.bundle_copies import NAME
from training import gathering, train

FULL = bool(os.environ.get("FULL"))
SHARED_ENGINES = 6
COMPARED_IMAGES = 32


def work_on_a_copy(bundles: Path, folder: Path, patched: pytest.MonkeyPatch) -> Path:
    """Have the commands work on a copy of the default version in this folder; return the folder of bundles."""
    copy_default_bundle(folder / "bundles", source=bundles)
    use(folder / "bundles", patched)
    return folder / "bundles"


def use(bundles: Path, patched: pytest.MonkeyPatch) -> None:
    """Have the commands work on this folder of bundles, and share networks in engines and what these have computed.

    A command has a process of its own otherwise, so that each of a test would load and compute the same again.
    """
    patched.setattr(settings, "BUNDLES_FOLDER", str(bundles))
    if not FULL:
        patched.setattr(engines, "load", _shared)


class _Remembering:
    """An engine that computes each batch once: the same pixels have the same scores."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self.name = engine, engine.name
        self._known: dict[bytes, Scores] = {}

    def predict(self, batch: Batch, *, is_alone: bool = False) -> Scores:
        key = hashlib.sha256(batch.tobytes()).digest()
        if key not in self._known:
            self._known[key] = self._engine.predict(batch, is_alone=is_alone)
        return self._known[key].copy()


_load = engines.load
_engines: dict[Hashable, Engine] = {}


def _shared(name: str, bundle: Bundle, *, streams: int, cores: int) -> Engine:
    """Return the engine with this graph in it, of the last few that were loaded."""
    key = (name, bundle.model, bundle.preprocessing, bundle.output, streams, cores)
    engine = _engines.pop(key, None) or _Remembering(_load(name, bundle, streams=streams, cores=cores))
    _engines[key] = engine
    for oldest in list(_engines)[:-SHARED_ENGINES]:
        del _engines[oldest]
    return engine


def train_on_less(patched: pytest.MonkeyPatch, synthetic_images: int, folds: int = 2) -> None:
    """Fit and compare on fewer synthetic images and generated features, and in fewer folds, than the commands do."""
    if not FULL:
        patched.setattr(gathering, "SYNTHETIC_IMAGES", synthetic_images)
        patched.setattr(batch_prediction, "SYNTHETIC_IMAGES", min(synthetic_images, COMPARED_IMAGES))
        patched.setattr(train, "FOLDS", folds)
        patched.setattr(train, "PSEUDO", 100)
        patched.setattr(train, "LIKELY", 100)


def places(files: FeedbackFiles) -> list[str]:
    """Return the options that name these folders."""
    return ["--feedback", str(files.feedback), "--uploads", str(files.uploads)]


def improved(files: FeedbackFiles, *words: str) -> int:
    """Make a version from these files; return the exit status."""
    return improve.main([*places(files), *words])


def loaded(version: str) -> Model:
    """Load a version of the folder of bundles in use, into the engine that does so in a tenth of the time."""
    return model.load(Path(settings.BUNDLES_FOLDER) / NAME / version, "onnxruntime", streams=1, cores=1)


def named(judged: Model, contents: Iterable[bytes]) -> list[str]:
    """Return the label that a model gives each image."""
    found, pixels = [], judged.new_batch(1)
    for content in contents:
        judged.prepare(content, pixels[0])
        found.append(judged.top_k(judged.predict(pixels)[0], 1)[0][0])
    return found
