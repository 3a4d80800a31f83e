"""Weights by name."""

import pytest

from stress_test.weights import choose, parse

KNOWN = ("index", "predict")


def test_a_name_that_is_left_out_is_never_drawn() -> None:
    weights = parse("predict=3", KNOWN)
    assert weights == {"index": 0, "predict": 3}
    assert {choose(weights) for _ in range(50)} == {"predict"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("page=1", "'page' in 'page=1' is unknown"),
        ("index", "has no number"),
        ("index=0", "above 0"),
        ("index=-1", "below"),
    ],
)
def test_what_is_no_weight_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(text, KNOWN)
