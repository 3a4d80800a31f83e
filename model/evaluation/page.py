"""A comparison of two versions as one HTML file that needs nothing else: pictures and plots are in it."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

import cv2
import numpy as np

from evaluation import plots as evaluation_plots
from evaluation.comparison import Comparison, Figures, Pair
from inference.decode import View, decode
from inference.errors import ImageError
from inference.model import Predictions
from inference.preprocessing import upright

SHOWN_PICTURES = 24
SHOWN_CLASSES = 20
THUMBNAIL = 128
QUALITY = 80

STYLE = """
:root{color-scheme:light dark;--ink:#1a2027;--paper:#fff;--soft:#5b6670;--line:#d5dbe1;--card:#f5f7f9;
--first:#8a94a0;--second:#0b6bcb}
@media(prefers-color-scheme:dark){:root{--ink:#e8ecf0;--paper:#14181c;--soft:#a3adb8;--line:#333b44;--card:#1d2329;
--first:#8f9aa6;--second:#5aa9f5}}
body{margin:0 auto;padding:1.5rem 1rem 4rem;max-width:62rem;font:16px/1.5 system-ui,sans-serif;color:var(--ink);
background:var(--paper)}
h1{font-size:1.6rem;margin:0}h2{margin:2.5rem 0 .2rem}h3{font-size:1rem;margin:1.5rem 0 .5rem}
p{margin:.2rem 0 1rem;color:var(--soft)}code{overflow-wrap:anywhere}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
td,th{padding:.3rem .8rem .3rem 0;text-align:right;border-bottom:1px solid var(--line)}
td:first-child,th:first-child{text-align:left;font-weight:400}
.key::before{content:"";display:inline-block;width:.8em;height:.8em;margin-right:.4em;border-radius:2px}
.key.a::before{background:var(--first)}.key.b::before{background:var(--second)}
.plots{display:flex;flex-wrap:wrap;gap:1.5rem;align-items:flex-start}
figure{margin:0;max-width:100%}figcaption{color:var(--soft);font-size:.85rem;max-width:17rem}
svg{max-width:100%;height:auto}svg.square{width:17rem}svg.wide{width:27rem}
svg text{font-size:11px;fill:var(--ink)}svg text.small{fill:var(--soft)}
.axis{fill:none;stroke:var(--soft)}.grid{fill:none;stroke:var(--line);stroke-dasharray:4}
.first{fill:var(--first)}.second{fill:var(--second)}.line{fill:none;stroke-width:1.5}
.line.first{stroke:var(--first)}.line.second{stroke:var(--second)}
ul{list-style:none;margin:0;padding:0;display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.8rem}
li{background:var(--card);border-radius:8px;overflow:hidden;font-size:.82rem;overflow-wrap:anywhere}
li img{display:block;width:100%;aspect-ratio:1;object-fit:cover}li div{padding:.4rem .6rem .6rem}
li strong{display:block}
"""


def page(names: tuple[str, str], comparisons: Sequence[Comparison]) -> str:
    """The whole file."""
    made_at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    sections = "".join(_section(comparison) for comparison in comparisons)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(names[1])} beside {escape(names[0])}</title><style>{STYLE}</style>"
        f"<h1>Two versions side by side</h1><p>{made_at}</p>"
        f'<div><span class="key a">A: <code>{escape(names[0])}</code></span></div>'
        f'<div><span class="key b">B: <code>{escape(names[1])}</code></span></div>{sections}</html>\n'
    )


def _section(comparison: Comparison) -> str:
    count = len(comparison.pairs)
    head = f"<h2>{escape(comparison.title)}</h2><p>{count}: {escape(comparison.remark)}</p>"
    alike = f"{comparison.agreeing / count:.1%} named alike by both."
    if not comparison.labelled:
        return f"{head}<div>{alike}</div>{_pictures('Named differently', comparison.changed())}"
    figures = comparison.figures()
    shown = [row for row in comparison.classes() if row.first != row.second][:SHOWN_CLASSES]
    classes = (
        f"<figure>{evaluation_plots.by_class(shown)}<figcaption>Right answers of each class that changed</figcaption>"
        "</figure>" if shown else ""
    )  # fmt: skip
    plots = (
        f'<div class="plots"><figure>{evaluation_plots.reliability(figures[0].bins, figures[1].bins)}'
        "<figcaption>Right answers by score: on the dashed line, scores are what they say</figcaption></figure>"
        f"{classes}</div>"
    )
    return (
        f"{head}{_table(figures, count)}<p>{alike}</p>{plots}"
        f"{_pictures('Worse', comparison.worse())}{_pictures('Better', comparison.better())}"
    )


def _table(figures: tuple[Figures, Figures], count: int) -> str:
    first, second = figures
    rows = (
        ("right", f"{first.right / count:.1%}", f"{second.right / count:.1%}"),
        ("among the first five", f"{first.among_five / count:.1%}", f"{second.among_five / count:.1%}"),
        ("error of the scores (ECE)", f"{first.calibration_error:.3f}", f"{second.calibration_error:.3f}"),
    )
    body = "".join(f"<tr><th>{name}</th><td>{one}</td><td>{other}</td></tr>" for name, one, other in rows)
    return f'<table><tr><th></th><td class="key a">A</td><td class="key b">B</td></tr>{body}</table>'


def _pictures(title: str, pairs: Sequence[Pair]) -> str:
    if not pairs:
        return ""
    of = f", {SHOWN_PICTURES} of them" if len(pairs) > SHOWN_PICTURES else ""
    items = "".join(_picture(pair) for pair in pairs[:SHOWN_PICTURES])
    return f"<h3>{title}: {len(pairs)}{of}</h3><ul>{items}</ul>"


def _picture(pair: Pair) -> str:
    label = f"<strong>{escape(pair.label)}</strong>" if pair.label else ""
    return f"<li>{_thumbnail(pair)}<div>{label}A: {_said(pair.first)}<br>B: {_said(pair.second)}</div></li>"


def _said(predictions: Predictions) -> str:
    label, score = predictions[0]
    return f"{escape(label)} {score:.0%}"


def _thumbnail(pair: Pair) -> str:
    try:
        picture = decode(pair.path.read_bytes(), View(THUMBNAIL, THUMBNAIL, 1.0))
        pixels = upright(picture.pixels, picture.orientation)
    except (ImageError, OSError):
        return ""
    small = cv2.resize(pixels, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    turned = cv2.cvtColor(np.asarray(small), cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", turned, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    content = base64.b64encode(encoded.tobytes()).decode("ascii")
    return f'<img alt="{escape(pair.label)}" src="data:image/jpeg;base64,{content}">'
