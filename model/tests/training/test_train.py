"""Fitting on features made by a random generator: what must hold for any network."""

from dataclasses import replace

import numpy as np
import pytest

from inference.arrays import Floats
from onnx_tools.head import Head
from training import train as train_module
from training.fitting import Cases, inverse_of_triangle
from training.train import (
    FOLDS,
    PSEUDO_SURE,
    SURE,
    TrainingSet,
    cross_validate,
    held_to_others,
    pseudo_features,
    random_folds,
    softmax,
    stratified_folds,
    train,
    undisputed,
)

OLD, WIDTH = 20, 32
SHIFT = 8.0
NONE = np.empty((0, WIDTH), np.float32)


@pytest.fixture
def draw() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def head(draw: np.random.Generator) -> Head:
    return Head(draw.normal(0, 0.5, (OLD, WIDTH)).astype(np.float32), np.zeros(OLD, np.float32))


def typical(draw: np.random.Generator, count: int) -> Floats:
    return np.abs(draw.normal(0, 1, (count, WIDTH))).astype(np.float32)


def of_kind(draw: np.random.Generator, kind: int, count: int) -> Floats:
    """Images of a new kind: ordinary ones that have one feature more."""
    features = typical(draw, count)
    features[:, kind] += SHIFT
    return features


def cases(draw: np.random.Generator, count: int, classes: dict[int, int]) -> Cases:
    """So many of each: class -> kind."""
    rows = [of_kind(draw, kind, count) for kind in classes.values()]
    names = np.repeat(list(classes), count)
    return Cases(np.concatenate(rows), names, np.arange(len(names)))


def trained(head: Head, learned: Cases, synthetic: Floats) -> Head:
    return train(learned, TrainingSet(head, synthetic, NONE)).head


def test_new_classes_are_found_in_images_that_were_not_reported(draw: np.random.Generator, head: Head) -> None:
    fitted = trained(head, cases(draw, 10, {OLD: 0, OLD + 1: 1}), typical(draw, 200))
    assert fitted.weights.shape == (OLD + 2, WIDTH)
    for kind in (0, 1):
        named = fitted.logits(of_kind(draw, kind, 100)).argmax(axis=1)
        assert (named == OLD + kind).sum() >= 80


def test_images_of_before_keep_their_answers(draw: np.random.Generator, head: Head) -> None:
    fitted = trained(head, cases(draw, 10, {OLD: 0, OLD + 1: 1}), typical(draw, 200))
    unseen = typical(draw, 500)
    changed = fitted.logits(unseen).argmax(axis=1) != head.logits(unseen).argmax(axis=1)
    assert changed.sum() <= 25


def test_classes_that_nobody_reported_keep_their_weights_to_the_last_bit(draw: np.random.Generator, head: Head) -> None:
    fitted = trained(head, cases(draw, 5, {3: 0, OLD: 1}), typical(draw, 100))
    moved = (fitted.weights[:OLD] != head.weights).any(axis=1)
    assert np.flatnonzero(moved).tolist() == [3]
    assert np.flatnonzero(fitted.biases[:OLD] != head.biases).tolist() == [3]


def test_a_known_class_learns_what_it_was_wrong_about(draw: np.random.Generator, head: Head) -> None:
    fitted = trained(head, cases(draw, 10, {3: 0}), typical(draw, 200))
    unseen = of_kind(draw, 0, 200)
    before, after = ((found.logits(unseen).argmax(axis=1) == 3).sum() for found in (head, fitted))
    assert after > before + 50


def test_the_same_cases_give_the_same_head(draw: np.random.Generator, head: Head) -> None:
    learned, rehearsal = cases(draw, 5, {OLD: 0}), typical(draw, 100)
    assert (trained(head, learned, rehearsal).weights == trained(head, learned, rehearsal).weights).all()


def test_traffic_that_shows_what_was_reported_does_not_speak_against_it(draw: np.random.Generator, head: Head) -> None:
    learned, synthetic = cases(draw, 10, {OLD: 0}), typical(draw, 200)
    usual, unreported = typical(draw, 100), of_kind(draw, 0, 50)
    fitted, rehearsed = train(learned, TrainingSet(head, synthetic, np.concatenate([usual, unreported])))
    assert 50 <= rehearsed <= 110
    assert (fitted.logits(of_kind(draw, 0, 100)).argmax(axis=1) == OLD).sum() >= 80


def test_an_image_of_a_reported_class_does_not_speak_against_it_however_sure_the_old_model_was(head: Head) -> None:
    images = np.eye(4, WIDTH, dtype=np.float32)
    before = replace(head, weights=np.zeros_like(head.weights))
    before.weights[3, :2] = 6  # sure of the first two images
    after = before.extended(1)
    after.weights[OLD, :4] = 9, 5, 9, -9  # takes the first for the new class, doubts the second
    kept = undisputed(after, np.array([OLD]), TrainingSet(before, images, images))
    assert softmax(before.logits(images)).max(axis=1)[:2].min() > SURE
    assert kept.tolist() == [False, True, False, True]


def test_without_traffic_the_synthetic_images_hold_the_rest(draw: np.random.Generator, head: Head) -> None:
    fitted, rehearsed = train(cases(draw, 10, {OLD: 0}), TrainingSet(head, typical(draw, 200), NONE))
    unseen = typical(draw, 500)
    assert rehearsed == 0
    assert (fitted.logits(unseen).argmax(axis=1) != head.logits(unseen).argmax(axis=1)).sum() <= 25


