"""What a fit learns and loses, compared with the method of release 0.1.0, on learning_images and learning_photographs.

    pip download --no-deps scikit-image scikit-learn  # unpack both into PACKAGES
    apt-get download tuxpaint-stamps-default          # dpkg-deb -x; STAMPS is usr/share/tuxpaint/stamps in it
    PYTHONPATH=.:model OPENBLAS_NUM_THREADS=1 .venv/bin/python -m benchmarks.own.learning PACKAGES STAMPS [--draws 3]

Features are computed once and kept in --features. What is lost is counted on photographs that were never trained on:
those of IMAGENET_DIR, none of whose classes is in the bank, and one half of the bank while the other one holds the fit.
docs/feedback-loop.md has the results.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from benchmarks import settings
from benchmarks.own import learning_images as images
from benchmarks.own import learning_photographs as real_images
from inference import bundle
from inference.arrays import Classes, Floats, Pixels
from onnx_tools.head import Head, read_head
from sightline_testing.drawings import OLD_KINDS
from sightline_testing.photographs import labelled
from training import feature_bank, fitting, train
from training.augmentation import augmentations, synthetic_images
from training.features import FeatureExtractor
from training.fitting import Cases
from training.train import TrainingSet

REPORTED, JUDGED, JUDGED_OLD = 60, 40, 100
FIRST_REPORTED = 1000  # seed
DOGS = range(151, 269)
ALIKE = ("pie", "dotted_code", "blue_dog")  # each like an old class
RESEMBLED = ("maze",)  # an old class that a drawn one resembles: to the delivered model, spirals are mazes
BEFORE = {"LABEL_WEIGHT": 0.4, "STIFFNESS": 0.1, "SHORTAGE": 0.0}
Features = dict[str, Floats]


@dataclass(frozen=True)
class Method:
    """How to fit: with the constants of today or of release 0.1.0, and with the bank or without."""

    name: str
    constants: dict[str, float]
    disputed: float
    has_bank: bool


class Task(NamedTuple):
    """A number of these kinds together, with a number of reports of each."""

    kinds: Sequence[str]
    at_once: int
    reports: int


METHODS = (
    Method("0.1.0", BEFORE, 0.02, has_bank=False),
    Method("now, no bank", {}, 0.05, has_bank=False),
    Method("now", {}, 0.05, has_bank=True),
)


class Lab:
    """The base, features of everything, and what the base answers to photographs."""

    def __init__(self, features: Features, folder: Path) -> None:
        self.features = features
        loaded, bank = bundle.load(folder), feature_bank.read(folder)
        if bank is None:
            raise SystemExit(f"{folder} has no feature bank: make install")
        self.base, self.bank = read_head(loaded.model), bank
        self.labels = list(loaded.labels)
        self.photographs = features["photographs"]
        self.shown = np.array([self.labels.index(each.label) for each in labelled()])

    def fit(self, method: Method, cases: Cases, traffic: Floats, half: int | None = None) -> Head:
        """Return the head that a method gives, with one half of the bank or all of it."""
        bank = self.bank.features if half is None else self.bank.features[half::2]
        known = np.concatenate([self.features["synthetic"], bank]) if method.has_bank else self.features["synthetic"]
        before = {name: getattr(fitting, name) for name in method.constants} | {"DISPUTED": train.DISPUTED}
        try:
            for name, value in method.constants.items():
                setattr(fitting, name, value)
            train.DISPUTED = method.disputed
            return train.train(cases, TrainingSet(self.base, known, traffic)).head
        finally:
            train.DISPUTED = before.pop("DISPUTED")
            for name, value in before.items():
                setattr(fitting, name, value)

    def cases(self, kinds: Sequence[str], reports: int, draw: int) -> Cases:
        """Return so many reports of each kind; each kind is a class beyond the base."""
        rows, classes = [], []
        for at, kind in enumerate(kinds):
            found = self.features[f"{kind} reported"]
            chosen = [(max(10, reports) * draw + one) % len(found) for one in range(reports)]
            rows += [found[one] for one in chosen]
            classes += [len(self.labels) + at] * reports
        views = len(rows[0])
        return Cases(np.concatenate(rows), np.repeat(classes, views), np.repeat(np.arange(len(rows)), views))

    def recall(self, head: Head, kinds: Sequence[str]) -> list[float]:
        """Return the share of the judged images of each kind that get their class."""
        found = [head.logits(self.features[f"{kind} judged"]).argmax(axis=1) for kind in kinds]
        return [float((each == len(self.labels) + at).mean()) for at, each in enumerate(found)]

    def kept(self, head: Head, features: Floats, classes: Classes) -> float:
        """Return which share of the images that the base has right the head has right, too."""
        right = self.base.logits(features).argmax(axis=1) == classes
        return float((head.logits(features).argmax(axis=1) == classes)[right].mean())

    def points(self, head: Head, features: Floats, classes: Classes) -> float:
        """Return the change of top-1 in points."""
        before, after = (each.logits(features).argmax(axis=1) == classes for each in (self.base, head))
        return 100 * float(after.mean() - before.mean())


def new_classes(lab: Lab, method: Method, draws: int, task: Task) -> str:
    """New classes together; without traffic, and with the photographs stored."""
    parts = []
    for has_traffic in (False, True):
        traffic = lab.photographs if has_traffic else lab.photographs[:0]
        recalls, lost = [], []
        for draw in range(draws):
            order = np.random.default_rng((21, draw)).permutation(len(task.kinds))
            chosen = [task.kinds[at] for at in order[: task.at_once]]
            cases = lab.cases(chosen, task.reports, draw)
            head = lab.fit(method, cases, traffic, draw % 2)
            recalls.append(lab.recall(head, chosen))
            rest = slice(1 - draw % 2, None, 2)
            lost.append(lab.points(head, lab.bank.features[rest], lab.bank.classes[rest]))
        means = [float(np.mean(each)) for each in recalls]
        parts.append(
            f"{'100 photographs' if has_traffic else 'no traffic'}: {np.mean(means):.3f} ({min(means):.3f} to "
            f"{max(means):.3f}), lowest class {min(map(min, recalls)):.2f}, top-1 {np.mean(lost):+.1f} "
            f"(worst {min(lost):+.1f})"
        )
    return "; ".join(parts)


def look_alike(lab: Lab, method: Method, draws: int, new: str, old: str) -> str:
    """A new class and a similar old one, of which nothing is stored."""
    recalls, kept = [], []
    if old == "dogs":
        rows = np.isin(lab.bank.classes, DOGS)
        features, classes = lab.bank.features[rows], lab.bank.classes[rows]
        half = 0
        held = np.arange(len(lab.bank.classes))[rows] % 2 == 1
        features, classes = features[held], classes[held]
    else:
        features, half = lab.features[f"{old} judged"], None
        classes = np.full(len(features), lab.labels.index(old))
    for draw in range(draws):
        head = lab.fit(method, lab.cases([new], 10, draw), lab.photographs[:0], half)
        recalls += lab.recall(head, [new])
        kept.append(lab.kept(head, features, classes))
    return (
        f"new {np.mean(recalls):.3f} (worst {min(recalls):.3f}), old kept {np.mean(kept):.3f} (worst {min(kept):.3f}) "
        f"of {int((lab.base.logits(features).argmax(axis=1) == classes).sum())}"
    )


def unseen_photographs(lab: Lab, method: Method, draws: int, kinds: Sequence[str], reports: int) -> str:
    """All classes together with the whole bank: the photographs, none of whose classes it has."""
    found = [
        lab.points(lab.fit(method, lab.cases(kinds, reports, draw), lab.photographs[:0]), lab.photographs, lab.shown)
        for draw in range(draws)
    ]
    return f"top-1 of the 100 photographs {np.mean(found):+.1f} (worst {min(found):+.1f})"


def computed(folder: Path, options: argparse.Namespace) -> Features:
    """Return the features of all images."""
    extractor = FeatureExtractor(bundle.load(folder), "openvino", 1)
    photographs = [each.path.read_bytes() for each in labelled()]
    prepared = []
    for content in photographs:
        pixels = np.empty((images.SIDE, images.SIDE, 3), np.uint8)
        extractor.bundle.preprocessing.prepare(content, pixels)
        prepared.append(pixels)
    found = {"synthetic": np.concatenate(list(extractor.of_pixels(synthetic_images(256, images.SIDE, images.SIDE))))}
    found["photographs"] = np.concatenate(list(extractor.of_pixels(prepared)))
    makers: dict[str, Callable[[int, bool], Pixels]] = {kind: partial(_drawn, kind) for kind in images.DRAWN}
    makers |= real_images.real(options.packages, options.stamps, prepared)
    makers |= {
        "pie": lambda seed, judged: images.pie(seed + 10_000 * judged),
        "dotted_code": lambda seed, judged: images.dotted_code(seed + 10_000 * judged),
        "blue_dog": _blue_dog(
            [pixels for pixels, each in zip(prepared, labelled(), strict=True) if _is_dog(each.label, folder)]
        ),
        "pinwheel": lambda seed, judged: images.pinwheel(seed if judged else seed + FIRST_REPORTED),
        "maze": lambda seed, judged: images.labyrinth(seed if judged else seed + FIRST_REPORTED),
        "crossword_puzzle": lambda seed, judged: images.crossword(seed if judged else seed + FIRST_REPORTED),
    }
    for name, make in makers.items():
        views = [np.stack([*augmentations(make(seed, False), seed)]) for seed in range(REPORTED)]
        rows = [np.concatenate(list(extractor.of_pixels(each))) for each in views]
        found[f"{name} reported"] = np.stack(rows)
        judged = JUDGED_OLD if name in (*OLD_KINDS, *RESEMBLED) else JUDGED
        found[f"{name} judged"] = np.concatenate(list(extractor.of_pixels(make(seed, True) for seed in range(judged))))
        _say(f"features of {name}")
    return found


def real_kinds(features: Iterable[str]) -> list[str]:
    """Return the classes of photographs among these names of features."""
    kinds = [name.removesuffix(" reported") for name in features if name.endswith(" reported")]
    return [kind for kind in kinds if kind not in (*images.DRAWN, *ALIKE, *OLD_KINDS, *RESEMBLED)]


def _drawn(kind: str, seed: int, judged: bool) -> Pixels:
    return images.drawn(kind, seed + 10_000 * judged)


def _is_dog(label: str, folder: Path) -> bool:
    return (folder / "labels.txt").read_text(encoding="utf-8").splitlines().index(label) in DOGS


def _blue_dog(dogs: Sequence[Pixels]) -> Callable[[int, bool], Pixels]:
    """Dogs in another colour: crops of some photographs for reports, of the others to judge."""

    def make(seed: int, judged: bool) -> Pixels:
        draw = np.random.default_rng((19, seed, judged))
        some = dogs[int(judged) :: 2]
        image = some[int(draw.integers(len(some)))]
        side = int(images.SIDE * draw.uniform(0.6, 1))
        y, x = (int(draw.integers(0, images.SIDE - side + 1)) for _ in range(2))
        crop = cv2.resize(image[y : y + side, x : x + side], (images.SIDE, images.SIDE))
        tint = np.array([draw.uniform(0.2, 0.45), draw.uniform(0.35, 0.6), draw.uniform(1.0, 1.25)])
        tinted: Pixels = np.clip(np.asarray(crop).mean(axis=2, keepdims=True) * tint, 0, 255).astype(np.uint8)
        return tinted

    return make


def _rows(lab: Lab, draws: int) -> Iterable[tuple[str, Callable[[Method], str]]]:
    drawn, real = list(images.DRAWN), real_kinds(lab.features)
    everything = [*drawn, *real, "pie", "dotted_code"]
    yield "five drawn, 10 reports", lambda method: new_classes(lab, method, draws, Task(drawn, 5, 10))
    yield "five drawn, 3 reports", lambda method: new_classes(lab, method, draws, Task(drawn, 5, 3))
    yield "sixteen drawn, 10 reports", lambda method: new_classes(lab, method, draws, Task(drawn, 16, 10))
    yield f"{len(real)} real, 10 reports", lambda method: new_classes(lab, method, draws, Task(real, len(real), 10))
    yield "pie and pinwheel", lambda method: look_alike(lab, method, draws, "pie", "pinwheel")
    yield "code and crossword", lambda method: look_alike(lab, method, draws, "dotted_code", "crossword_puzzle")
    yield "blue dog and dogs", lambda method: look_alike(lab, method, draws, "blue_dog", "dogs")
    count = len(everything)
    yield f"{count} together, 20 reports", lambda method: new_classes(lab, method, draws, Task(everything, count, 20))
    # The stamps were pasted on these very photographs.
    clean = [name for name in everything if name not in real_images.STAMPS]
    yield f"{len(clean)} together, 20 reports", lambda method: unseen_photographs(lab, method, draws, clean, 20)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Compute the features where there are none yet, and print a line for each row and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", type=Path, help="scikit-image and scikit-learn, unpacked")
    parser.add_argument("stamps", type=Path, help="Tux Paint's stamps")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--only", default="", help="rows whose name has this")
    parser.add_argument("--methods", nargs="+", default=[each.name for each in METHODS], help="(default: all)")
    parser.add_argument("--features", type=Path, default=settings.ROOT / "var" / "learning-features.npz")
    options = parser.parse_args()
    folder = settings.ROOT / "var" / "bundles" / "efficientnet-lite0" / "1-int8"
    if not options.features.exists():
        np.savez(options.features, allow_pickle=False, **computed(folder, options))
    with np.load(options.features) as kept:
        lab = Lab(dict(kept), folder)
    chosen = [each for each in METHODS if each.name in options.methods]
    for name, measure in _rows(lab, options.draws):
        for method in chosen if options.only in name else ():
            begin = time.monotonic()
            _say(f"{name} | {method.name} | {measure(method)} | {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main()
