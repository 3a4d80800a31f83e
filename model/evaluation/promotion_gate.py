"""The promotion gate: whether measurements of a version argue against serving it, and how reliable they are.

Counts in, a verdict out. A version is refused for harm that chance does not explain; it passes where images of the
service itself show no harm, and provisionally where only what comes with the model could be measured.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

from evaluation.statistics import at_least, mcnemar, paired_difference
from evaluation.wrong_labels import WrongLabel

MIN_CASES = 5  # fewer are no version
MIN_PHOTOGRAPHS = 20  # labelled or unreported ones that no version was trained on; with fewer it is provisional
MIN_CLEARING = 10  # labelled images of a class, all kept, that prove that it loses nothing to a look-alike
MIN_KEPT = 5  # reviewed cases of a class that prove the same, of which one in ten may be lost
# How improbable harm must be by chance alone: of one test over many images, and where each class has a test.
ALPHA, CLASS_ALPHA = 0.05, 0.01
# At most such a share of cases that were reported rightly has a wrong answer of which the active version is sure.
SURE_OTHERWISE = 0.1


Counts = tuple[tuple[str, int], ...]  # of images, by label


def without(counts: Counts, labels: Collection[str]) -> Counts:
    """Return the counts of the other labels."""
    return tuple(each for each in counts if each[0] not in labels)


def total(counts: Counts) -> int:
    """Return how many images there are of all labels."""
    return sum(images for _, images in counts)


class Limits(NamedTuple):
    """How much of its top-1 accuracy a version may lose, and how often it must agree with the active one, as shares."""

    max_accuracy_drop: float
    min_agreement: float


class Paired(NamedTuple):
    """Labelled images of one kind: how many the active version alone has right, and how many the candidate alone."""

    what: str
    images: int
    lost: int
    gained: int


class Changes(NamedTuple):
    """Unlabelled images of one kind: of how many the top-1 changed, and where the active version was sure of it.

    Images that may show a reported class are not counted as changed. `taken` has those of the sure ones whose top-1 is
    a reported class now, by the label that they had.
    """

    what: str
    images: int
    changed: int
    sure: int
    neutral: int = 0
    taken: Counts = ()

    def without(self, kept: Collection[str]) -> "Changes":
        """Return the counts with what was taken from these labels as neutral: they are proved to lose nothing."""
        taken = without(self.taken, kept)
        count = total(self.taken) - total(taken)
        return self._replace(
            changed=self.changed - count, sure=self.sure - count, neutral=self.neutral + count, taken=taken
        )


class LookAlike(NamedTuple):
    """A label whose cases the active version, which was not trained on them, takes for one other class."""

    label: str
    other: str
    images: int
    sure: int


@dataclass(frozen=True)
class Evidence:
    """Measurements of a candidate and of the active version, each by versions not trained on these images."""

    cases: int | None  # None where it was not made of cases
    by_label: Sequence[Paired] = ()  # images of one label each
    labelled: Sequence[Paired] = ()
    changes: Sequence[Changes] = ()
    look_alikes: Sequence[LookAlike] = ()
    # Cases of which the active version, not trained on them, is sure that they show another label, by that label.
    sure_otherwise: Counts = ()
    wrong_labels: Sequence[WrongLabel] = ()
    photographs: int = 0  # of the service's own, labelled or not, that neither version was trained on

    def with_labelled(self, all_of_them: Paired, by_label: Mapping[str, Paired]) -> "Evidence":
        """Return the evidence with that of a folder of labelled images, by label, too."""
        kept = {label for label, each in by_label.items() if each.images >= MIN_CLEARING and not each.lost}
        return replace(
            self,
            labelled=[*self.labelled, all_of_them],
            by_label=[*self.by_label, *by_label.values()],
            changes=[each.without(kept) for each in self.changes],
            look_alikes=[each for each in self.look_alikes if each.other not in kept],
            sure_otherwise=without(self.sure_otherwise, kept),
            photographs=self.photographs + all_of_them.images,
        )


class Outcome(Enum):
    """What the gate lets happen."""

    PASSED = "passed"
    PROVISIONAL = "provisional"
    REFUSED = "refused"


class Verdict(NamedTuple):
    """The outcome, and the sentences that say why."""

    outcome: Outcome
    reasons: list[str]


def decide(evidence: Evidence, limits: Limits) -> Verdict:
    """Return whether a candidate may be served."""
    if objections := list(_objections(evidence, limits)):
        return Verdict(Outcome.REFUSED, objections)
    if evidence.photographs < MIN_PHOTOGRAPHS:
        return Verdict(Outcome.PROVISIONAL, list(_missing(evidence)))
    return Verdict(Outcome.PASSED, [])


def _objections(evidence: Evidence, limits: Limits) -> Iterator[str]:
    if evidence.cases is not None and evidence.cases < MIN_CASES:
        yield f"it was made of {evidence.cases} images; at least {MIN_CASES} are required"
    for found in evidence.labelled:
        if _is_harmed(found, ALPHA) and _drop(found) > limits.max_accuracy_drop:
            yield f"{_counts(found)}; a drop of {limits.max_accuracy_drop:.0%} is allowed"
    for found in evidence.by_label:
        if _is_harmed(found, CLASS_ALPHA):
            yield _counts(found)
    for changed in evidence.changes:
        yield from _changes(changed, limits)
    sure_otherwise = total(evidence.sure_otherwise)
    if evidence.cases and at_least(sure_otherwise, evidence.cases, SURE_OTHERWISE) < CLASS_ALPHA:
        yield (
            f"the active version is sure that {sure_otherwise} of {evidence.cases} cases show other labels "
            "than they were given, more than chance explains: look through the labels of the cases"
        )
    for each in evidence.look_alikes:
        yield (
            f"{each.sure} of {each.images} cases of {each.label!r} are {each.other!r} to the active version, too many "
            f"for another class: if they do show it, it would be lost. If they do not, {_remedy(each.other)}"
        )


def _changes(changed: Changes, limits: Limits) -> Iterator[str]:
    of = f"of {changed.images} {changed.what}"
    if at_least(changed.sure, changed.images, limits.max_accuracy_drop) < ALPHA:
        label, count = max(changed.taken, key=lambda each: each[1], default=("", 0))
        taken = f"; {count} were {label!r}. If they do not show it, {_remedy(label)}" if count else ""
        yield f"it has another top-1 for {changed.sure} {of} of which the active version is sure{taken}"
    elif at_least(changed.changed, changed.images, 1 - limits.min_agreement) < ALPHA:
        yield (
            f"it agrees with the active version on {changed.images - changed.changed} {of}; "
            f"{limits.min_agreement:.0%} are required"
        )


def _remedy(label: str) -> str:
    return (
        f"review {MIN_CLEARING} or more images of {label!r} under this label and train again, or compare as many "
        "labelled ones (--labelled)"
    )


def _is_harmed(found: Paired, alpha: float) -> bool:
    """Return whether losses outnumber gains by more than chance explains."""
    return mcnemar(found.lost, found.gained) < alpha


def _drop(found: Paired) -> float:
    """Return the highest drop of the accuracy that these counts allow."""
    return -paired_difference(found.lost, found.gained, found.images).low


def _counts(found: Paired) -> str:
    return f"of {found.images} {found.what} it loses {found.lost} and gains {found.gained} right answers"


def _missing(evidence: Evidence) -> Iterator[str]:
    yield (
        f"only {evidence.photographs} images of your own, which no version was trained on, could be compared; "
        f"{MIN_PHOTOGRAPHS} are required: a folder of labelled ones (--labelled), or {MIN_PHOTOGRAPHS} stored ones "
        "that no one reported, of which a quarter is kept for this"
    )
