"""What the gate finds in versions that were fitted on features of a random generator."""

import numpy as np
import pytest

from evaluation.gate_evidence import Subject, aligned, measure
from evaluation.promotion_gate import LookAlike, total
from inference.arrays import Floats
from onnx_tools.head import Head
from registry.versions import Case
from training.fitting import NEVER, Cases
from training.progress import silent
from training.train import TrainingSet, softmax, train

OLD, WIDTH = 20, 32
SHIFT = 8.0
LABELS = [*(f"old {number}" for number in range(OLD)), "new", "newer"]
NONE = np.empty((0, WIDTH), np.float32)


@pytest.fixture
def draw() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def base(draw: np.random.Generator) -> Head:
    head = Head(draw.normal(0, 0.5, (OLD, WIDTH)).astype(np.float32), np.zeros(OLD, np.float32))
    return head.extended(2)


def typical(draw: np.random.Generator, count: int) -> Floats:
    return np.abs(draw.normal(0, 1, (count, WIDTH))).astype(np.float32)


def of_kind(draw: np.random.Generator, kind: int, count: int) -> Floats:
    """Images of a new kind: ordinary ones that have one feature more."""
    features = typical(draw, count)
    features[:, kind] += SHIFT
    return features


def of_old_class(draw: np.random.Generator, head: Head, number: int, count: int) -> Floats:
    """Images that the head is sure to show an old class."""
    row = head.weights[number] - head.weights[:OLD].mean(axis=0)
    moved: Floats = np.maximum(0, typical(draw, count) + 8 * row / np.linalg.norm(row)).astype(np.float32)
    return moved


def subject(base: Head, features: Floats, classes: list[int], known: Floats, unreported: Floats = NONE) -> Subject:
    numbers = np.array(classes)
    cases = Cases(features, numbers, np.arange(len(numbers)))
    old = Head(base.weights[:OLD], base.biases[:OLD])
    training_set = TrainingSet(old, known, NONE)
    count = len(LABELS)
    never = Head(base.weights, np.append(base.biases[:OLD], [NEVER, NEVER]).astype(np.float32))
    return Subject(
        LABELS,
        aligned(train(cases, training_set).head, LABELS[: max(OLD, max(classes) + 1)], LABELS[:count]),
        never,
        [Case("", f"{at}.jpg", "", LABELS[number]) for at, number in enumerate(numbers)],
        cases,
        training_set,
        np.zeros(len(numbers), bool),
        never.logits(known).argmax(axis=1)[-50:],
        unreported,
    )


def test_a_new_class_that_is_found_in_images_left_out_harms_nothing(draw: np.random.Generator, base: Head) -> None:
    found = measure(subject(base, of_kind(draw, 0, 10), [OLD] * 10, typical(draw, 200)), silent)
    assert found.by_label[0].gained >= 8
    assert [each.lost for each in (*found.by_label, *found.labelled)] <= [0, 3]
    assert (found.look_alikes, found.wrong_labels) == ([], [])


def test_an_old_class_under_a_new_name_is_named(draw: np.random.Generator, base: Head) -> None:
    images = of_old_class(draw, base, 7, 8)
    found = measure(subject(base, images, [OLD] * 8, typical(draw, 200)), silent)
    assert found.look_alikes == [LookAlike("new", "old 7", 8, found.look_alikes[0].sure)]
    assert found.look_alikes[0].sure >= 5


def test_a_class_that_the_active_version_takes_for_an_old_one_with_doubt_is_no_look_alike(
    draw: np.random.Generator, base: Head
) -> None:
    doubtful = of_kind(draw, 0, 10)
    made = subject(base, doubtful, [OLD] * 10, typical(draw, 200))
    row = base.weights[7] - base.weights[:OLD].mean(axis=0)
    step = (0.1 * row / np.linalg.norm(row)).astype(np.float32)
    while (unsure := softmax(made.active.logits(doubtful)).max(axis=1) < 0.6).any():
        doubtful[unsure] += step
    scores = softmax(made.active.logits(doubtful))
    assert (scores.argmax(axis=1) == 7).sum() >= 8
    assert scores.max() < 0.8
    assert measure(subject(base, doubtful, [OLD] * 10, typical(draw, 200)), silent).look_alikes == []


def test_unreported_images_of_the_new_class_are_no_harm_and_those_of_sure_answers_are(
    draw: np.random.Generator, base: Head
) -> None:
    learned, known = of_kind(draw, 0, 10), typical(draw, 200)
    stored = np.concatenate([of_kind(draw, 0, 30), typical(draw, 50)])
    (_, changed) = measure(subject(base, learned, [OLD] * 10, known, stored), silent).changes
    assert changed.what == "unreported images"
    assert changed.images == 80
    assert changed.neutral >= 15
    assert changed.changed <= 12
    made = subject(base, learned, [OLD] * 10, known, of_old_class(draw, base, 7, 30))
    biases = made.head.biases.copy()
    biases[OLD] = 50
    swallowing = Subject(**{**vars(made), "head": Head(made.head.weights, biases)})
    (_, changed) = measure(swallowing, silent).changes
    assert changed.sure >= 10


