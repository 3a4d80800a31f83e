import pytest

from evaluation.estimate import accuracy
from evaluation.statistics import wilson

RIGHTS = [True] * 30 + [False] * 10
LABELS = ["a", "b"] * 20


def test_answers_of_the_version_itself_are_counted() -> None:
    found = accuracy(RIGHTS, [1.0] * 40, LABELS)
    assert found.share == 0.75
    assert (found.low, found.high) == pytest.approx(wilson(30, 40))


def test_errors_of_versions_with_fewer_images_of_a_class_count_less_and_the_interval_is_wider() -> None:
    found, counted = (accuracy(RIGHTS, [share] * 40, LABELS) for share in (2 / 3, 1.0))
    assert 0.78 < found.share < 0.81
    assert found.low < found.share < found.high
    assert found.high - found.low > 1.5 * (counted.high - counted.low)


def test_the_more_of_the_images_are_of_one_class_the_less_they_show() -> None:
    few, many = (accuracy(RIGHTS, [0.8] * 40, [str(at % classes) for at in range(40)]) for classes in (2, 20))
    assert few.share == many.share
    assert few.low < many.low < many.high < few.high


def test_of_no_images_nothing_is_known() -> None:
    assert accuracy([], [], [])[1:] == (0, 1)
