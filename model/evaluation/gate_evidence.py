"""The effect of a version on images outside its training set, measured in the features below its last layer.

Each answer is that of a version trained without the image: reviewed cases and the images of the rehearsal set by
cross-validation, the rest by the version itself.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from evaluation import wrong_labels
from evaluation.held_out import cross_validated
from evaluation.promotion_gate import MIN_KEPT, Changes, Counts, Evidence, LookAlike, Paired, without
from evaluation.statistics import at_least
from inference.arrays import Classes, Flags, Floats
from onnx_tools.head import Head
from registry.versions import Case
from training.fitting import NEVER, Cases
from training.progress import Progress
from training.train import DISPUTED, SURE, TrainingSet, softmax

# Images of a class as a rule have at least this score for it, and so do one in ten of another class's at most. With 0.5
# most images of some unknown classes would have it: a network has one answer to much that it does not know.
LOOKS_ALIKE, BY_CHANCE, MIN_LOOK_ALIKE, ALPHA = 0.8, 0.1, 3, 0.01


@dataclass(frozen=True)
class Subject:
    """A version that was trained, and the active one, over the same features and with the same classes."""

    labels: Sequence[str]
    head: Head
    active: Head
    used: Sequence[Case]  # one for each distinct image of `cases`, in order
    cases: Cases
    training_set: TrainingSet
    known_before: Flags  # of `used`: whether the active version was trained on it
    bank_classes: Classes  # of the last rows of training_set.known
    unreported: Floats  # features of images that neither version was trained on

    @property
    def classes(self) -> Classes:
        """Return the class of each image of the cases."""
        classes: Classes = self._numbers[self.cases.originals.classes]
        return classes

    def answers(self, probabilities: Floats) -> Classes:
        """Return the top-1 of each row."""
        answers: Classes = self._numbers[probabilities.argmax(axis=1)]
        return answers

    @property
    def _numbers(self) -> Classes:
        """Return the class of each number: classes that were merged have one name, and count as one."""
        number_of = {label: number for number, label in reversed(list(enumerate(self.labels)))}
        return np.array([number_of[label] for label in self.labels])


def aligned(head: Head, labels: Sequence[str], wanted: Sequence[str]) -> Head:
    """Return a head with a row for each wanted label, its own number first; one that it lacks is never answered."""
    row_of = {label: row for row, label in reversed(list(enumerate(labels)))}
    same = [number < len(labels) and labels[number] == label for number, label in enumerate(wanted)]
    rows = np.array([number if same[number] else row_of.get(label, -1) for number, label in enumerate(wanted)])
    weights, biases = head.weights[rows].copy(), head.biases[rows].copy()
    weights[rows < 0], biases[rows < 0] = 0, NEVER
    return replace(head, weights=weights, biases=biases)


def measure(subject: Subject, progress: Progress) -> Evidence:
    """Return what is known of the version without labelled images."""
    after = _cross_fit(subject, subject.cases, progress)
    before = _before(subject, progress)
    by_label = _by_label(subject, before[0], after[0])
    kept = {subject.labels[each] for each, of in by_label.items() if _is_kept(of)}
    changes, bank = _rehearsed(subject, before[1], after[1])
    return Evidence(
        cases=len(subject.used),
        by_label=list(by_label.values()),
        labelled=bank,
        changes=[each.without(kept) for each in (*changes, *_unreported(subject))],
        look_alikes=[each for each in _look_alikes(subject, before[0]) if each.other not in kept],
        sure_otherwise=without(_sure_otherwise(subject, before[0]), kept),
        wrong_labels=wrong_labels.find(subject.used, subject.cases.originals.classes, subject.labels, after[0]),
        photographs=len(subject.unreported),
    )


def _cross_fit(subject: Subject, cases: Cases, progress: Progress) -> tuple[Floats, Floats]:
    of_cases, rehearsed, _ = cross_validated(cases, subject.training_set, progress)
    return _wide(of_cases, len(subject.labels)), _wide(rehearsed, len(subject.labels))


def _before(subject: Subject, progress: Progress) -> tuple[Floats, Floats]:
    """Return the same of the active version, by cross-validation as far as it was trained on the same cases."""
    training_set, known = subject.training_set, subject.known_before
    of_cases = softmax(subject.active.logits(subject.cases.originals.features))
    if not known.any():
        return of_cases, softmax(subject.active.logits(np.concatenate([training_set.known, training_set.traffic])))
    of_known, rehearsed = _cross_fit(subject, subject.cases.only(known[subject.cases.images]), progress)
    of_cases[known] = of_known
    return of_cases, rehearsed


def _wide(probabilities: Floats, count: int) -> Floats:
    return np.pad(probabilities, ((0, 0), (0, count - probabilities.shape[1])))


def _by_label(subject: Subject, before: Floats, after: Floats) -> dict[int, Paired]:
    classes = subject.classes
    rights = subject.answers(before) == classes, subject.answers(after) == classes
    return {
        each: _paired(f"reviewed cases of {subject.labels[each]!r}", *(right[classes == each] for right in rights))
        for each in np.unique(classes).tolist()
    }


def _paired(what: str, before: Flags, after: Flags) -> Paired:
    return Paired(what, len(before), int((before & ~after).sum()), int((~before & after).sum()))


def _is_kept(found: Paired) -> bool:
    """Return whether reviewed cases of a class show that it is not lost."""
    return found.images >= MIN_KEPT and found.lost <= BY_CHANCE * found.images


def _rehearsed(subject: Subject, before: Floats, after: Floats) -> tuple[list[Changes], list[Paired]]:
    """Compare on the images of the rehearsal set, of which those of the bank have labels."""
    known = len(subject.training_set.known)
    bank = slice(known - len(subject.bank_classes), known)
    kinds = ("synthetic images", slice(0, bank.start)), ("images of the rehearsal set", slice(known, len(before)))
    changes = [_changes(subject, what, before[rows], after[rows]) for what, rows in kinds]
    rights = [subject.answers(each[bank]) == subject.bank_classes for each in (before, after)]
    found = [_paired("images that come with the model", *rights)]
    return [each for each in changes if each.images], [each for each in found if each.images]


def _unreported(subject: Subject) -> Iterator[Changes]:
    if len(subject.unreported):
        before, after = (softmax(head.logits(subject.unreported)) for head in (subject.active, subject.head))
        yield _changes(subject, "unreported images", before, after)


def _changes(subject: Subject, what: str, before: Floats, after: Floats) -> Changes:
    """Count changes, without those of images that may show a reported class and whose predictions were uncertain."""
    reported = np.unique(subject.cases.classes)
    gained = after[:, reported].sum(axis=1) - before[:, reported].sum(axis=1)
    sure = before.max(axis=1) >= SURE
    answers, is_reported = subject.answers(before), np.isin(after.argmax(axis=1), reported)
    changed = answers != subject.answers(after)
    neutral = changed & (gained >= DISPUTED) & ~sure & is_reported
    counted = changed & ~neutral
    taken = _counts(subject, answers[counted & sure & is_reported])
    return Changes(what, len(before), int(counted.sum()), int((counted & sure).sum()), int(neutral.sum()), taken)


def _sure_otherwise(subject: Subject, before: Floats) -> Counts:
    answers = subject.answers(before)
    return _counts(subject, answers[(before.max(axis=1) >= SURE) & (answers != subject.classes)])


def _counts(subject: Subject, classes: Classes) -> Counts:
    return tuple(Counter(subject.labels[each] for each in classes).items())


def _look_alikes(subject: Subject, before: Floats) -> Iterator[LookAlike]:
    """Yield the labels of whose cases the active version is sure that they are one other class."""
    classes, answers, sure = subject.classes, subject.answers(before), before.max(axis=1) >= LOOKS_ALIKE
    for each in np.unique(classes):
        others = answers[(classes == each) & sure & (answers != each)]
        if len(others):
            other = int(np.bincount(others).argmax())
            images, count = int((classes == each).sum()), int((others == other).sum())
            is_by_chance = count < MIN_LOOK_ALIKE or at_least(count, images, BY_CHANCE) >= ALPHA
            if not is_by_chance:
                yield LookAlike(subject.labels[each], subject.labels[other], images, count)
