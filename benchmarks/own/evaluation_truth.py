"""What cross-validation estimates for new classes, compared with the truth, and which wrong labels it finds.

    PYTHONPATH=.:model OPENBLAS_NUM_THREADS=1 .venv/bin/python -m benchmarks.own.evaluation_truth [--draws 10]

Five drawn classes, on cached features. The estimate is the accuracy on the reviewed cases, as `evaluate` prints
it; the truth is that of the version itself on drawings that are neither cases nor traffic.
"""

import argparse
from collections import defaultdict

import numpy as np

from benchmarks.own.cached_features import add_features, chosen_features
from benchmarks.own.promotion_gate import Made, World, make
from evaluation import wrong_labels
from evaluation.estimate import accuracy
from registry.versions import Case
from training.train import cross_validate

KINDS = 5
STORED = ("nothing", "photographs", "photographs and new classes")
NOISE = 0.1


def shares(made: Made, world: World, kinds: list[str], shots: int) -> tuple[float, float, bool]:
    """Return the estimate, the truth, and whether the interval of the estimate covers it."""
    found = cross_validate(made.cases, made.training_set)
    classes = made.cases.originals.classes
    rights = (found.cases.argmax(axis=1) == classes).tolist()
    said = accuracy(rights, found.shares.tolist(), [made.labels[each] for each in classes])
    truth = float(
        np.mean(
            [
                (made.head.logits(world.features.truth[kind]).argmax(axis=1) == made.labels.index(kind)).mean()
                for kind in kinds
            ]
        )
    )
    return said.share, truth, said.low <= truth <= said.high


def noisy(world: World, kinds: list[str], shots: int) -> tuple[int, int, int, int]:
    """Return how many wrong and right labels are listed, and how many of both there are."""
    rows = [case for kind in kinds for case in world.drawn(kind, shots)]
    wrong = set(world.draw.choice(len(rows), int(NOISE * len(rows)), replace=False).tolist())
    for at in wrong:
        others = [kind for kind in kinds if kind != rows[at][0]]
        rows[at] = (others[int(world.draw.integers(len(others)))], rows[at][1])
    made = make(world, rows, world.traffic([], is_stored=False))
    used = [Case("", str(at), "", label) for at, (label, _) in enumerate(rows)]
    held_out = cross_validate(made.cases, made.training_set).cases
    found = wrong_labels.find(used, made.cases.originals.classes, made.labels, held_out)
    listed = {int(each.image) for each in found}
    return len(listed & wrong), len(wrong), len(listed - wrong), len(rows) - len(wrong)


def main() -> None:
    """Print a line for each version, and the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--reports", type=int, nargs="+", default=[3, 10])
    parser.add_argument("--stored", choices=STORED, nargs="+", default=list(STORED))
    parser.add_argument("--estimates-only", action="store_true", help="no wrong labels")
    add_features(parser)
    options = parser.parse_args()
    features = chosen_features(options)
    found = defaultdict(list)
    listed = np.zeros(4, int)
    for draw in options.draws:
        for shots in options.reports:
            for stored in options.stored:
                world = World(features, np.random.default_rng(draw))
                kinds = [features.new_kinds[at] for at in world.draw.permutation(len(features.new_kinds))[:KINDS]]
                rows = [case for kind in kinds for case in world.drawn(kind, shots)]
                shown = kinds if "new" in stored else []
                made = make(world, rows, world.traffic(shown, is_stored=stored != "nothing"))
                found[shots, stored].append(shares(made, world, kinds, shots))
                said, true, covers = found[shots, stored][-1]
                print(f"draw {draw}, {shots} reports, {stored}: {said:.3f}, in truth {true:.3f} {covers}", flush=True)
        if options.estimates_only:
            continue
        listed += noisy(world, kinds, 10)
        print(
            f"draw {draw}: wrong labels listed {listed[0]} of {listed[1]}, right ones {listed[2]} of {listed[3]}",
            flush=True,
        )
    for key, each in found.items():
        errors = [said - true for said, true, _ in each]
        print(f"{key}: mean error {np.mean(errors):+.3f}, covered {sum(covers for *_, covers in each)} of {len(each)}")


if __name__ == "__main__":
    main()
