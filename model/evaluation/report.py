"""A comparison of two versions as lines for a terminal, and as one HTML file that holds its images and plots."""

import base64
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

import cv2
import numpy as np

from evaluation.comparison import Bin, ClassFigures, Comparison, Figures, Pair
from evaluation.estimate import Estimate
from evaluation.statistics import mcnemar, wilson
from inference.decode import View, decode
from inference.errors import ImageError
from inference.model import Predictions
from inference.preprocessing import upright

TABLE_IMAGES, TABLE_CLASSES, TABLE_CONFUSIONS = 5, 10, 5
PAGE_IMAGES, PAGE_CLASSES = 24, 20
THUMBNAIL = 128
QUALITY = 80
SIDE, MARGIN, FAR_MARGIN = 250, 34, 20
BAR, GAP, LABEL_WIDTH, BAR_WIDTH, COUNTS_WIDTH = 9, 10, 150, 140, 80
LARGEST_DOT, SMALLEST_DOT = 9.0, 2.5

STYLE = Path(__file__).with_name("report.css")


def table(names: tuple[str, str], comparisons: Sequence[Comparison]) -> str:
    """Return the text for a terminal."""
    lines = [f"A: {names[0]}", f"B: {names[1]}", ""]
    for comparison in comparisons:
        lines += [f"{comparison.title} ({len(comparison.pairs)}): {comparison.remark}", *_lines(comparison), ""]
    return "\n".join(lines)


def _lines(comparison: Comparison) -> Iterator[str]:
    count = len(comparison.pairs)
    yield f"  agreement                  {_share(comparison.agreeing, count)}"
    yield from (f"  {note}" for note in comparison.notes)
    if not comparison.labelled:
        for pair in comparison.changed()[:TABLE_IMAGES]:
            yield f"    {pair.path.name}: {pair.first[0][0]} -> {pair.second[0][0]}"
        return
    first, second = comparison.figures()
    yield f"                             {'A':23}  B"
    for name, one, other in _rows(first, second):
        yield f"  {name:26} {one:23}  {other}"
    yield f"  better: {len(comparison.better())}, worse: {len(comparison.worse())}; {_difference(comparison)}"
    for row in [row for row in comparison.classes() if row.first != row.second][:TABLE_CLASSES]:
        interval = _interval(row.second, row.images)
        yield f"    {row.label[:30]:30} {row.first:4} -> {row.second:4} of {row.images} ({interval})"
    for label, answer, pairs in comparison.confusions()[:TABLE_CONFUSIONS]:
        yield f"    confused by B: {label} with {answer}, {len(pairs)}"
    for pair in comparison.worse()[:TABLE_IMAGES]:
        yield f"    worse: {pair.path.name}, {pair.label}: now {pair.second[0][0]}"


def _rows(first: Figures, second: Figures) -> Sequence[tuple[str, str, str]]:
    return (
        ("top-1", _estimate(first.top1), _estimate(second.top1)),
        ("top-5", _estimate(first.top5), _estimate(second.top5)),
        ("calibration error (ECE)", f"{first.calibration_error:7.3f}", f"{second.calibration_error:7.3f}"),
    )


def _estimate(found: Estimate) -> str:
    return f"{found.share:7.1%} ({found.low:.1%} to {found.high:.1%})"


def _share(right: int, count: int) -> str:
    return f"{right / count:7.1%} ({_interval(right, count)})"


def _interval(right: int, count: int) -> str:
    low, high = wilson(right, count)
    return f"{low:.1%} to {high:.1%}"


def _difference(comparison: Comparison) -> str:
    """Return the paired comparison as a sentence."""
    low, high = comparison.difference()
    worse, better = len(comparison.worse()), len(comparison.better())
    by_chance = min(1.0, 2 * mcnemar(max(worse, better), min(worse, better)))
    return f"top-1 of B minus A: {low:+.1%} to {high:+.1%} (95 % interval), by chance alone p = {by_chance:.2g}"


def page(names: tuple[str, str], comparisons: Sequence[Comparison]) -> str:
    """Return the HTML file."""
    made_at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    sections = "".join(_section(comparison) for comparison in comparisons)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(names[1])} compared with {escape(names[0])}</title><style>{STYLE.read_text()}</style>"
        f"<h1>Two versions side by side</h1><p>{made_at}</p>"
        f'<div><span class="key a">A: <code>{escape(names[0])}</code></span></div>'
        f'<div><span class="key b">B: <code>{escape(names[1])}</code></span></div>{sections}</html>\n'
    )


def _section(comparison: Comparison) -> str:
    count = len(comparison.pairs)
    head = f"<h2>{escape(comparison.title)}</h2><p>{count}: {escape(comparison.remark)}</p>"
    agreement = f"Agreement: {_share(comparison.agreeing, count).strip()}."
    notes = "".join(f"<p>{escape(note)}</p>" for note in comparison.notes)
    head += notes
    if not comparison.labelled:
        return f"{head}<div>{agreement}</div>{_images('Different top-1', comparison.changed())}"
    figures = comparison.figures()
    shown = [row for row in comparison.classes() if row.first != row.second][:PAGE_CLASSES]
    classes = (
        f"<figure>{_bars_by_class(shown)}<figcaption>Top-1 of each class that changed</figcaption>"
        "</figure>" if shown else ""
    )  # fmt: skip
    plots = (
        f'<div class="plots"><figure>{_reliability(figures[0].bins, figures[1].bins)}'
        "<figcaption>Top-1 accuracy by score: on the dashed line, scores are calibrated</figcaption></figure>"
        f"{classes}</div>"
    )
    return (
        f"{head}{_table(figures)}<p>{escape(_difference(comparison))}</p><p>{agreement}</p>{plots}"
        f"{_images('Worse', comparison.worse())}{_images('Better', comparison.better())}{_confusions(comparison)}"
    )