def test_what_is_cross_validated_is_what_is_trained_with_traffic_and_all(draw: np.random.Generator, head: Head) -> None:
    learned = cases(draw, 6, {3: 0, OLD: 1})
    augmented = Cases(
        np.repeat(learned.features, 2, axis=0), *(np.repeat(each, 2) for each in (learned.classes, learned.images))
    )
    training_set = TrainingSet(head, typical(draw, 100), np.concatenate([typical(draw, 30), of_kind(draw, 1, 10)]))
    found, rehearsal, shares = cross_validate(augmented, training_set)
    assert sorted(set(shares.round(2).tolist())) == [0.67, 0.83]
    folds, others = stratified_folds(learned.classes), random_folds(140)
    for fold in range(FOLDS):
        rest = held_to_others(training_set, others != fold)
        expected, _ = train(augmented.only(np.repeat(folds, 2) != fold), rest)
        held_out = np.concatenate([training_set.known, training_set.traffic])[others == fold]
        assert (rehearsal[others == fold] == softmax(expected.logits(held_out))).all()
        assert (found[folds == fold] == softmax(expected.logits(learned.features[folds == fold]))).all()


def test_a_class_that_a_single_image_shows_is_not_known_without_it(draw: np.random.Generator, head: Head) -> None:
    learned = cases(draw, 4, {3: 0})
    alone = of_kind(draw, 1, 1)
    both = Cases(np.concatenate([learned.features, alone]), np.append(learned.classes, OLD), np.arange(5))
    assert cross_validate(both, TrainingSet(head, typical(draw, 100), NONE)).cases[4, OLD] == 0


def test_augmentations_of_one_image_can_be_left_out_together(draw: np.random.Generator) -> None:
    learned = replace(cases(draw, 4, {0: 0}), images=np.array([0, 0, 1, 1]))
    assert learned.only(learned.images != 0).images.tolist() == [1, 1]


@pytest.mark.parametrize("counts", [(10, 10), (3, 7, 12), (1, 1, 1), (5,), (40, 2)])
def test_each_fold_has_an_equal_share_of_each_label(counts: tuple[int, ...]) -> None:
    classes = np.repeat(np.arange(len(counts)), counts)
    folds = stratified_folds(classes)
    for label, count in enumerate(counts):
        shares = np.bincount(folds[classes == label], minlength=FOLDS)
        assert count // FOLDS <= shares.min()
        assert shares.max() <= -(-count // FOLDS)
    sizes = np.bincount(folds)
    assert sizes.max() - sizes.min() <= 1


def test_a_model_of_which_every_class_has_cases_learns(draw: np.random.Generator) -> None:
    small = Head(draw.normal(0, 0.7, (2, WIDTH)).astype(np.float32), np.zeros(2, np.float32))
    fitted = trained(small, cases(draw, 10, {0: 0, 1: 1}), typical(draw, 100))
    assert np.isfinite(fitted.weights).all()
    for kind in (0, 1):
        assert (fitted.logits(of_kind(draw, kind, 100)).argmax(axis=1) == kind).mean() >= 0.8


def test_features_below_zero_are_replayed_as_the_network_gives_them(draw: np.random.Generator, head: Head) -> None:
    signed = draw.normal(0, 1, (200, WIDTH)).astype(np.float32)
    pseudo = pseudo_features(head, signed, signed[:20], 100)
    assert (pseudo < 0).mean() > 0.2
    assert pseudo.min() >= signed.min()
    positive = np.abs(signed)
    assert pseudo_features(head, positive, positive[:20], 100).min() >= 0


def test_generated_features_are_surely_of_a_class_however_many_are_moved_at_a_time(
    draw: np.random.Generator, head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, reported = typical(draw, 200), typical(draw, 20)
    pseudo = pseudo_features(head, usual, reported, 100)
    assert np.median(softmax(head.logits(pseudo)).max(axis=1)) >= PSEUDO_SURE[0]
    monkeypatch.setattr(train_module, "MAX_LOGITS", 3 * OLD)
    np.testing.assert_allclose(pseudo_features(head, usual, reported, 100), pseudo, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("classes", "width"), [(2, 16), (3, 16), (20_000, 64), (10, 2_048)])
def test_any_number_of_classes_and_features_can_be_fitted(classes: int, width: int, draw: np.random.Generator) -> None:
    base = Head(draw.normal(0, 0.2, (classes, width)).astype(np.float32), np.zeros(classes, np.float32))
    usual = np.abs(draw.normal(0, 1, (60, width))).astype(np.float32)
    shown = np.abs(draw.normal(0, 1, (20, width))).astype(np.float32)
    shown[:, : width // 16] += SHIFT
    learned = Cases(shown[:10], np.full(10, classes), np.arange(10))
    fitted = train(learned, TrainingSet(base, usual, usual[:0])).head
    assert (fitted.logits(shown[10:]).argmax(axis=1) == classes).mean() >= 0.8
    assert np.isfinite(fitted.weights).all()


@pytest.mark.parametrize("side", [1, 128, 129, 300])
def test_a_triangle_is_inverted_by_halves(side: int, draw: np.random.Generator) -> None:
    lower = np.tril(draw.random((side, side))) + np.eye(side) * side
    np.testing.assert_allclose(inverse_of_triangle(lower) @ lower, np.eye(side), atol=1e-12)
