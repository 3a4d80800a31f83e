"""Floor plans, circuit diagrams and flow charts."""

import math
from random import Random

from PIL import Image

from sightline_testing.drawn.sheet import Point, Sheet

Room = tuple[float, float, float, float]


def floor_plan(number: Random) -> Image.Image:
    """Rooms within thick walls, with door arcs, windows, labels, a little furniture and dimension lines."""
    sheet = Sheet(number, dark=0.15)
    outer = sheet.margins(0.07, 0.16)
    wall = max(4, round(min(sheet.width, sheet.height) * number.uniform(0.008, 0.022)))
    shaded = number.random() < 0.3
    for room in _split(number, outer, number.randint(2, 3)):
        if shaded:
            sheet.draw.rectangle(room, fill=tuple(max(0, part - number.randint(0, 30)) for part in sheet.paper))
        sheet.draw.rectangle(room, outline=sheet.ink, width=wall)
        _door(sheet, room, wall)
        _furniture(sheet, room)
        if number.random() < 0.7:
            sheet.text(((room[0] * 2 + room[2]) / 3, (room[1] + room[3]) / 2), 1, 0.032)
    sheet.draw.rectangle(outer, outline=sheet.ink, width=round(wall * 1.5))
    _windows(sheet, outer, wall)
    if number.random() < 0.4:
        y = outer[1] * 0.5
        sheet.line([(outer[0], y), (outer[2], y)], sheet.pen / 2)
        for x in (outer[0], (outer[0] + outer[2]) / 2, outer[2]):
            sheet.line([(x - wall, y + wall), (x + wall, y - wall)], sheet.pen / 2)
    return sheet.finished()


def _split(number: Random, room: Room, depth: int) -> list[Room]:
    left, top, right, bottom = room
    if depth == 0 or (depth == 1 and number.random() < 0.2):
        return [room]
    share = number.uniform(0.35, 0.65)
    if right - left > (bottom - top) * number.uniform(0.7, 1.4):
        x = left + share * (right - left)
        return _split(number, (left, top, x, bottom), depth - 1) + _split(number, (x, top, right, bottom), depth - 1)
    y = top + share * (bottom - top)
    return _split(number, (left, top, right, y), depth - 1) + _split(number, (left, y, right, bottom), depth - 1)


