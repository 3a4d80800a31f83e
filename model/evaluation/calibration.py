"""How far scores can be believed: of the answers given with 80 %, are 80 % right?"""

from collections.abc import Sequence
from typing import NamedTuple

BINS = 10


class Bin(NamedTuple):
    """Answers whose scores lie in one tenth of the range."""

    answers: int
    mean_score: float
    share_right: float


def bins(scores: Sequence[float], rights: Sequence[bool]) -> list[Bin]:
    """Ten bins of equal width over the scores."""
    found = []
    for number in range(BINS):
        within = [at for at, score in enumerate(scores) if min(int(score * BINS), BINS - 1) == number]
        count = len(within)
        mean = sum(scores[at] for at in within) / count if count else 0.0
        found.append(Bin(count, mean, sum(rights[at] for at in within) / count if count else 0.0))
    return found


def expected_error(found: Sequence[Bin]) -> float:
    """The mean distance between score and share of right answers, weighted by count (ECE); 0 is best."""
    total = sum(each.answers for each in found)
    return sum(each.answers * abs(each.mean_score - each.share_right) for each in found) / total if total else 0.0
