"""Bar, pie and line charts."""

import math
from dataclasses import dataclass
from random import Random

from PIL import Image

from sightline_testing.drawn.sheet import Colour, Sheet

Box = tuple[float, float, float, float]


def bar_chart(number: Random) -> Image.Image:
    """Bars upright or lying, single, grouped or stacked, with or without grid, axes, titles and a legend."""
    sheet = Sheet(number)
    box = _plot(sheet)
    groups, series = number.randint(3, 11), number.choice((1, 1, 1, 2, 3))
    colours = sheet.palette(series if series > 1 or number.random() < 0.6 else groups)
    bars = _Bars(
        sheet, box, groups, colours, gap=number.uniform(0.1, 0.55), lying=number.random() < 0.35,
        stacked=number.random() < 0.4,
    )  # fmt: skip
    _grid(sheet, box, upright=bars.lying)
    trend = number.uniform(-0.6, 0.6)
    for group in range(groups):
        lean = 0.55 + trend * (group / groups - 0.5)
        bars.draw(group, [min(1.0, max(0.04, number.gauss(lean, 0.22))) for _ in range(series)])
    _axes(sheet, box)
    return sheet.finished()


@dataclass(frozen=True)
class _Bars:
    sheet: Sheet
    box: Box
    groups: int
    colours: list[Colour]
    gap: float
    lying: bool
    stacked: bool

    def draw(self, group: int, values: list[float]) -> None:
        """Draw one group: values from 0 to 1 next to or on top of each other."""
        left, top, right, bottom = self.box
        slot = ((bottom - top) if self.lying else (right - left)) / self.groups
        width = slot * (1 - self.gap) / (1 if self.stacked else len(values))
        reached = 0.0
        for index, value in enumerate(values):
            start = slot * (group + self.gap / 2) + (0 if self.stacked else index * width)
            low = reached if self.stacked else 0.0
            reached = low + value / (len(values) if self.stacked else 1)
            colour = self.colours[(index if len(values) > 1 else group) % len(self.colours)]
            self._bar(start, width, (low, reached), colour)

    def _bar(self, start: float, width: float, span: tuple[float, float], colour: Colour) -> None:
        left, top, right, bottom = self.box
        low, high = (part * ((right - left) if self.lying else (bottom - top)) for part in span)
        bar = (left + start, bottom - high, left + start + width, bottom - low)
        if self.lying:
            bar = (left + low, top + start, left + high, top + start + width)
        edge = self.sheet.ink if self.sheet.pen % 2 else None
        self.sheet.draw.rectangle(bar, fill=colour, outline=edge, width=max(1, self.sheet.pen // 2))


def pie_chart(number: Random) -> Image.Image:
    """A pie or a ring, flat or seen from the side, a slice pulled out now and then, labels or a legend."""
    sheet = Sheet(number)
    left, top, right, bottom = sheet.margins(0.06, 0.22)
    radius = min(right - left, bottom - top) / 2
    middle = (number.uniform(left + radius, right - radius), number.uniform(top + radius, bottom - radius))
    flat = number.uniform(0.45, 0.8) if number.random() < 0.25 else 1.0
    shares = [number.uniform(0.3, 1) ** 2 for _ in range(number.randint(2, 8))]
    colours = sheet.palette(len(shares))
    pie = _Pie(sheet, (radius, radius * flat), shares, number.choice((0, 0, sheet.pen, sheet.pen * 2)))
    if flat < 1:
        for depth in range(round(radius * 0.22), 0, -2):
            pie.draw((middle[0], middle[1] + depth), _darker(colours))
    pie.draw(middle, colours)
    if flat == 1 and number.random() < 0.25:
        hole = radius * number.uniform(0.35, 0.65)
        sheet.draw.circle(middle, hole, fill=sheet.paper)
    _legend(sheet, colours, number.random())
    return sheet.finished()


@dataclass(frozen=True)
class _Pie:
    sheet: Sheet
    radii: tuple[float, float]
    shares: list[float]
    edge: int

    def draw(self, middle: tuple[float, float], colours: list[Colour]) -> None:
        # The start and the pulled slice depend on the shares alone, so that the layers of a thick pie fit together.
        number = Random(repr(self.shares))  # noqa: S311 -- images, not secrets
        angle = number.uniform(0, 360)
        pulled = number.randrange(len(self.shares)) if number.random() < 0.3 else -1
        for index, share in enumerate(self.shares):
            end = angle + 360 * share / sum(self.shares)
            away = self.radii[0] * 0.12 if index == pulled else 0
            half = math.radians((angle + end) / 2)
            x, y = middle[0] + away * math.cos(half), middle[1] + away * math.sin(half)
            box = (x - self.radii[0], y - self.radii[1], x + self.radii[0], y + self.radii[1])
            outline = self.sheet.paper if self.edge else None
            self.sheet.draw.pieslice(box, angle, end, fill=colours[index], outline=outline, width=self.edge)
            angle = end


def _darker(colours: list[Colour]) -> list[Colour]:
    return [(red * 2 // 3, green * 2 // 3, blue * 2 // 3) for red, green, blue in colours]


def line_chart(number: Random) -> Image.Image:
    """One to five curves over a grid: walks, waves, with or without marks at the points."""
    sheet = Sheet(number)
    box = left, top, right, bottom = _plot(sheet)
    _grid(sheet, box, upright=number.random() < 0.5)
    colours = sheet.palette(number.randint(1, 5))
    steps = number.choice((6, 10, 16, 40, 90))
    for colour in colours:
        level, points = number.uniform(0.2, 0.8), []
        for step in range(steps):
            level = min(0.97, max(0.03, level + number.gauss(0, 0.6 / steps**0.6)))
            points.append((left + (right - left) * step / (steps - 1), bottom - (bottom - top) * level))
        sheet.line(points, sheet.pen * number.uniform(1, 2.5), colour)
        if steps <= 16 and number.random() < 0.6:
            for point in points:
                sheet.draw.circle(point, sheet.pen * 2.5, fill=colour)
    _axes(sheet, box)
    _legend(sheet, colours, number.random() * 0.8)
    return sheet.finished()


def _plot(sheet: Sheet) -> Box:
    box = left, top, right, bottom = sheet.margins(0.06, 0.18)
    if sheet.number.random() < 0.3:
        sheet.draw.rectangle(box, fill=tuple(max(0, part - 14) for part in sheet.paper))
    if sheet.number.random() < 0.55:
        sheet.text((left, top * 0.2), sheet.number.randint(2, 5), 0.05)
    if sheet.number.random() < 0.75:
        for step in range(count := sheet.number.randint(3, 9)):
            sheet.text((left + (right - left) * step / count, bottom + 0.01 * sheet.height), 1, 0.026)
            sheet.text((left * 0.25, top + (bottom - top) * step / count), 1, 0.026)
    return box


def _grid(sheet: Sheet, box: Box, *, upright: bool) -> None:
    if sheet.number.random() < 0.4:
        return
    left, top, right, bottom = box
    pale: Colour = tuple((3 * paper + ink) // 4 for paper, ink in zip(sheet.paper, sheet.ink, strict=True))  # type: ignore[assignment]
    for step in range(count := sheet.number.randint(4, 10)):
        x, y = left + (right - left) * step / count, top + (bottom - top) * step / count
        sheet.line([(x, top), (x, bottom)] if upright else [(left, y), (right, y)], sheet.pen / 2, pale)


def _axes(sheet: Sheet, box: Box) -> None:
    left, top, right, bottom = box
    kind = sheet.number.random()
    if kind < 0.25:
        sheet.draw.rectangle(box, outline=sheet.ink, width=sheet.pen)
    elif kind < 0.9:
        sheet.line([(left, top), (left, bottom), (right, bottom)])


def _legend(sheet: Sheet, colours: list[Colour], chance: float) -> None:
    if chance > 0.5:
        return
    x, y = sheet.width * sheet.number.uniform(0.02, 0.7), sheet.height * sheet.number.uniform(0.02, 0.6)
    side = 0.03 * min(sheet.width, sheet.height)
    for index, colour in enumerate(colours):
        row = y + index * side * 1.7
        sheet.draw.rectangle((x, row, x + side, row + side), fill=colour)
        sheet.text((x + side * 1.4, row), 1, 0.03)