def _door(sheet: Sheet, room: Room, wall: int) -> None:
    left, top, right, bottom = room
    width = min(right - left, bottom - top) * sheet.number.uniform(0.2, 0.35)
    x, y = sheet.number.uniform(left + wall, right - width - wall), sheet.number.choice((top, bottom))
    swing = (x - width, y - width, x + width, y + width)
    sheet.line([(x, y), (x + width, y)], wall * 1.6, sheet.paper)
    inward = 1 if y == top else -1
    sheet.line([(x, y), (x, y + inward * width)], sheet.pen)
    sheet.draw.arc(swing, 0 if inward > 0 else 270, 90 if inward > 0 else 360, sheet.ink, max(1, sheet.pen // 2))


def _furniture(sheet: Sheet, room: Room) -> None:
    left, top, right, bottom = room
    width, height = right - left, bottom - top
    thin = max(1, sheet.pen // 2)
    for _ in range(sheet.number.randint(0, 2)):
        x, y = left + width * sheet.number.uniform(0.12, 0.6), top + height * sheet.number.uniform(0.12, 0.6)
        box = (x, y, x + width * sheet.number.uniform(0.12, 0.28), y + height * sheet.number.uniform(0.12, 0.28))
        kind = sheet.number.random()
        if kind < 0.3:
            sheet.draw.ellipse(box, outline=sheet.ink, width=thin)
        else:
            sheet.draw.rounded_rectangle(box, sheet.pen * (4 if kind < 0.6 else 0), outline=sheet.ink, width=thin)
            if kind > 0.75:
                sheet.line([(box[0], (box[1] + box[3]) / 2), (box[2], (box[1] + box[3]) / 2)], thin)


def _windows(sheet: Sheet, outer: Room, wall: int) -> None:
    left, top, right, bottom = outer
    for _ in range(sheet.number.randint(2, 6)):
        x, y = sheet.number.uniform(left, right * 0.8), sheet.number.choice((top, bottom))
        length = (right - left) * sheet.number.uniform(0.08, 0.16)
        sheet.draw.rectangle(
            (x, y - wall, x + length, y + wall), fill=sheet.paper, outline=sheet.ink, width=max(1, wall // 4)
        )
        sheet.line([(x, y), (x + length, y)], max(1, wall // 4))


def circuit_diagram(number: Random) -> Image.Image:
    """Wires along a grid with resistors, capacitors, sources, lamps and earths between the knots."""
    sheet = Sheet(number, dark=0.15)
    left, top, right, bottom = sheet.margins(0.06, 0.14)
    columns, rows = number.randint(3, 5), number.randint(2, 4)
    step = ((right - left) / (columns - 1), (bottom - top) / (rows - 1))
    size = min(step) * number.uniform(0.16, 0.26)
    for row in range(rows):
        for column in range(columns):
            here = (left + column * step[0], top + row * step[1])
            if column + 1 < columns and number.random() < 0.85:
                _part(sheet, here, (here[0] + step[0], here[1]), size)
            if row + 1 < rows and number.random() < 0.75:
                _part(sheet, here, (here[0], here[1] + step[1]), size)
            if number.random() < 0.35:
                sheet.draw.circle(here, sheet.pen * 2, fill=sheet.ink)
    return sheet.finished()


def _part(sheet: Sheet, start: Point, end: Point, size: float) -> None:
    """Draw a wire with a part in its middle."""
    length = math.dist(start, end)
    along = ((end[0] - start[0]) / length, (end[1] - start[1]) / length)

    def at(distance: float, aside: float = 0.0) -> Point:
        from_start = length / 2 + distance * size
        away = aside * size
        return (start[0] + along[0] * from_start - along[1] * away, start[1] + along[1] * from_start + along[0] * away)

    kind = sheet.number.choice(("wire", "wire", "zigzag", "box", "capacitor", "lamp"))
    if kind == "wire":
        sheet.line([start, end])
        return
    sheet.line([start, at(-0.2 if kind == "capacitor" else -1)])
    sheet.line([at(0.2 if kind == "capacitor" else 1), end])
    if kind == "zigzag":
        sheet.line([at(-1), *(at(-0.85 + turn * 0.28, 0.4 * (-1) ** turn) for turn in range(7)), at(1)])
    elif kind == "box":
        sheet.line([at(-1, -0.4), at(1, -0.4), at(1, 0.4), at(-1, 0.4), at(-1, -0.4), at(1, -0.4)])
    elif kind == "capacitor":
        sheet.line([at(-0.2, -0.8), at(-0.2, 0.8)])
        sheet.line([at(0.2, -0.8), at(0.2, 0.8)])
    else:
        sheet.draw.circle(at(0), size, outline=sheet.ink, width=sheet.pen)
        sheet.line([at(-0.7, -0.7), at(0.7, 0.7)])
        sheet.line([at(-0.7, 0.7), at(0.7, -0.7)])
    if sheet.number.random() < 0.5:
        sheet.text(at(-0.5, -1.3), 1, 0.03)


def flow_chart(number: Random) -> Image.Image:
    """Boxes, lozenges and ovals in a grid, words inside, arrows between."""
    sheet = Sheet(number, dark=0.08)
    left, top, right, bottom = sheet.margins(0.05, 0.1)
    columns, rows = number.randint(2, 4), number.randint(3, 5)
    step = ((right - left) / columns, (bottom - top) / rows)
    half = (step[0] * number.uniform(0.28, 0.38), step[1] * number.uniform(0.22, 0.34))
    fills = [*sheet.palette(3), sheet.paper]
    for row in range(rows):
        for column in range(columns):
            middle = (left + (column + 0.5) * step[0], top + (row + 0.5) * step[1])
            if number.random() < 0.12:
                continue
            if row + 1 < rows and number.random() < 0.8:
                _arrow(sheet, middle, (middle[0], middle[1] + step[1] - half[1]))
            if column + 1 < columns and number.random() < 0.4:
                _arrow(sheet, middle, (middle[0] + step[0] - half[0], middle[1]))
            _shape(sheet, middle, half, fills)
    return sheet.finished()


def _arrow(sheet: Sheet, start: Point, end: Point) -> None:
    sheet.line([start, end])
    back = sheet.pen * 4
    angle = math.atan2(end[1] - start[1], end[0] - start[0])
    wings = [(end[0] - back * math.cos(angle + turn), end[1] - back * math.sin(angle + turn)) for turn in (-0.4, 0.4)]
    sheet.draw.polygon([end, *wings], fill=sheet.ink)


def _shape(sheet: Sheet, middle: Point, half: Point, fills: list[tuple[int, int, int]]) -> None:
    (x, y), (width, height) = middle, half
    box = (x - width, y - height, x + width, y + height)
    fill, kind = sheet.number.choice(fills), sheet.number.random()
    if kind < 0.25:
        corners = [(x - width, y), (x, y - height), (x + width, y), (x, y + height)]
        sheet.draw.polygon(corners, fill=fill, outline=sheet.ink, width=sheet.pen)
    elif kind < 0.4:
        sheet.draw.ellipse(box, fill=fill, outline=sheet.ink, width=sheet.pen)
    else:
        sheet.draw.rounded_rectangle(box, height * 0.4 * (kind > 0.7), fill=fill, outline=sheet.ink, width=sheet.pen)
    sheet.text((x - width * 0.6, y - height * 0.25), 1, 0.032)
