"""Two versions side by side: what each said of the same pictures, counted. Numbers only."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from evaluation import calibration
from evaluation.calibration import Bin
from inference.model import Predictions


class Pair(NamedTuple):
    """A picture and what both versions said of it, best first; `label` is what it shows, empty where nobody knows."""

    path: Path
    label: str
    first: Predictions
    second: Predictions

    @property
    def is_first_right(self) -> bool:
        """Whether the first version puts the label first."""
        return self.first[0][0] == self.label

    @property
    def is_second_right(self) -> bool:
        """Whether the second version puts the label first."""
        return self.second[0][0] == self.label

    @property
    def agrees(self) -> bool:
        """Whether both put the same label first."""
        return self.first[0][0] == self.second[0][0]


class Figures(NamedTuple):
    """How one version did: counts of right answers, and how far its scores can be believed."""

    right: int
    among_five: int
    bins: tuple[Bin, ...]
    calibration_error: float


class OfClass(NamedTuple):
    """How often both versions were right about the pictures of one label."""

    label: str
    pictures: int
    first: int
    second: int


@dataclass(frozen=True)
class Comparison:
    """Pictures of one kind, with the sentence that says which."""

    title: str
    remark: str
    pairs: Sequence[Pair]

    @property
    def labelled(self) -> bool:
        """Whether it is known what the pictures show."""
        return any(pair.label for pair in self.pairs)

    @property
    def agreeing(self) -> int:
        """How many pictures both versions name alike."""
        return sum(pair.agrees for pair in self.pairs)

    def figures(self) -> tuple[Figures, Figures]:
        """Those of the first and of the second version."""
        return (
            _figures([(pair.first, pair.label) for pair in self.pairs]),
            _figures([(pair.second, pair.label) for pair in self.pairs]),
        )

    def classes(self) -> list[OfClass]:
        """Every label; those that changed most come first."""
        of_label: defaultdict[str, list[Pair]] = defaultdict(list)
        for pair in self.pairs:
            of_label[pair.label].append(pair)
        rows = [
            OfClass(label, len(pairs), *(sum(rights) for rights in zip(*map(_rights, pairs), strict=True)))
            for label, pairs in of_label.items()
        ]
        return sorted(rows, key=lambda row: (-abs(row.second - row.first), row.label))

    def better(self) -> list[Pair]:
        """What the second version has right and the first had not."""
        return [pair for pair in self.pairs if pair.label and pair.is_second_right and not pair.is_first_right]

    def worse(self) -> list[Pair]:
        """What the first version had right and the second has not."""
        return [pair for pair in self.pairs if pair.label and pair.is_first_right and not pair.is_second_right]

    def changed(self) -> list[Pair]:
        """What the two name differently, where nobody knows who is right."""
        return [pair for pair in self.pairs if not pair.label and not pair.agrees]


def _rights(pair: Pair) -> tuple[bool, bool]:
    return pair.is_first_right, pair.is_second_right


def _figures(said: Iterable[tuple[Predictions, str]]) -> Figures:
    said = list(said)
    rights = [predictions[0][0] == label for predictions, label in said]
    among = sum(label in [name for name, _ in predictions] for predictions, label in said)
    bins = calibration.bins([predictions[0][1] for predictions, _ in said], rights)
    return Figures(sum(rights), among, tuple(bins), calibration.expected_error(bins))
