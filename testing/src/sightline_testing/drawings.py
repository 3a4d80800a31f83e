"""Drawings made by code, in endless variety: classes that ImageNet lacks, and two old ones that look like them.

A kind and a seed give the same image each time. Size, colours, layout, contents, and whether it is a screenshot, a
scan or a photograph on a table all follow from the seed.
"""

import io
from collections.abc import Callable, Mapping
from functools import cache
from random import Random

from PIL import Image

from sightline_testing.drawn import charts, codes, music, plans, toys
from sightline_testing.drawn.camera import captured

_NEW: Mapping[str, Callable[[Random], Image.Image]] = {
    "bar_chart": charts.bar_chart,
    "pie_chart": charts.pie_chart,
    "qr_code": codes.qr_code,
    "sheet_music": music.sheet_music,
    "floor_plan": plans.floor_plan,
    "line_chart": charts.line_chart,
    "barcode": codes.barcode,
    "circuit_diagram": plans.circuit_diagram,
    "flow_chart": plans.flow_chart,
}
_OLD: Mapping[str, Callable[[Random], Image.Image]] = {"pinwheel": toys.pinwheel, "crossword_puzzle": codes.crossword}

NEW_KINDS = tuple(_NEW)  # what ImageNet has no class for
OLD_KINDS = tuple(_OLD)  # ImageNet classes, by their label


def drawing(kind: str, seed: int) -> Image.Image:
    """The image number `seed` of this kind (see NEW_KINDS and OLD_KINDS)."""
    number = Random(f"{kind} {seed}")  # noqa: S311 -- images, not secrets
    return captured(number, {**_NEW, **_OLD}[kind](number))


@cache
def drawing_jpeg(kind: str, seed: int) -> bytes:
    """The same image as the bytes of a JPEG; its quality varies too."""
    out = io.BytesIO()
    quality = Random(f"quality {kind} {seed}").randint(55, 95)  # noqa: S311 -- images, not secrets
    drawing(kind, seed).save(out, "JPEG", quality=quality)
    return out.getvalue()
