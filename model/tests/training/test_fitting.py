"""Fitting on features made by a random generator: what must hold for any network."""

from dataclasses import replace

import numpy as np
import pytest

from inference.arrays import Floats
from onnx_tools.head import Head
from training.fitting import Cases, fit
from training.improving import Material, improved

OLD, WIDTH = 20, 32
SHIFT = 8.0


@pytest.fixture
def draw() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def head(draw: np.random.Generator) -> Head:
    return Head(draw.normal(0, 0.7, (OLD, WIDTH)).astype(np.float32), np.zeros(OLD, np.float32))


def ordinary(draw: np.random.Generator, count: int) -> Floats:
    return np.abs(draw.normal(0, 1, (count, WIDTH))).astype(np.float32)


def of_kind(draw: np.random.Generator, kind: int, count: int) -> Floats:
    """Pictures of a new kind: ordinary ones that have one feature more."""
    features = ordinary(draw, count)
    features[:, kind] += SHIFT
    return features


def cases(draw: np.random.Generator, count: int, classes: dict[int, int]) -> Cases:
    """So many of each: class -> kind."""
    rows = [of_kind(draw, kind, count) for kind in classes.values()]
    names = np.repeat(list(classes), count)
    return Cases(np.concatenate(rows), names, np.arange(len(names)))


def test_new_classes_are_found_in_pictures_that_were_not_reported(draw: np.random.Generator, head: Head) -> None:
    fitted = fit(head, cases(draw, 10, {OLD: 0, OLD + 1: 1}), ordinary(draw, 200))
    assert fitted.weights.shape == (OLD + 2, WIDTH)
    for kind in (0, 1):
        named = fitted.logits(of_kind(draw, kind, 100)).argmax(axis=1)
        assert (named == OLD + kind).sum() >= 80


def test_pictures_of_before_keep_their_answers(draw: np.random.Generator, head: Head) -> None:
    fitted = fit(head, cases(draw, 10, {OLD: 0, OLD + 1: 1}), ordinary(draw, 200))
    unseen = ordinary(draw, 500)
    changed = fitted.logits(unseen).argmax(axis=1) != head.logits(unseen).argmax(axis=1)
    assert changed.sum() <= 25


def test_classes_that_nobody_reported_keep_their_weights_to_the_last_bit(draw: np.random.Generator, head: Head) -> None:
    fitted = fit(head, cases(draw, 5, {3: 0, OLD: 1}), ordinary(draw, 100))
    moved = (fitted.weights[:OLD] != head.weights).any(axis=1)
    assert np.flatnonzero(moved).tolist() == [3]
    assert np.flatnonzero(fitted.biases[:OLD] != head.biases).tolist() == [3]


def test_a_known_class_learns_what_it_was_wrong_about(draw: np.random.Generator, head: Head) -> None:
    fitted = fit(head, cases(draw, 10, {3: 0}), ordinary(draw, 200))
    unseen = of_kind(draw, 0, 200)
    before, after = ((found.logits(unseen).argmax(axis=1) == 3).sum() for found in (head, fitted))
    assert after > before + 50


def test_the_same_cases_give_the_same_head(draw: np.random.Generator, head: Head) -> None:
    learned, anchors = cases(draw, 5, {OLD: 0}), ordinary(draw, 100)
    assert (fit(head, learned, anchors).weights == fit(head, learned, anchors).weights).all()


def test_traffic_that_shows_what_was_reported_does_not_speak_against_it(draw: np.random.Generator, head: Head) -> None:
    learned, anchors = cases(draw, 10, {OLD: 0}), ordinary(draw, 200)
    usual, unreported = ordinary(draw, 100), of_kind(draw, 0, 50)
    fitted, held_to = improved(head, Material(learned, anchors, np.concatenate([usual, unreported])))
    assert 50 <= held_to <= 110
    assert (fitted.logits(of_kind(draw, 0, 100)).argmax(axis=1) == OLD).sum() >= 80


def test_without_traffic_the_pictures_made_by_code_hold_the_rest(draw: np.random.Generator, head: Head) -> None:
    material = Material(cases(draw, 10, {OLD: 0}), ordinary(draw, 200), np.empty((0, WIDTH), np.float32))
    fitted, held_to = improved(head, material)
    assert held_to == 0
    assert (fitted.weights == fit(head, material.cases, material.ordinary).weights).all()


def test_views_of_one_picture_can_be_left_out_together(draw: np.random.Generator) -> None:
    learned = replace(cases(draw, 4, {0: 0}), pictures=np.array([0, 0, 1, 1]))
    assert learned.only(learned.pictures != 0).pictures.tolist() == [1, 1]
