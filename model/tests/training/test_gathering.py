"""Which of the candidates the rehearsal set takes."""

import pytest

from training.gathering import covering


@pytest.mark.parametrize(
    ("classes", "most", "chosen"),
    [
        ([7, 7, 7, 3, 5], 3, [0, 3, 4]),  # one of each class first
        ([7, 7, 7, 3, 5], 4, [0, 1, 3, 4]),
        ([1, 2], 5, [0, 1]),
        ([], 5, []),
        ([4, 4, 4], 0, []),
    ],
)
def test_the_rehearsal_set_covers_classes_before_it_repeats_one(
    classes: list[int], most: int, chosen: list[int]
) -> None:
    assert covering(classes, most) == chosen
