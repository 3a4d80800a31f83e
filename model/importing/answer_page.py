"""Answers and tables as lines for a terminal."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from inference.model import Predictions

BAR = 24
EIGHTHS = " ▏▎▍▌▋▊▉"
LONGEST_LABEL = 32


def answer(predictions: Predictions) -> Iterator[str]:
    """A line for each class: its share as a bar and in per cent."""
    width = min(LONGEST_LABEL, max(len(label) for label, _ in predictions))
    for label, score in predictions:
        yield f"  {label[:width]:{width}}  {bar(score):{BAR}}  {score:6.1%}"


def bar(share: float) -> str:
    """A share of 0 to 1 as blocks, exact to an eighth of one."""
    eighths = round(min(max(share, 0.0), 1.0) * BAR * 8)
    return ("█" * (eighths // 8) + EIGHTHS[eighths % 8]).rstrip()


def size(count: int) -> str:
    """So many bytes, in the unit that suits them."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


class Row(NamedTuple):
    """What is compared, before and after, and a remark."""

    what: str
    before: str
    after: str
    remark: str = ""


def table(heads: tuple[str, str], rows: Sequence[Row]) -> Iterator[str]:
    """The rows under two heads, the numbers under each other."""
    every = [Row("", *heads), *rows]
    widths = [max(len(row[at]) for row in every) for at in range(3)]
    for what, before, after, remark in every:
        yield f"  {what:{widths[0]}}  {before:>{widths[1]}}  {after:>{widths[2]}}  {remark}".rstrip()
