"""How a drawing reaches the service: as a screenshot, from a scanner, or photographed as it lies on a table."""

from random import Random
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from sightline_testing.drawn.sheet import grey, hsv

Pixels = npt.NDArray[np.uint8]
Numbers = npt.NDArray[Any]


def captured(number: Random, drawing: Image.Image) -> Image.Image:
    """The drawing as one of the three; a third each."""
    way = number.random()
    if way < 1 / 3:
        return drawing
    flat = np.asarray(drawing)
    if way < 2 / 3:
        turned = drawing.rotate(number.gauss(0, 2), Image.Resampling.BICUBIC, fillcolor=drawing.getpixel((1, 1)))
        return Image.fromarray(_exposed(number, np.asarray(turned), blur=0.6, noise=6.0))
    return Image.fromarray(_exposed(number, _on_table(number, flat), blur=1.2, noise=9.0))


def _on_table(number: Random, flat: Pixels) -> Pixels:
    height, width = flat.shape[:2]
    out_width, out_height = round(width * number.uniform(1.05, 1.3)), round(height * number.uniform(1.05, 1.3))
    left, top = (out_width - width) / 2, (out_height - height) / 2
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    shift = 0.07 * min(width, height)
    seen = np.array(
        [(x + left + number.uniform(-shift, shift), y + top + number.uniform(-shift, shift)) for x, y in corners],
        np.float32,
    )
    turn = cv2.getRotationMatrix2D((out_width / 2, out_height / 2), number.gauss(0, 6), 1.0)
    seen = (seen @ turn[:, :2].T + turn[:, 2]).astype(np.float32)
    view = cv2.getPerspectiveTransform(corners, seen)
    table = _table(number, out_width, out_height)
    cv2.warpPerspective(
        flat, view, (out_width, out_height), dst=table, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_TRANSPARENT
    )
    return table


def _table(number: Random, width: int, height: int) -> Pixels:
    """A table top: a colour with grain along it."""
    colour = hsv(number.uniform(0.03, 0.13), number.uniform(0.2, 0.6), number.uniform(0.25, 0.85))
    if number.random() < 0.4:
        colour = grey(number.uniform(0.1, 0.8))
    draw = np.random.default_rng(number.getrandbits(32))
    coarse: Numbers = draw.normal(0, number.uniform(2, 18), (height // 8 + 1, 6)).astype(np.float32)
    if number.random() < 0.5:
        coarse = coarse.T.copy()
    grain: Numbers = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return _pixels(np.array(colour, np.float32) + grain[:, :, None])


def _exposed(number: Random, pixels: Pixels, *, blur: float, noise: float) -> Pixels:
    """Light from one side, a colour cast, a lens out of focus and a noisy sensor."""
    height, width = pixels.shape[:2]
    across = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :] * number.uniform(-0.35, 0.35)
    down = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None] * number.uniform(-0.35, 0.35)
    cast = np.array([number.uniform(0.9, 1.0) for _ in range(3)], np.float32)
    lit: Numbers = pixels * ((1 + across + down) * number.uniform(0.72, 1.08))[:, :, None] * cast
    lit = cv2.GaussianBlur(lit, (0, 0), 0.2 + number.uniform(0, blur))
    draw = np.random.default_rng(number.getrandbits(32))
    return _pixels(lit + draw.normal(0, number.uniform(0, noise), pixels.shape))


def _pixels(values: Numbers) -> Pixels:
    return np.clip(values, 0, 255).astype(np.uint8)
