from pathlib import Path

import pytest

from evaluation.comparison import ClassFigures, Comparison, Pair, calibration_bins, expected_calibration_error


def predicted(label: str, score: float = 0.9) -> tuple[tuple[str, float], ...]:
    return ((label, score), ("other", 1 - score))


def pair(label: str, first: str, second: str) -> Pair:
    return Pair(Path(f"{label}.jpg"), label, predicted(first), predicted(second))


def test_what_got_better_and_worse_is_listed_by_image_and_by_class() -> None:
    pairs = [pair("a", "x", "a"), pair("a", "a", "a"), pair("b", "b", "x"), pair("c", "x", "x")]
    found = Comparison("", "", pairs)
    assert found.better() == [pairs[0]]
    assert found.worse() == [pairs[2]]
    assert found.classes() == [
        ClassFigures("a", 2, 1, 2),
        ClassFigures("b", 1, 1, 0),
        ClassFigures("c", 1, 0, 0),
    ]
    assert found.agreeing == 2
    first, second = found.figures()
    assert (first.top1.share, second.top1.share) == (0.5, 0.5)


def test_the_label_is_counted_among_the_top_five() -> None:
    first, _ = Comparison("", "", [pair("other", "x", "y"), pair("z", "x", "y")]).figures()
    assert (first.top1.share, first.top5.share) == (0, 0.5)


def test_images_that_nobody_labelled_have_only_an_agreement() -> None:
    found = Comparison("", "", [pair("", "x", "x"), pair("", "x", "y")])
    assert not found.labelled
    assert found.changed() == [found.pairs[1]]
    assert (found.better(), found.worse()) == ([], [])


def test_scores_that_equal_the_accuracy_have_no_calibration_error() -> None:
    found = calibration_bins([0.75, 0.75, 0.75, 0.75, 1.0], [True, True, True, False, True])
    assert [each.size for each in found] == [0] * 7 + [4, 0, 1]
    assert expected_calibration_error(found) == pytest.approx(0)
    assert expected_calibration_error(calibration_bins([0.95, 0.95], [True, False])) == pytest.approx(0.45)
    assert expected_calibration_error(calibration_bins([], [])) == 0


def test_the_difference_is_that_of_pairs_and_confusions_are_listed_with_their_images() -> None:
    lost, kept = [pair("a", "a", "b") for _ in range(8)], [pair("a", "a", "a") for _ in range(12)]
    found = Comparison("", "", [*lost, *kept, pair("c", "x", "y")])
    assert found.difference().high < 0
    assert found.confusions() == [("a", "b", lost), ("c", "y", [found.pairs[-1]])]
    assert Comparison("", "", kept).confusions() == []


def test_what_cross_validation_counts_too_little_is_added() -> None:
    held_out = [each._replace(shares=(1.0, 2 / 3)) for each in [pair("a", "x", "a")] * 12 + [pair("a", "x", "y")] * 3]
    found = Comparison("", "", held_out)
    first, second = found.figures()
    assert first.top1.share == 0
    assert 0.83 <= second.top1.share <= 0.84
    assert second.top1.low < 0.6
    assert found.difference().low > 0.48
    alone = [each._replace(shares=(1.0, 0.0)) for each in [pair("b", "x", "y")] * 5]
    assert Comparison("", "", [*held_out, *alone]).figures() == (first, second)
    assert Comparison("", "", alone).difference() == pytest.approx((-1, 1), abs=0.03)
