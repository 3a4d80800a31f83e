"""The drawings of an evaluation's page, as SVG text; colours come from the page's own style."""

from collections.abc import Sequence
from html import escape

from evaluation.calibration import Bin
from evaluation.comparison import OfClass

SIDE, MARGIN, FAR_MARGIN = 250, 34, 20
BAR, GAP, LABEL_WIDTH, BAR_WIDTH, COUNTS_WIDTH = 9, 10, 150, 140, 80
LARGEST_DOT, SMALLEST_DOT = 9.0, 2.5


def reliability(first: Sequence[Bin], second: Sequence[Bin]) -> str:
    """Share of right answers over their score: on the diagonal, scores are what they say."""
    low, high = MARGIN, SIDE - FAR_MARGIN
    scale = high - low
    axes = (
        f'<path class="grid" d="M{low} {SIDE - low}L{high} {SIDE - high}"/>'
        f'<path class="axis" d="M{low} {SIDE - high}V{SIDE - low}H{high}"/>'
    )
    ticks = "".join(
        f'<text x="{low + share * scale}" y="{SIDE - low + 15}" text-anchor="middle">{share:.0%}</text>'
        f'<text x="{low - 5}" y="{SIDE - low - share * scale + 4}" text-anchor="end">{share:.0%}</text>'
        for share in (0, 0.5, 1)
    )
    most = max((each.answers for each in (*first, *second)), default=1) or 1
    dots = "".join(_dots(bins, name, most, low, scale) for bins, name in ((first, "first"), (second, "second")))
    return (
        f'<svg viewBox="0 0 {SIDE} {SIDE}" role="img" aria-label="Right answers by score" class="square">'
        f'{axes}{ticks}{dots}<text x="{low + scale / 2}" y="{SIDE - 3}" text-anchor="middle">score</text></svg>'
    )


def by_class(rows: Sequence[OfClass]) -> str:
    """Two bars for each label: how many were right."""
    step = 2 * BAR + GAP
    height = step * len(rows)
    bars = "".join(_bars(row, at * step) for at, row in enumerate(rows))
    width = LABEL_WIDTH + BAR_WIDTH + COUNTS_WIDTH
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="Right answers by class" class="wide">{bars}</svg>'
    )


def _dots(bins: Sequence[Bin], name: str, most: int, low: float, scale: float) -> str:
    filled = [each for each in bins if each.answers]
    places = [(low + each.mean_score * scale, SIDE - low - each.share_right * scale) for each in filled]
    line = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    dots = "".join(
        f'<circle class="{name}" cx="{x:.1f}" cy="{y:.1f}" '
        f'r="{max(SMALLEST_DOT, LARGEST_DOT * (each.answers / most) ** 0.5):.1f}">'
        f"<title>{each.answers} answers of {each.mean_score:.0%}: {each.share_right:.0%} right</title></circle>"
        for (x, y), each in zip(places, filled, strict=True)
    )
    return f'<path class="line {name}" d="M{line}"/>{dots}' if line else ""


def _bars(row: OfClass, top: float) -> str:
    bars = "".join(
        f'<rect class="{name}" x="{LABEL_WIDTH}" y="{top + at * BAR}" '
        f'width="{max(1.0, BAR_WIDTH * right / row.pictures):.1f}" height="{BAR - 1}"/>'
        for at, (name, right) in enumerate((("first", row.first), ("second", row.second)))
    )
    counts = f"{row.first} → {row.second} of {row.pictures}"
    label = row.label if len(row.label) <= 26 else f"{row.label[:25]}…"
    return (
        f'<text x="{LABEL_WIDTH - 8}" y="{top + BAR + 4}" text-anchor="end">{escape(label)}</text>{bars}'
        f'<text x="{LABEL_WIDTH + BAR_WIDTH + 6}" y="{top + BAR + 4}" class="small">{counts}</text>'
    )
