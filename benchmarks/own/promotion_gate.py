"""What the promotion gate lets through: versions that are harmed or good by what independent images show.

Those of wrong labels that these images show hardly any harm of are counted apart, as mislabelled.

    export PYTHONPATH=.:model OPENBLAS_NUM_THREADS=1
    .venv/bin/python -m benchmarks.own.promotion_gate [--draws 1 2 3 4] [--only fresh] [--advised]

Versions are trained on cached features: drawings, and photographs of the bundle's feature bank, of which a part is kept
from the bank. Truth is measured on the labelled photographs of IMAGENET_DIR, on the rest of the bank, and on drawings,
none of which is a case, in the traffic or in the bank. A line for each version, and the counts at the end. With
--advised, a refused version is made again with reviewed cases of the old class that the refusal names, as it advises. A
threshold of the gate was chosen on draw 0.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from benchmarks.own.cached_features import Features, add_features, chosen_features
from evaluation import gate_evidence, promotion_gate
from evaluation.gate_evidence import Subject, aligned
from evaluation.promotion_gate import Evidence, Limits, Outcome
from inference.arrays import Classes, Floats
from onnx_tools.head import Head
from registry.versions import Case
from training import train as training
from training.fitting import Cases
from training.progress import silent
from training.train import TrainingSet, train

LIMITS = Limits(0.01, 0.95)
SHIPPED, STORED, REPORTED = 600, 120, 60  # photographs: of the bank, of the traffic, and for reports; the rest is truth
HARMED_TOP1, HARMED_CLASS = 0.01, 0.05
EACH = 20  # harmed and good versions that are judged
ADVISED, FIRST_ADVISED = 10, 20  # reviewed cases of an old class that the gate has named, and the first of them

SETTINGS = ("traffic", "fresh")

Rows = tuple[str, Floats]  # a label, and the augmentations of one image


class Version(NamedTuple):
    """A version that people might make, sometimes by mistake."""

    name: str
    active: list[Rows]  # the cases of the active version; none: the base
    rows: list[Rows]
    has_wrong_labels: bool = False


@dataclass
class World:
    """One draw of photographs and drawings in their roles."""

    features: Features
    draw: np.random.Generator

    def __post_init__(self) -> None:
        order = self.draw.permutation(len(self.features.bank))
        parts = np.split(order, np.cumsum([SHIPPED, STORED, REPORTED]))
        self.shipped, self.stored, self.reported, self.rest = parts
        self.order = {kind: self.draw.permutation(len(rows)) for kind, rows in self.features.cases.items()}

    def drawn(self, kind: str, count: int, label: str = "", first: int = 0) -> list[Rows]:
        """Return cases of a kind, under its own label or another one."""
        rows, order = self.features.cases[kind], self.order[kind]
        return [(label or kind, rows[order[at % len(order)]]) for at in range(first, first + count)]

    def several(self, kinds: Sequence[str], count: int, shots: int) -> list[Rows]:
        """Return so many cases of each of the first kinds."""
        return [case for kind in kinds[:count] for case in self.drawn(kind, shots)]

    def photographs(self, count: int, label: Callable[[int], str]) -> list[Rows]:
        """Return photographs as cases, of which `label` names each by its right class."""
        bank = self.features
        return [(label(int(bank.bank_classes[at])), bank.bank[at : at + 1]) for at in self.reported[:count]]

    def traffic(self, kinds: Sequence[str], *, is_stored: bool) -> Floats:
        """Return stored images, photographs and some drawings of each kind, in any order; none where none is stored."""
        found = [*(self.features.stored[kind] for kind in kinds), self.features.bank[self.stored]]
        together = np.concatenate(found)
        return together[self.draw.permutation(len(together))] if is_stored else together[:0]


@dataclass(frozen=True)
class Made:
    """A version and what it was made of."""

    head: Head
    labels: tuple[str, ...]
    rows: Sequence[Rows]
    training_set: TrainingSet
    cases: Cases


def make(world: World, rows: Sequence[Rows], rehearsed: Floats) -> Made:
    """Train a version on these cases."""
    features = world.features
    labels = tuple(dict.fromkeys((*features.labels, *(label for label, _ in rows))))
    index = {label: at for at, label in enumerate(labels)}
    counts = [len(each) for _, each in rows]
    cases = Cases(
        np.concatenate([each for _, each in rows]),
        np.repeat([index[label] for label, _ in rows], counts),
        np.repeat(np.arange(len(rows)), counts),
    )
    known = np.concatenate([features.synthetic, features.bank[world.shipped]])
    training_set = TrainingSet(features.base, known, rehearsed)
    return Made(train(cases, training_set).head, labels, rows, training_set, cases)


def truth(world: World, labels: Sequence[str], before: Head, after: Head) -> str:
    """Return what harm independent images show, "" for none."""
    features = world.features
    photographs = np.concatenate([features.photographs, features.bank[world.rest]])
    classes = np.concatenate([features.photograph_classes, features.bank_classes[world.rest]])
    drop = _right(before, photographs, classes) - _right(after, photographs, classes)
    found = [f"top-1 -{drop:.1%}"] if drop >= HARMED_TOP1 else []
    print(f"(top-1 -{drop:.1%})", end=" ")
    for kind in (*features.new_kinds, *features.old_kinds, *features.resembled):
        if kind in labels:
            of_kind = np.full(len(features.truth[kind]), labels.index(kind))
            lost = _right(before, features.truth[kind], of_kind) - _right(after, features.truth[kind], of_kind)
            found += [f"{kind} -{lost:.0%}"] if lost >= HARMED_CLASS else []
    return ", ".join(found)


def _right(head: Head, features: Floats, classes: Classes) -> float:
    return float((head.logits(features).argmax(axis=1) == classes).mean())


def subject(world: World, made: Made, active: Made | None, held_out: Floats) -> Subject:
    """Return what the gate gets to see of a version."""
    head, labels = (active.head, active.labels) if active else (world.features.base, world.features.labels)
    known = {id(rows) for _, rows in active.rows} if active else set()
    return Subject(
        made.labels,
        made.head,
        aligned(head, labels, made.labels),
        [Case("", str(at), "", label) for at, (label, _) in enumerate(made.rows)],
        made.cases,
        made.training_set,
        np.array([id(rows) in known for _, rows in made.rows]),
        world.features.bank_classes[world.shipped],
        held_out,
    )


def scenarios(world: World) -> Iterator[Version]:
    """Yield versions that people might make, some of them by mistake."""
    kinds = [world.features.new_kinds[at] for at in world.draw.permutation(len(world.features.new_kinds))]
    labels = world.features.labels

    wrong = {at: labels[int(world.draw.integers(len(labels)))] for at in range(len(labels))}
    yield Version("one class of 10", [], world.several(kinds, 1, 10))
    yield Version("five classes of 10", [], world.several(kinds, 5, 10))
    yield Version("five classes of 3", [], world.several(kinds, 5, 3))
    yield Version("nine classes of 10", [], world.several(kinds, 9, 10))
    yield Version("two more classes", world.several(kinds, 2, 10), world.several(kinds, 4, 10))
    more = [case for kind in kinds[:3] for case in world.drawn(kind, 8, first=10)]
    yield Version("more cases of the same", world.several(kinds, 3, 5), [*world.several(kinds, 3, 5), *more])
    yield Version("corrections of an old class", [], [*world.several(kinds, 2, 8), *world.drawn("crossword_puzzle", 8)])
    rightly = world.photographs(40, lambda at: labels[at])
    yield Version("photographs rightly named", [], [*world.several(kinds, 2, 8), *rightly])
    for name, active, rows in _mistakes(world, kinds, wrong):
        yield Version(name, active, rows, has_wrong_labels=True)


def _mistakes(
    world: World, kinds: Sequence[str], wrong: Mapping[int, str]
) -> Iterator[tuple[str, list[Rows], list[Rows]]]:
    one = int(world.draw.integers(15, REPORTED))
    yield f"{one} photographs under one name", [], world.photographs(one, lambda _: "odd")
    yield "60 photographs under wrong names", [], world.photographs(60, lambda at: wrong[at])
    yield (
        "five classes, 40 photographs as an old class",
        [],
        [*world.several(kinds, 5, 10), *world.photographs(40, lambda _: wrong[0])],
    )
    for old in world.features.old_kinds:
        yield f"{old} under a new name", [], world.drawn(old, int(world.draw.integers(5, 20)), "odd")
        yield f"{old} as {kinds[0]}", [], [*world.several(kinds, 3, 10), *world.drawn(old, 10, kinds[0])]
    yield (
        f"{kinds[0]} as {kinds[1]}",
        world.several(kinds, 4, 8),
        [*world.several(kinds, 4, 8), *world.drawn(kinds[0], 25, kinds[1], first=12)],
    )
    yield (
        f"{kinds[0]} as something new",
        world.several(kinds, 4, 8),
        [*world.several(kinds, 4, 8), *world.drawn(kinds[0], 20, "odd", first=12)],
    )


Counts = Counter[tuple[str, str]]


def trial(world: World, version: Version, counts: Counts, advised: Counts | None, *, has_traffic: bool) -> None:
    """Count whether a version is harmed or good, and the gate's decision; if it is refused, as advised too."""
    kinds = sorted({label for label, _ in version.rows} & set(world.features.new_kinds))
    stored = world.traffic([*kinds, *world.features.old_kinds], is_stored=has_traffic)
    evidence = judge(world, version, stored, counts)
    if evidence and advised is not None and (rows := advised_cases(world, evidence)):
        judge(world, version._replace(name=f"{version.name}, as advised", rows=[*version.rows, *rows]), stored, advised)


