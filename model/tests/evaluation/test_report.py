from pathlib import Path

import pytest

from evaluation import report
from evaluation.comparison import Comparison, Pair

NAMES = "m/1", "m/2"


def pairs(count: int, label: str, first: str, second: str) -> list[Pair]:
    return [Pair(Path("gone.jpg"), label, ((first, 0.9),), ((second, 0.8),)) for _ in range(count)]


@pytest.fixture
def comparisons() -> list[Comparison]:
    labelled = [*pairs(12, "<a>", "<a>", "b"), *pairs(28, "<a>", "b", "<a>")]
    return [
        Comparison("Labelled", "some", labelled, ["Most errors are of dark images."]),
        Comparison("Unlabelled", "more", [*pairs(9, "", "x", "x"), *pairs(1, "", "x", "y")]),
    ]


def test_each_share_has_its_interval_and_the_versions_are_compared_in_pairs(comparisons: list[Comparison]) -> None:
    text, page = report.table(NAMES, comparisons), report.page(NAMES, comparisons)
    for expected in (
        "30.0% (18.1% to 45.4%)",
        "70.0% (54.6% to 81.9%)",
        "90.0% (59.6% to 98.2%)",
        "top-1 of B minus A: +",
        "p = 0.017",
        "Most errors are of dark images.",
    ):
        assert expected in text
        assert expected in page
    assert "confused by B: <a> with b, 12" in text
    assert "Confused by B: &lt;a&gt; with b: 12" in page