def _confusions(comparison: Comparison) -> str:
    """Return what the second version confuses most, with images."""
    return "".join(
        _images(f"Confused by B: {label} with {answer}", pairs)
        for label, answer, pairs in comparison.confusions()[:TABLE_CONFUSIONS]
    )


def _table(figures: tuple[Figures, Figures]) -> str:
    rows = _rows(*figures)
    body = "".join(f"<tr><th>{name}</th><td>{one}</td><td>{other}</td></tr>" for name, one, other in rows)
    return f'<table><tr><th></th><td class="key a">A</td><td class="key b">B</td></tr>{body}</table>'


def _images(title: str, pairs: Sequence[Pair]) -> str:
    if not pairs:
        return ""
    of = f", {PAGE_IMAGES} of them" if len(pairs) > PAGE_IMAGES else ""
    items = "".join(_image(pair) for pair in pairs[:PAGE_IMAGES])
    return f"<h3>{escape(title)}: {len(pairs)}{of}</h3><ul>{items}</ul>"


def _image(pair: Pair) -> str:
    label = f"<strong>{escape(pair.label)}</strong>" if pair.label else ""
    return f"<li>{_thumbnail(pair)}<div>{label}A: {_top1(pair.first)}<br>B: {_top1(pair.second)}</div></li>"


def _top1(predictions: Predictions) -> str:
    label, score = predictions[0]
    return f"{escape(label)} {score:.0%}"


def _thumbnail(pair: Pair) -> str:
    try:
        image = decode(pair.read(pair.path) or b"", View(THUMBNAIL, THUMBNAIL, 1.0))
        pixels = upright(image.pixels, image.orientation)
    except (ImageError, OSError):
        return ""
    small = cv2.resize(pixels, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    turned = cv2.cvtColor(np.asarray(small), cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", turned, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    content = base64.b64encode(encoded.tobytes()).decode("ascii")
    return f'<img alt="{escape(pair.label)}" src="data:image/jpeg;base64,{content}">'


def _reliability(first: Sequence[Bin], second: Sequence[Bin]) -> str:
    """Return the accuracy over the score as SVG: on the diagonal, scores are calibrated."""
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
    most = max((each.size for each in (*first, *second)), default=1) or 1
    dots = "".join(_dots(bins, name, most, low, scale) for bins, name in ((first, "first"), (second, "second")))
    return (
        f'<svg viewBox="0 0 {SIDE} {SIDE}" role="img" aria-label="Top-1 accuracy by score" class="square">'
        f'{axes}{ticks}{dots}<text x="{low + scale / 2}" y="{SIDE - 3}" text-anchor="middle">score</text></svg>'
    )


def _bars_by_class(rows: Sequence[ClassFigures]) -> str:
    """Return two bars for each label as SVG: of how many images it was the top-1."""
    step = 2 * BAR + GAP
    height = step * len(rows)
    bars = "".join(_bar_pair(row, at * step) for at, row in enumerate(rows))
    width = LABEL_WIDTH + BAR_WIDTH + COUNTS_WIDTH
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="Top-1 by class" class="wide">{bars}</svg>'


def _dots(bins: Sequence[Bin], name: str, most: int, low: float, scale: float) -> str:
    filled = [each for each in bins if each.size]
    places = [(low + each.mean_score * scale, SIDE - low - each.accuracy * scale) for each in filled]
    line = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    dots = "".join(
        f'<circle class="{name}" cx="{x:.1f}" cy="{y:.1f}" '
        f'r="{max(SMALLEST_DOT, LARGEST_DOT * (each.size / most) ** 0.5):.1f}">'
        f"<title>{each.size} predictions with score {each.mean_score:.0%}: {each.accuracy:.0%} right</title></circle>"
        for (x, y), each in zip(places, filled, strict=True)
    )
    return f'<path class="line {name}" d="M{line}"/>{dots}' if line else ""


def _bar_pair(row: ClassFigures, top: float) -> str:
    bars = "".join(
        f'<rect class="{name}" x="{LABEL_WIDTH}" y="{top + at * BAR}" '
        f'width="{max(1.0, BAR_WIDTH * right / row.images):.1f}" height="{BAR - 1}"/>'
        for at, (name, right) in enumerate((("first", row.first), ("second", row.second)))
    )
    counts = f"{row.first} → {row.second} of {row.images}"
    label = row.label if len(row.label) <= 26 else f"{row.label[:25]}…"
    return (
        f'<text x="{LABEL_WIDTH - 8}" y="{top + BAR + 4}" text-anchor="end">{escape(label)}</text>{bars}'
        f'<text x="{LABEL_WIDTH + BAR_WIDTH + 6}" y="{top + BAR + 4}" class="small">{counts}</text>'
    )