def test_labels_that_images_left_out_contradict_are_listed(draw: np.random.Generator, base: Head) -> None:
    features = np.concatenate([of_kind(draw, 0, 20), of_kind(draw, 1, 20)])
    classes = [OLD] * 20 + [OLD + 1] * 20
    for at in (3, 25):
        classes[at] = OLD + 1 if classes[at] == OLD else OLD
    found = measure(subject(base, features, classes, typical(draw, 200)), silent)
    assert {each.image for each in found.wrong_labels} == {"3.jpg", "25.jpg"}
    assert {(each.label, each.answer) for each in found.wrong_labels} == {("new", "newer"), ("newer", "new")}


def test_a_class_that_the_active_version_had_learned_is_lost(draw: np.random.Generator, base: Head) -> None:
    learned, known = of_kind(draw, 0, 10), typical(draw, 200)
    active = subject(base, learned, [OLD] * 10, known)
    wrong = of_kind(draw, 0, 40)
    found = subject(base, np.concatenate([learned, wrong]), [OLD] * 10 + [OLD + 1] * 40, known)
    found = Subject(**{**vars(found), "active": active.head, "known_before": np.arange(50) < 10})
    evidence = measure(found, silent)
    assert next(each.lost for each in evidence.by_label if "'new'" in each.what) >= 6
    assert [(each.label, each.other) for each in evidence.look_alikes] == [("newer", "new")]


def test_the_active_version_is_not_judged_on_images_that_it_was_trained_on_either(
    draw: np.random.Generator, base: Head
) -> None:
    # A class of a single image: only a version that was trained on it knows it.
    features = np.concatenate([of_kind(draw, 0, 10), of_kind(draw, 1, 1)])
    made = subject(base, features, [OLD] * 10 + [OLD + 1], typical(draw, 200))
    assert made.head.logits(features).argmax(axis=1)[-1] == OLD + 1
    same = Subject(**{**vars(made), "active": made.head, "known_before": np.ones(11, bool)})
    assert [each.lost for each in measure(same, silent).by_label] == [0, 0]


def test_rows_are_found_by_their_labels() -> None:
    head = Head(np.arange(6, dtype=np.float32).reshape(3, 2), np.array([1, 2, 3], np.float32))
    found = aligned(head, ["a", "b", "c"], ["a", "c", "d", "b"])
    assert found.biases.tolist() == [1, 3, NEVER, 2]
    assert found.weights.tolist() == [[0, 1], [4, 5], [0, 0], [2, 3]]
    merged = aligned(head, ["a", "x", "x"], ["a", "x", "x", "y"])
    assert merged.biases.tolist() == [1, 2, 3, NEVER]


def test_a_new_class_beside_a_learned_one_that_keeps_its_cases_is_no_look_alike(
    draw: np.random.Generator, base: Head
) -> None:
    learned, known = of_kind(draw, 0, 10), typical(draw, 200)
    active = subject(base, learned, [OLD] * 10, known)
    beside = of_kind(draw, 0, 10)
    beside[:, :2] += SHIFT
    found = subject(base, np.concatenate([learned, beside]), [OLD] * 10 + [OLD + 1] * 10, known)
    found = Subject(**{**vars(found), "active": active.head, "known_before": np.arange(20) < 10})
    assert (softmax(active.head.logits(beside))[:, OLD] >= 0.5).sum() >= 5
    assert measure(found, silent).look_alikes == []


def test_cases_of_many_old_classes_under_one_new_name_are_counted(draw: np.random.Generator, base: Head) -> None:
    images = np.concatenate([of_old_class(draw, base, number, 1) for number in range(OLD)])
    found = measure(subject(base, images, [OLD] * OLD, typical(draw, 200)), silent)
    assert found.look_alikes == []
    assert total(found.sure_otherwise) >= 6
    named = [base.logits(images[at : at + 1])[0, :OLD].argmax() for at in range(OLD)]
    right = measure(subject(base, images, [int(each) for each in named], typical(draw, 200)), silent)
    assert right.sure_otherwise == ()


def test_reviewed_cases_of_the_class_that_a_new_one_resembles_clear_its_unreported_images(
    draw: np.random.Generator, base: Head
) -> None:
    def beside(count: int) -> Floats:
        """Images of a new kind that the base is sure to show an old class."""
        features = of_old_class(draw, base, 7, count)
        features[:, 0] += SHIFT / 2
        return features

    learned, stored, known = beside(10), beside(40), typical(draw, 200)
    alone = measure(subject(base, learned, [OLD] * 10, known, stored), silent)
    assert [each.other for each in alone.look_alikes] == ["old 7"]
    assert alone.changes[-1].sure >= 5
    assert dict(alone.changes[-1].taken).keys() == {"old 7"}
    assert total(alone.sure_otherwise) >= 5
    cases = np.concatenate([learned, of_old_class(draw, base, 7, 8)])
    both = measure(subject(base, cases, [OLD] * 10 + [7] * 8, known, stored), silent)
    assert (both.look_alikes, both.sure_otherwise) == ([], ())
    assert both.changes[-1].sure == 0
    assert both.changes[-1].neutral >= 5
