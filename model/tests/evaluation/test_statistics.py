import pytest

from evaluation.statistics import at_least, mcnemar, paired_difference, wilson


@pytest.mark.parametrize(
    ("count", "total", "low", "high"), [(0, 10, 0, 0.278), (10, 10, 0.722, 1), (15, 20, 0.531, 0.888), (0, 0, 0, 1)]
)
def test_the_interval_of_a_share_is_wilsons(count: int, total: int, low: float, high: float) -> None:
    assert wilson(count, total) == pytest.approx((low, high), abs=0.001)


def test_so_many_or_more_are_as_probable_as_the_binomial_distribution_says() -> None:
    assert at_least(0, 10, 0.01) == 1
    assert at_least(2, 20, 0.01) == pytest.approx(0.0169, abs=0.0001)
    assert at_least(3, 3, 0.5) == pytest.approx(0.125)
    assert (at_least(1, 5, 0.0), at_least(1, 5, 1.0)) == (0, 1)


def test_losses_beyond_gains_are_tested_exactly() -> None:
    assert mcnemar(0, 0) == 1
    assert mcnemar(5, 0) == pytest.approx(1 / 32)
    assert mcnemar(9, 3) == pytest.approx(0.073, abs=0.001)


def test_the_interval_of_a_change_holds_no_change_where_nothing_changed_and_excludes_it_where_much_did() -> None:
    unchanged, worse = paired_difference(0, 0, 100), paired_difference(30, 2, 100)
    assert unchanged.low < 0 < unchanged.high
    assert worse.high < 0
    assert worse == pytest.approx((-0.374, -0.175), abs=0.01)