def judge(world: World, version: Version, stored: Floats, counts: Counts) -> Evidence | None:
    """Count a version unless there are enough of its kind, and return the evidence if the gate refuses it."""
    held_out, rehearsed = stored[: len(stored) // 4], stored[len(stored) // 4 :]
    active = make(world, version.active, rehearsed) if version.active else None
    made = make(world, version.rows, rehearsed)
    seen = subject(world, made, active, held_out)
    harm = truth(world, made.labels, seen.active, made.head)
    kind = "harmed" if harm else "mislabelled" if version.has_wrong_labels else "good"
    if counts[kind, "passed"] + counts[kind, "refused"] >= EACH:
        return None
    evidence = gate_evidence.measure(seen, silent)
    verdict = promotion_gate.decide(evidence, LIMITS)
    is_refused = verdict.outcome is Outcome.REFUSED
    is_wrong = kind != "mislabelled" and is_refused != bool(harm)
    bank = [each for each in evidence.labelled if "model" in each.what]
    print(
        f"{'WRONG ' if is_wrong else '      '}{kind:11} {verdict.outcome.value:11} {version.name}: {harm} | "
        f"{'; '.join(verdict.reasons) if is_refused else ''} "
        f"bank {[each[1:] for each in bank]} changes {[each[1:] for each in evidence.changes]}",
        flush=True,
    )
    counts[kind, "refused" if is_refused else "passed"] += 1
    return evidence if is_refused else None


def advised_cases(world: World, evidence: Evidence) -> list[Rows]:
    """Return reviewed cases of the old classes that a refusal names, as far as there are drawings of them."""
    features = world.features
    named = {each.other for each in evidence.look_alikes} | {
        label for each in evidence.changes for label, _ in each.taken
    }
    found = [
        case for kind in features.old_kinds if kind in named for case in world.drawn(kind, ADVISED, "", FIRST_ADVISED)
    ]
    return [
        *found,
        *((kind, rows) for kind in features.resembled if kind in named for rows in features.resembled[kind][:ADVISED]),
    ]


def _is_complete(counts: Counts) -> bool:
    return all(counts[kind, "passed"] + counts[kind, "refused"] >= EACH for kind in ("harmed", "good"))


def main() -> None:
    """Try the gate on versions, with stored photographs and as on a fresh install, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, nargs="+", default=[1, 2, 3, 4], help="(default: 1 to 4)")
    parser.add_argument("--scenarios", type=int, nargs="+", help="some of them by their numbers (default: all)")
    add_features(parser)
    parser.add_argument("--folds", type=int, default=training.FOLDS, help="of cross-validation (default: %(default)s)")
    parser.add_argument("--advised", action="store_true", help="make refused versions again as the gate advises")
    parser.add_argument("--only", choices=SETTINGS, nargs="+", default=list(SETTINGS))
    options = parser.parse_args()
    features = chosen_features(options)
    training.FOLDS = options.folds
    for name in options.only:
        counts: Counts = Counter()
        advised: Counts = Counter()
        for draw in options.draws:
            world = World(features, np.random.default_rng(draw))
            for number, version in enumerate(scenarios(world)):
                if number in (options.scenarios or [number]) and not _is_complete(counts):
                    trial(world, version, counts, advised if options.advised else None, has_traffic=name == "traffic")
        print(name, dict(counts), "as advised:" if options.advised else "", dict(advised) or "", flush=True)


if __name__ == "__main__":
    main()
