"""A pinwheel on its stick: the old class that resembles the pie chart."""

import math
from random import Random

from PIL import Image

from sightline_testing.drawn.sheet import Sheet, hsv


def pinwheel(number: Random) -> Image.Image:
    """Folded vanes in bright colours around a pin, on a stick, before sky, grass or a plain wall."""
    sheet = Sheet(number, aspect=(0.65, 1.3), dark=0.0)
    _background(sheet)
    middle = (sheet.width * number.uniform(0.4, 0.6), sheet.height * number.uniform(0.32, 0.48))
    radius = min(sheet.width, sheet.height) * number.uniform(0.26, 0.38)
    stick = sheet.width * number.uniform(-0.06, 0.06)
    sheet.line([middle, (middle[0] + stick, sheet.height)], radius * number.uniform(0.05, 0.1), hsv(0.09, 0.5, 0.75))
    vanes, start = number.choice((4, 4, 5, 6, 8)), number.uniform(0, math.tau)
    colours = sheet.palette(number.choice((2, 4, vanes)))
    for vane in range(vanes):
        _vane(sheet, middle, radius, (start + math.tau * vane / vanes, math.tau / vanes), colours[vane % len(colours)])
    sheet.draw.circle(middle, radius * 0.09, fill=hsv(number.random(), 0.4, 0.9), outline=sheet.ink, width=sheet.pen)
    return sheet.finished()


def _background(sheet: Sheet) -> None:
    above = hsv(sheet.number.uniform(0.52, 0.62), sheet.number.uniform(0.15, 0.6), 0.95)
    below = hsv(sheet.number.uniform(0.22, 0.36), sheet.number.uniform(0.3, 0.7), 0.7)
    horizon = sheet.height * sheet.number.uniform(0.5, 1.3)
    sheet.draw.rectangle((0, 0, sheet.width, sheet.height), fill=above)
    for _ in range(sheet.number.randint(0, 5)):
        x, y = sheet.number.uniform(0, sheet.width), sheet.number.uniform(0, sheet.height * 0.5)
        size = sheet.width * sheet.number.uniform(0.05, 0.15)
        sheet.draw.ellipse((x - size, y - size / 2, x + size, y + size / 2), fill=hsv(0.6, 0.05, 0.99))
    sheet.draw.rectangle((0, min(horizon, sheet.height), sheet.width, sheet.height), fill=below)


def _vane(
    sheet: Sheet, middle: tuple[float, float], radius: float, turn: tuple[float, float], colour: tuple[int, int, int]
) -> None:
    def at(distance: float, angle: float) -> tuple[float, float]:
        return middle[0] + radius * distance * math.cos(angle), middle[1] + radius * distance * math.sin(angle)

    angle, width = turn
    inside = (colour[0] * 3 // 5, colour[1] * 3 // 5, colour[2] * 3 // 5)
    bow = [at(0.62 + 0.38 * step / 6, angle + width * (0.95 - 0.95 * step / 6) * 0.9) for step in range(7)]
    sheet.draw.polygon([middle, *bow, at(1.0, angle)], fill=colour)
    sheet.draw.polygon([middle, at(0.62, angle + width * 0.86), at(0.45, angle + width * 0.3)], fill=inside)
