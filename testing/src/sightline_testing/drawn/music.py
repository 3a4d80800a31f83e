"""Sheet music."""

import math
from random import Random

from PIL import Image

from sightline_testing.drawn.sheet import Sheet

STAFF_LINES = 5


def sheet_music(number: Random) -> Image.Image:
    """A page or a strip of staves with a clef each, bars, single and beamed notes, slurs and a title."""
    sheet = Sheet(number, aspect=(0.65, 1.7), dark=0.04)
    sheet.pen = max(2, sheet.pen // 2)
    left, top, right, bottom = sheet.margins(0.04, 0.1)
    staves = number.randint(2, 8)
    if number.random() < 0.5:
        sheet.text((left + (right - left) * 0.3, top * 0.5), 3, 0.05)
        top += 0.08 * sheet.height
    pitch = (bottom - top) / staves
    gap = min(pitch / (STAFF_LINES + number.uniform(3, 6)), sheet.width / 30)
    density = number.uniform(2.2, 4.5)
    for stave in range(staves):
        _stave(sheet, (left, right), top + stave * pitch + pitch * 0.25, gap, density)
    return sheet.finished()


def _stave(sheet: Sheet, sides: tuple[float, float], top: float, gap: float, density: float) -> None:
    left, right = sides
    for line in range(STAFF_LINES):
        sheet.line([(left, top + line * gap), (right, top + line * gap)], gap * 0.12)
    _clef(sheet, left + gap * 1.2, top, gap)
    x = left + gap * sheet.number.uniform(3.5, 6)
    heads: list[tuple[float, float]] = []
    while x < right - gap:
        if sheet.number.random() < 0.16:
            sheet.line([(x, top), (x, top + 4 * gap)], gap * 0.15)
        else:
            heads.append((x, top + gap * sheet.number.randint(-2, 10) / 2))
        x += gap * density * sheet.number.uniform(0.8, 1.4)
    sheet.line([(right, top), (right, top + 4 * gap)], gap * 0.2)
    while heads:
        count = min(len(heads), sheet.number.choice((1, 1, 2, 3, 4)))
        _notes(sheet, heads[:count], top + 2 * gap, gap)
        heads = heads[count:]


def _clef(sheet: Sheet, x: float, top: float, gap: float) -> None:
    """Draws a curl around the second line, on a stem."""
    curl = [
        (
            x + gap * (0.25 + turn / 40) * math.cos(turn / 4),
            top + gap * (3 - turn / 14) + gap * 0.8 * math.sin(turn / 4),
        )
        for turn in range(36)
    ]
    sheet.line(curl, gap * 0.2)
    sheet.line([(x + gap * 0.3, top - gap), (x + gap * 0.1, top + 5 * gap)], gap * 0.15)


def _notes(sheet: Sheet, heads: list[tuple[float, float]], middle: float, gap: float) -> None:
    hollow = len(heads) == 1 and sheet.number.random() < 0.25
    upwards = sum(y for _, y in heads) / len(heads) > middle
    reach = gap * 3.4 * (-1 if upwards else 1)
    end = (min if upwards else max)(y for _, y in heads) + reach
    for x, y in heads:
        box = (x - gap * 0.62, y - gap * 0.45, x + gap * 0.62, y + gap * 0.45)
        sheet.draw.ellipse(box, fill=None if hollow else sheet.ink, outline=sheet.ink, width=max(1, round(gap * 0.15)))
        side = x + gap * (0.55 if upwards else -0.55)
        sheet.line([(side, y), (side, end)], gap * 0.15)
    if len(heads) > 1:
        shift = gap * (0.55 if upwards else -0.55)
        sheet.line([(heads[0][0] + shift, end), (heads[-1][0] + shift, end)], gap * 0.45)
    elif not hollow and sheet.number.random() < 0.4:
        x = heads[0][0] + gap * (0.55 if upwards else -0.55)
        sheet.line([(x, end), (x + gap * 0.8, end - reach * 0.35)], gap * 0.2)
