"""Heat maps: where the model looked for a class, as JSON and as a PNG to lay over the image.

Drawn here in plain Python: docs/decisions/0023-heat-maps.md says why.
"""

import math
import struct
import zlib
from collections.abc import Sequence
from itertools import pairwise

from flask import url_for

from openapi.schemas import Explanation
from predict.prediction import Prediction
from problems import Problem
from wire import ActivationMap

# The browser scales it to the size of the image, smoothly.
LONGEST_SIDE = 96
# The model may be another one soon.
CACHING = "private, max-age=60"
# Places that were never looked at, then shades from nothing to the most, as red, green, blue, opacity.
_UNSEEN = bytes((8, 20, 17, 110))
_STOPS = ((0.0, (255, 214, 92, 0)), (0.25, (255, 196, 61, 70)), (0.6, (245, 130, 32, 150)), (1.0, (222, 40, 28, 190)))
_SHADES = 256

# Which cells a pixel is made of, and how much of each.
Weights = tuple[tuple[int, float], ...]


def map_of(prediction: Prediction) -> ActivationMap:
    """Return where the model looked; raise Problem where the answer has no map."""
    if prediction.activation_map is None:
        raise Problem(422, "not_explainable", "The worker that answered has no heat maps: restart it.")
    return prediction.activation_map


def explanation(prediction: Prediction) -> Explanation:
    """Return the heat map of a prediction as a document; raise Problem where there is none."""
    found = map_of(prediction)
    return {
        "label": found.label,
        "rows": found.rows,
        "columns": found.columns,
        "values": list(found.values),
        "picture": list(found.picture),
        "view": list(found.view),
        "png": url_for("app_router.activation_map", filename=prediction.filename, label=found.label),
    }


def png(found: ActivationMap) -> bytes:
    """Return a map as a PNG of the image's proportions; the redder a place, the more it speaks for the class."""
    width, height = (max(1, round(side * LONGEST_SIDE / max(found.picture))) for side in found.picture)
    left, top, right, bottom = found.view
    across = _samples(width, found.picture[0], left, right, found.columns)
    down = _samples(height, found.picture[1], top, bottom, found.rows)
    most = max(*found.values, 1e-9)
    rows = [found.values[at : at + found.columns] for at in range(0, len(found.values), found.columns)]
    columns = list(zip(*([_blend(row, weights) for weights in across] for row in rows), strict=True))
    lines = [
        b"\0"
        + b"".join(
            _colour(_blend(column, vertical) / most) if horizontal and vertical else _UNSEEN
            for column, horizontal in zip(columns, across, strict=True)
        )
        for vertical in down
    ]
    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunks = _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(b"".join(lines))) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _samples(count: int, size: int, begin: int, end: int, cells: int) -> list[Weights]:
    """Return the weights of the cells for each pixel of a side; none outside the view."""
    found: list[Weights] = []
    for pixel in range(count):
        place = (pixel + 0.5) * size / count
        if not begin <= place <= end:
            found.append(())
            continue
        at = (place - begin) / (end - begin) * cells - 0.5
        first = math.floor(at)
        found.append(tuple((min(max(first + step, 0), cells - 1), _cubic(at - first - step)) for step in (-1, 0, 1, 2)))
    return found


def _cubic(distance: float) -> float:
    """Return the weight of a cell at a distance (a Catmull-Rom spline: smooth, and through every value)."""
    x = abs(distance)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def _blend(values: Sequence[float], weights: Weights) -> float:
    return sum(values[cell] * weight for cell, weight in weights)


def _colour(share: float) -> bytes:
    return _COLOURS[min(max(int(share * (_SHADES - 1)), 0), _SHADES - 1)]


def _between(share: float) -> bytes:
    for (low, dark), (high, bright) in pairwise(_STOPS):
        if share <= high:
            part = (share - low) / (high - low)
            return bytes(round(a + (b - a) * part) for a, b in zip(dark, bright, strict=True))
    return bytes(_STOPS[-1][1])


_COLOURS = tuple(_between(step / (_SHADES - 1)) for step in range(_SHADES))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
