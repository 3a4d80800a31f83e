import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inference.model import top_k


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=50, unique=True), st.integers(1, 60))
def test_the_best_come_first(numbers: list[int], count: int) -> None:
    names = [f"label {number}" for number in numbers]
    found = top_k(np.array(numbers, np.float32), names, count)
    expected = sorted(numbers, reverse=True)[:count]
    assert [name for name, _ in found] == [f"label {number}" for number in expected]
    assert [score for _, score in found] == [float(number) for number in expected]
