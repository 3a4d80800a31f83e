"""Two versions side by side: accuracy, agreement and calibration of their predictions for the same images."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from evaluation.estimate import MIN_SHARE, Estimate, accuracy
from evaluation.statistics import Interval, paired_difference
from inference.model import Predictions

BINS = 10


class Pair(NamedTuple):
    """An image with the predictions of both versions, best first; `label` is what it shows, empty where unknown.

    `read` returns the bytes of the image, None where there are none.
    """

    path: Path
    label: str
    first: Predictions
    second: Predictions
    read: Callable[[Path], bytes | None] = Path.read_bytes
    # Of the images of the label, which each prediction's version was trained on: less than 1 by cross-validation.
    shares: tuple[float, float] = (1.0, 1.0)

    @property
    def rights(self) -> tuple[bool, bool]:
        """Return whether the label is the top-1 of the first and of the second version."""
        return self.first[0][0] == self.label, self.second[0][0] == self.label

    @property
    def agrees(self) -> bool:
        """Return whether both have the same top-1."""
        return self.first[0][0] == self.second[0][0]


class Bin(NamedTuple):
    """Predictions whose top-1 score is in one tenth of the range."""

    size: int
    mean_score: float
    accuracy: float


class Figures(NamedTuple):
    """How one version does: the accuracy of its top-1 and of its top 5, and its calibration."""

    top1: Estimate
    top5: Estimate
    bins: Sequence[Bin]
    calibration_error: float


class ClassFigures(NamedTuple):
    """The number of images of one label, and of how many it was each version's top-1."""

    label: str
    images: int
    first: int
    second: int


@dataclass(frozen=True)
class Comparison:
    """Images of one kind; the remark names it."""

    title: str
    remark: str
    pairs: Sequence[Pair]
    notes: Sequence[str] = ()  # sentences on what the figures mean

    @property
    def labelled(self) -> bool:
        """Return whether it is known what the images show."""
        return any(pair.label for pair in self.pairs)

    @property
    def agreeing(self) -> int:
        """Return the number of images with the same top-1 in both versions."""
        return sum(pair.agrees for pair in self.pairs)

    @property
    def judged(self) -> list[Pair]:
        """Return the pairs without those of new classes of too few images for an estimate."""
        return [pair for pair in self.pairs if min(pair.shares) >= MIN_SHARE]

    def figures(self) -> tuple[Figures, Figures]:
        """Return the figures of the first and of the second version."""
        return (
            figures([(pair.first, pair.label, pair.shares[0]) for pair in self.judged]),
            figures([(pair.second, pair.label, pair.shares[1]) for pair in self.judged]),
        )

    def classes(self) -> list[ClassFigures]:
        """Return the figures of every label; those that changed most come first."""
        rows = [
            ClassFigures(label, len(pairs), *map(sum, zip(*(pair.rights for pair in pairs), strict=True)))
            for label, pairs in self.by_label().items()
        ]
        return sorted(rows, key=lambda row: (-abs(row.second - row.first), row.label))

    def by_label(self) -> dict[str, list[Pair]]:
        """Return the pairs of each label."""
        of_label: defaultdict[str, list[Pair]] = defaultdict(list)
        for pair in self.pairs:
            of_label[pair.label].append(pair)
        return of_label

    def difference(self) -> Interval:
        """Return the 95 % interval of how much higher the top-1 accuracy of the second version is."""
        rights = [pair.rights for pair in self.judged]
        lost, gained = rights.count((True, False)), rights.count((False, True))
        first, second = (each.top1.share for each in self.figures())
        # What is estimated beyond the counts.
        beyond = second - first - (gained - lost) / len(rights) if rights else 0.0
        low, high = paired_difference(lost, gained, len(rights))
        return Interval(max(-1.0, low + beyond), min(1.0, high + beyond))

    def confusions(self) -> list[tuple[str, str, list[Pair]]]:
        """Return which labels the second version takes for which others, with the images; the most frequent first."""
        found: defaultdict[tuple[str, str], list[Pair]] = defaultdict(list)
        for pair in self.pairs:
            if pair.label and not pair.rights[1]:
                found[pair.label, pair.second[0][0]].append(pair)
        return [(*names, pairs) for names, pairs in sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))]

    def better(self) -> list[Pair]:
        """Return the pairs that the second version alone has right."""
        return [pair for pair in self.pairs if pair.label and pair.rights == (False, True)]

    def worse(self) -> list[Pair]:
        """Return the pairs that the first version alone has right."""
        return [pair for pair in self.pairs if pair.label and pair.rights == (True, False)]

    def changed(self) -> list[Pair]:
        """Return the pairs of unknown label with different top-1."""
        return [pair for pair in self.pairs if not pair.label and not pair.agrees]


def figures(predicted: Sequence[tuple[Predictions, str, float]]) -> Figures:
    """Return the figures of predictions with the right labels and the shares of these labels' images."""
    rights = [predictions[0][0] == label for predictions, label, _ in predicted]
    among = [label in dict(predictions) for predictions, label, _ in predicted]
    shares = [share for *_, share in predicted]
    bins = calibration_bins([predictions[0][1] for predictions, *_ in predicted], rights)
    labels = [label for _, label, _ in predicted]
    top1, top5 = (accuracy(hits, shares, labels) for hits in (rights, among))
    return Figures(top1, top5, bins, expected_calibration_error(bins))


def calibration_bins(scores: Sequence[float], rights: Sequence[bool]) -> list[Bin]:
    """Return ten bins of equal width over the scores."""
    bins = []
    for number in range(BINS):
        within = [at for at, score in enumerate(scores) if min(int(score * BINS), BINS - 1) == number]
        count = len(within)
        mean = sum(scores[at] for at in within) / count if count else 0.0
        bins.append(Bin(count, mean, sum(rights[at] for at in within) / count if count else 0.0))
    return bins


def expected_calibration_error(bins: Sequence[Bin]) -> float:
    """Return the mean distance between score and accuracy, weighted by count (ECE); 0 is best."""
    total = sum(each.size for each in bins)
    return sum(each.size * abs(each.mean_score - each.accuracy) for each in bins) / total if total else 0.0
