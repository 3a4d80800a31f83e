import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import labels
from inference.errors import BundleError
from inference.scores import probabilities


def test_each_line_is_a_label() -> None:
    assert labels.parse("tench\ncarpenter's_kit\nπ\n".encode()) == ("tench", "carpenter's_kit", "π")


@pytest.mark.parametrize("content", [b"", b"\n", b"a\n\nb\n", b"a\nb\na\n", b"a\n  \n", b"\xff\xfe\n"])
def test_labels_that_cannot_be_told_apart_are_refused(content: bytes) -> None:
    with pytest.raises(BundleError):
        labels.parse(content)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=50, unique=True), st.integers(1, 60))
def test_the_best_come_first(numbers: list[int], count: int) -> None:
    names = [f"label {number}" for number in numbers]
    found = labels.best(np.array(numbers, np.float32), names, count)
    expected = sorted(numbers, reverse=True)[:count]
    assert [name for name, _ in found] == [f"label {number}" for number in expected]
    assert [score for _, score in found] == [float(number) for number in expected]


def test_logits_of_any_size_become_probabilities() -> None:
    scores = probabilities(np.array([[0, 0], [1_000, 0], [-1_000, -1_001]], np.float32), "logits")
    assert scores[0].tolist() == [0.5, 0.5]
    assert scores[1].tolist() == [1.0, 0.0]
    assert scores.sum(axis=1).tolist() == pytest.approx([1, 1, 1])


def test_probabilities_stay_as_they_are() -> None:
    given_scores = np.array([[0.25, 0.75]], np.float32)
    assert probabilities(given_scores, "probabilities") is given_scores
