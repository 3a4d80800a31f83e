"""Features of drawings and photographs by the default model, computed once and kept in a file.

With these, a version is trained in a second, so that hundreds can be tried.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import settings
from benchmarks.own.learning import RESEMBLED, real_kinds
from benchmarks.own.learning_images import DRAWN
from inference import bundle, cpu
from inference.arrays import Classes, Floats
from onnx_tools.head import Head, read_head
from sightline_testing.drawings import NEW_KINDS, OLD_KINDS, drawing_jpeg
from sightline_testing.photographs import labelled
from training import feature_bank
from training.augmentation import augmentations, synthetic_images
from training.features import FeatureExtractor
from training.gathering import SYNTHETIC_IMAGES

BUNDLE = settings.ROOT / "var" / "bundles" / "efficientnet-lite0" / "1-int8"
CASES, STORED, TRUTH = 30, 20, 60  # images of each kind in each role
IMAGES = ("drawings", "others", "real")
FIRST = {"cases": 0, "stored": 50_000, "truth": 100_000}  # seeds


@dataclass(frozen=True)
class Features:
    """All features, and the last layer of the model that they are of."""

    base: Head
    labels: tuple[str, ...]
    bank: Floats
    bank_classes: Classes
    synthetic: Floats
    photographs: Floats
    photograph_classes: Classes
    new_kinds: tuple[str, ...]
    old_kinds: tuple[str, ...]
    cases: Mapping[str, Floats]  # of each kind: images, augmentations, features
    stored: Mapping[str, Floats]
    truth: Mapping[str, Floats]
    resembled: Mapping[str, Floats]  # cases of the classes that new ones resemble: in no draw, traffic or mistake

    @classmethod
    def cached(cls, path: Path) -> "Features":
        """Return what is in the file, after writing it where it does not exist."""
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            extracted: dict[str, Any] = dict(_extract())
            np.savez(path, **extracted)
        with np.load(path) as arrays:
            found = dict(arrays)
        roles = {role: {kind: found[f"{role}/{kind}"] for kind in (*NEW_KINDS, *OLD_KINDS)} for role in FIRST}
        return cls._of(found, NEW_KINDS, roles, {})

    @classmethod
    def of_learning(cls, path: Path, kinds: Sequence[str]) -> "Features":
        """Return these kinds of what benchmarks.own.learning has written, and the old kinds."""
        with np.load(path) as arrays:
            found = dict(arrays)
        reported = {kind: found[f"{kind} reported"] for kind in (*kinds, *OLD_KINDS)}
        roles = {
            "cases": {kind: rows[:-STORED] for kind, rows in reported.items()},
            "stored": {kind: rows[-STORED:, 0] for kind, rows in reported.items()},
            "truth": {kind: found[f"{kind} judged"] for kind in (*reported, *RESEMBLED)},
        }
        return cls._of(found, kinds, roles, {kind: found[f"{kind} reported"] for kind in RESEMBLED})

    @classmethod
    def _of(
        cls,
        found: Mapping[str, Floats],
        kinds: Sequence[str],
        roles: Mapping[str, Mapping[str, Floats]],
        resembled: Mapping[str, Floats],
    ) -> "Features":
        loaded = bundle.load(BUNDLE)
        bank = feature_bank.read(BUNDLE)
        if bank is None:
            raise SystemExit(f"{BUNDLE} has no feature bank: make install")
        shown = np.array([loaded.labels.index(each.label) for each in labelled()])
        return cls(
            base=read_head(loaded.model),
            labels=loaded.labels,
            bank=bank.features,
            bank_classes=bank.classes,
            synthetic=found["synthetic"],
            photographs=found["photographs"],
            photograph_classes=shown,
            new_kinds=tuple(kinds),
            old_kinds=OLD_KINDS,
            resembled=resembled,
            **roles,
        )


def _extract() -> dict[str, Floats]:
    loaded = bundle.load(BUNDLE)
    extractor = FeatureExtractor(loaded, "openvino", cpu.cores())

    def rows(contents: list[bytes], *, augmented: bool = False) -> Floats:
        found = list(extractor.of_contents(contents, augmentations if augmented else None))
        return np.stack([each for each in found if each is not None])

    made = extractor.of_pixels(synthetic_images(SYNTHETIC_IMAGES, *loaded.preprocessing.size))
    found = {"synthetic": np.concatenate(list(made))}
    found["photographs"] = rows([each.path.read_bytes() for each in labelled()])[:, 0]
    for kind in (*NEW_KINDS, *OLD_KINDS):
        for role, count in (("cases", CASES), ("stored", STORED), ("truth", TRUTH)):
            images = [drawing_jpeg(kind, FIRST[role] + at) for at in range(count)]
            features = rows(images, augmented=role == "cases")
            found[f"{role}/{kind}"] = features if role == "cases" else features[:, 0]
    return found


def add_features(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which images are used."""
    var = settings.ROOT / "var"
    parser.add_argument("--images", choices=IMAGES, default=IMAGES[0], help="(default: %(default)s)")
    parser.add_argument("--features", type=Path, default=var / "benchmark-features.npz", help="of the tests' drawings")
    parser.add_argument("--learning", type=Path, default=var / "learning-features.npz", help="of the others")


def chosen_features(options: argparse.Namespace) -> Features:
    """Return the features that the options name: of the tests' drawings, of other ones, or of real photographs."""
    if options.images == IMAGES[0]:
        return Features.cached(options.features)
    with np.load(options.learning) as arrays:
        names = list(arrays)
    kinds = real_kinds(names) if options.images == "real" else DRAWN
    return Features.of_learning(options.learning, tuple(kinds))
