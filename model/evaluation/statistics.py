"""Intervals of shares and exact tests, from counts alone."""

import math
from typing import NamedTuple

Z = 1.959964  # two-sided, 95 %


class Interval(NamedTuple):
    """Both ends of a 95 % interval, as shares."""

    low: float
    high: float


def wilson(count: float, total: float) -> Interval:
    """Return the interval of the share that `count` of `total` independent images estimate (Wilson 1927)."""
    if not total:
        return Interval(0.0, 1.0)
    share, scale = count / total, 1 + Z**2 / total
    centre = (share + Z**2 / (2 * total)) / scale
    reach = Z * math.sqrt(share * (1 - share) / total + Z**2 / (4 * total**2)) / scale
    return Interval(max(0.0, centre - reach), min(1.0, centre + reach))


def paired_difference(lost: int, gained: int, total: int) -> Interval:
    """Return the interval of the change of a share, of `total` pairs of which so many changed (Agresti, Min 2005)."""
    pairs = total + 2
    mean = (gained - lost) / pairs
    reach = Z * math.sqrt(max(0.0, (lost + gained + 1) / pairs - mean**2) / pairs)
    return Interval(max(-1.0, mean - reach), min(1.0, mean + reach))


def at_least(count: int, total: int, share: float) -> float:
    """Return the probability of `count` or more of `total` where each has this probability."""
    if count <= 0:
        return 1.0
    return min(1.0, sum(_binomial(each, total, share) for each in range(count, total + 1)))


def mcnemar(lost: int, gained: int) -> float:
    """Return the one-sided exact probability of so many losses or more where losses and gains are equally likely."""
    return at_least(lost, lost + gained, 0.5)


def _binomial(count: int, total: int, share: float) -> float:
    if share in (0.0, 1.0):
        return float(count == total * share)
    ways = math.lgamma(total + 1) - math.lgamma(count + 1) - math.lgamma(total - count + 1)
    return math.exp(ways + count * math.log(share) + (total - count) * math.log1p(-share))
