"""Drawn images for benchmarks/own/learning.py, which were written after the constants of the fit were chosen.

They are used for nothing else: sixteen new classes, look-alikes of known ones, and other drawings of known ones.
"""

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from inference.arrays import Pixels

SIDE = 224
Draw = np.random.Generator
Numbers = npt.NDArray[Any]


def colour(draw: Draw, low: int = 0, high: int = 256) -> tuple[int, int, int]:
    """Return a colour within a range of brightness."""
    return (int(draw.integers(low, high)), int(draw.integers(low, high)), int(draw.integers(low, high)))


def paper(draw: Draw) -> tuple[Pixels, tuple[int, int, int]]:
    """Return an empty sheet and the colour to draw in: dark on light, or, now and then, light on dark."""
    light, dark = colour(draw, 190), colour(draw, 0, 90)
    ground, ink = (light, dark) if draw.random() < 0.8 else (dark, light)
    return np.full((SIDE, SIDE, 3), ground, np.uint8), ink


def scatter_plot(draw: Draw) -> Pixels:
    """Dots about a line, between two axes."""
    image, ink = paper(draw)
    cv2.line(image, (25, 15), (25, 200), ink, 2)
    cv2.line(image, (25, 200), (212, 200), ink, 2)
    slope, tint = draw.uniform(-0.8, 0.8), colour(draw, 0, 200)
    for x in draw.uniform(32, 208, draw.integers(25, 90)):
        y = np.clip(108 - slope * (x - 118) + draw.normal(0, 22), 18, 194)
        cv2.circle(image, (int(x), int(y)), int(draw.integers(2, 5)), tint, -1, cv2.LINE_AA)
    return image


def gantt_chart(draw: Draw) -> Pixels:
    """Bars that begin one after the other."""
    image, ink = paper(draw)
    rows = int(draw.integers(5, 10))
    x = 20.0
    for row in range(rows):
        y, length = 14 + row * 196 // rows, draw.uniform(25, 90)
        cv2.rectangle(image, (int(x), y), (int(min(x + length, 215)), y + 120 // rows), colour(draw, 40, 220), -1)
        x = min(x + length * draw.uniform(0.4, 1), 180)
    for x_line in range(20, 220, 32):
        cv2.line(image, (x_line, 8), (x_line, 214), ink, 1)
    return image


def venn_diagram(draw: Draw) -> Pixels:
    """Two or three circles that overlap."""
    image, ink = paper(draw)
    turn, count = draw.uniform(0, 6), int(draw.integers(2, 4))
    for at in range(count):
        angle, radius = turn + at * 2 * np.pi / count, int(draw.integers(48, 68))
        centre = (int(112 + 36 * np.cos(angle)), int(112 + 36 * np.sin(angle)))
        layer = image.copy()
        cv2.circle(layer, centre, radius, colour(draw, 60, 250), -1, cv2.LINE_AA)
        image = np.asarray(cv2.addWeighted(layer, 0.5, image, 0.5, 0), np.uint8)
        cv2.circle(image, centre, radius, ink, 2, cv2.LINE_AA)
    return image


def sudoku(draw: Draw) -> Pixels:
    """Nine by nine fields with some digits."""
    image, ink = paper(draw)
    step = int(draw.integers(20, 24))
    start = (SIDE - 9 * step) // 2
    for at in range(10):
        width = 3 if at % 3 == 0 else 1
        place = start + at * step
        cv2.line(image, (start, place), (start + 9 * step, place), ink, width)
        cv2.line(image, (place, start), (place, start + 9 * step), ink, width)
    for field in draw.permutation(81)[: draw.integers(18, 50)]:
        where = (start + int(field % 9) * step + 6, start + int(field // 9) * step + 17)
        cv2.putText(image, str(draw.integers(1, 10)), where, cv2.FONT_HERSHEY_SIMPLEX, 0.5, ink, 1, cv2.LINE_AA)
    return image


def calendar(draw: Draw) -> Pixels:
    """A month: a coloured head, and numbers in seven columns."""
    image, ink = paper(draw)
    cv2.rectangle(image, (10, 10), (214, 44), colour(draw, 30, 200), -1)
    first = int(draw.integers(0, 7))
    for day in range(1, 31):
        at = first + day - 1
        where = (14 + at % 7 * 29, 72 + at // 7 * 27)
        cv2.putText(image, str(day), where, cv2.FONT_HERSHEY_DUPLEX, 0.45, ink, 1, cv2.LINE_AA)
    return image


def domino(draw: Draw) -> Pixels:
    """A tile of two halves with pips."""
    image, _ = paper(draw)
    light, dark = colour(draw, 200), colour(draw, 0, 70)
    top, side = int(draw.integers(12, 30)), int(draw.integers(70, 88))
    left = (SIDE - side) // 2
    cv2.rectangle(image, (left, top), (left + side, top + 2 * side), light, -1)
    cv2.rectangle(image, (left, top), (left + side, top + 2 * side), dark, 3)
    cv2.line(image, (left + 6, top + side), (left + side - 6, top + side), dark, 3)
    for half in range(2):
        for pip in draw.permutation(9)[: draw.integers(1, 7)]:
            where = (
                left + side // 6 + int(pip % 3) * side // 3,
                top + half * side + side // 6 + int(pip // 3) * side // 3,
            )
            cv2.circle(image, where, side // 12, dark, -1, cv2.LINE_AA)
    return image


def spiral(draw: Draw) -> Pixels:
    """One line that winds outwards."""
    image, ink = paper(draw)
    angles = np.linspace(0, draw.uniform(4, 9) * 2 * np.pi, 500)
    radii = angles / angles[-1] * draw.uniform(80, 104)
    turn, way = draw.uniform(0, 6), draw.choice([-1, 1])
    points = np.stack([112 + radii * np.cos(way * angles + turn), 112 + radii * np.sin(way * angles + turn)], axis=1)
    cv2.polylines(image, [points.astype(np.int32)], False, ink, int(draw.integers(2, 6)), cv2.LINE_AA)
    return image


def contour_map(draw: Draw) -> Pixels:
    """Lines of equal height."""
    image, ink = paper(draw)
    field = cv2.GaussianBlur(draw.standard_normal((SIDE, SIDE)), (0, 0), draw.uniform(16, 28))
    field = (field - field.min()) / np.ptp(field)
    for level in np.linspace(0.1, 0.9, draw.integers(8, 14)):
        found, _ = cv2.findContours((field > level).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(image, found, -1, ink, 1, cv2.LINE_AA)
    return image


def family_tree(draw: Draw) -> Pixels:
    """Boxes below boxes, joined by right angles."""
    image, ink = paper(draw)
    tint, before = colour(draw, 120, 250), [112]
    for row, y in enumerate((20, 90, 160)):
        places = [112] if row == 0 else [int(SIDE * (at + 0.5) / (2**row)) for at in range(2**row)]
        for at, x in enumerate(places):
            if row:
                cv2.line(image, (x, y), (x, y - 15), ink, 2)
                cv2.line(image, (x, y - 15), (before[at // 2], y - 15), ink, 2)
                cv2.line(image, (before[at // 2], y - 15), (before[at // 2], y - 36), ink, 2)
            half = 30 - 5 * row
            cv2.rectangle(image, (x - half, y), (x + half, y + 34), tint, -1)
            cv2.rectangle(image, (x - half, y), (x + half, y + 34), ink, 2)
        before = places
    return image


def molecule(draw: Draw) -> Pixels:
    """Hexagons that share sides, with double bonds."""
    image, ink = paper(draw)
    size, centre = draw.uniform(26, 36), np.array([draw.uniform(60, 90), draw.uniform(80, 140)])
    for _ in range(draw.integers(2, 4)):
        turn = np.pi / 6 + np.arange(6) * np.pi / 3
        for scale in (1.0, 0.72):
            points = centre + scale * size * np.stack([np.cos(turn), np.sin(turn)], axis=1)
            if scale == 1:
                cv2.polylines(image, [points.astype(np.int32)], True, ink, 2, cv2.LINE_AA)
            else:
                for at in range(int(draw.integers(0, 2)), 6, 2):
                    start, end = points[at].astype(int), points[(at + 1) % 6].astype(int)
                    cv2.line(image, start.tolist(), end.tolist(), ink, 2, cv2.LINE_AA)
        cv2.putText(
            image, str(draw.choice(["OH", "N", "O", "Cl"])), (centre + size * np.array([1, -1])).astype(int).tolist(),
            cv2.FONT_HERSHEY_SIMPLEX, 0.5, ink, 1, cv2.LINE_AA,
        )  # fmt: skip
        centre = centre + size * 3**0.5 * np.array([np.cos(angle := draw.choice([0, np.pi / 3])), -np.sin(angle)])
    return image


def warning_triangle(draw: Draw) -> Pixels:
    """A triangle with a border and a mark."""
    image, _ = paper(draw)
    top = draw.integers(20, 50)
    points = np.array([(112, top), (205 - top // 3, 190), (20 + top // 3, 190)], np.int32)
    border, inside = colour(draw, 0, 160), colour(draw, 160)
    cv2.fillPoly(image, [points], inside, cv2.LINE_AA)
    cv2.polylines(image, [points], True, border, int(draw.integers(6, 14)), cv2.LINE_AA)
    cv2.line(image, (112, 95), (112, 140), border, 10)
    cv2.circle(image, (112, 165), 7, border, -1, cv2.LINE_AA)
    return image


def tree_map(draw: Draw) -> Pixels:
    """A square cut into coloured rectangles."""
    image, ink = paper(draw)
    waiting = [(12, 12, 212, 212, 0)]
    while waiting:
        left, top, right, bottom, depth = waiting.pop()
        if depth < 2 or (depth < 5 and draw.random() < 0.6 and min(right - left, bottom - top) > 30):
            share = draw.uniform(0.3, 0.7)
            if right - left > bottom - top:
                middle = int(left + share * (right - left))
                waiting += [(left, top, middle, bottom, depth + 1), (middle, top, right, bottom, depth + 1)]
            else:
                middle = int(top + share * (bottom - top))
                waiting += [(left, top, right, middle, depth + 1), (left, middle, right, bottom, depth + 1)]
            continue
        cv2.rectangle(image, (left, top), (right, bottom), colour(draw, 50, 240), -1)
        cv2.rectangle(image, (left, top), (right, bottom), ink, 2)
    return image


def chess_diagram(draw: Draw) -> Pixels:
    """Eight by eight fields of two colours, with round pieces."""
    image, ink = paper(draw)
    light, dark, step = colour(draw, 180), colour(draw, 60, 150), int(draw.integers(22, 27))
    start = (SIDE - 8 * step) // 2
    for field in range(64):
        x, y = start + field % 8 * step, start + field // 8 * step
        cv2.rectangle(image, (x, y), (x + step, y + step), light if (field + field // 8) % 2 else dark, -1)
    for field in draw.permutation(64)[: draw.integers(8, 26)]:
        where = (start + int(field % 8) * step + step // 2, start + int(field // 8) * step + step // 2)
        cv2.circle(image, where, step // 3, ink if draw.random() < 0.5 else (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(image, where, step // 3, ink, 2, cv2.LINE_AA)
    return image


def network_graph(draw: Draw) -> Pixels:
    """Discs joined by straight lines."""
    image, ink = paper(draw)
    points = draw.uniform(22, 202, (draw.integers(7, 15), 2)).astype(int)
    for point in points:
        for other in np.argsort(((points - point) ** 2).sum(axis=1))[1 : draw.integers(2, 5)]:
            cv2.line(image, point.tolist(), points[other].tolist(), ink, 1, cv2.LINE_AA)
        cv2.circle(image, point.tolist(), int(draw.integers(6, 13)), colour(draw, 30, 230), -1, cv2.LINE_AA)
        cv2.circle(image, point.tolist(), 9, ink, 1, cv2.LINE_AA)
    return image


def seven_segments(draw: Draw) -> Pixels:
    """A number as old displays showed it."""
    image = np.full((SIDE, SIDE, 3), colour(draw, 0, 60), np.uint8)
    lit, count = colour(draw, 120), int(draw.integers(2, 5))
    width = 190 // count
    for digit in range(count):
        x, y, side = 18 + digit * width, 60, width - 14
        ends = ((0, 0, 1, 0), (1, 0, 1, 1), (1, 1, 1, 2), (0, 2, 1, 2), (0, 1, 0, 2), (0, 0, 0, 1), (0, 1, 1, 1))
        for segment in draw.permutation(7)[: draw.integers(3, 8)]:
            a, b, c, d = ends[segment]
            cv2.line(image, (x + a * side, y + b * 50), (x + c * side, y + d * 50), lit, 8, cv2.LINE_AA)
    return image


def playing_card(draw: Draw) -> Pixels:
    """A white card with symbols in rows and a sign in two corners."""
    image, _ = paper(draw)
    cv2.rectangle(image, (44, 8), (180, 216), (250, 250, 250), -1)
    cv2.rectangle(image, (44, 8), (180, 216), (40, 40, 40), 2)
    ink, rank = ((190, 20, 30), (20, 20, 20))[draw.integers(2)], int(draw.integers(2, 11))
    for at in range(rank):
        x, y = 86 + at % 2 * 52, 50 + at // 2 * 132 // max(1, (rank - 1) // 2 + 1)
        points = np.array([(x, y - 13), (x + 10, y), (x, y + 13), (x - 10, y)], np.int32)
        cv2.fillPoly(image, [points], ink, cv2.LINE_AA)
    for where in ((50, 34), (150, 208)):
        cv2.putText(image, str(rank), where, cv2.FONT_HERSHEY_TRIPLEX, 0.8, ink, 1, cv2.LINE_AA)
    return image


DRAWN: Mapping[str, Callable[[Draw], Pixels]] = {
    function.__name__: function
    for function in (
        scatter_plot, gantt_chart, venn_diagram, sudoku, calendar, domino, spiral, contour_map, family_tree, molecule,
        warning_triangle, tree_map, chess_diagram, network_graph, seven_segments, playing_card,
    )
}  # fmt: skip


def seen(draw: Draw, image: Pixels, before: Pixels | None = None) -> Pixels:
    """Return a drawing as a camera shows it: on a ground, turned, in some light, blurred, with noise."""
    ground = np.full((SIDE, SIDE, 3), colour(draw, 30, 230), np.uint8) if before is None else before
    size = draw.uniform(0.65, 1.0)
    corners = np.array([(0, 0), (SIDE, 0), (SIDE, SIDE), (0, SIDE)], np.float32)
    angle = np.deg2rad(draw.normal(0, 7))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    placed = (corners - SIDE / 2) * size @ turn + SIDE / 2 + draw.normal(0, 8, 2) + draw.normal(0, 5, (4, 2))
    lens = cv2.getPerspectiveTransform(corners, placed.astype(np.float32))
    flat = cv2.warpPerspective(image, lens, (SIDE, SIDE), flags=cv2.INTER_AREA)
    mask = cv2.warpPerspective(np.full((SIDE, SIDE), 255, np.uint8), lens, (SIDE, SIDE))[:, :, None] / 255
    values = flat * mask + ground * (1 - mask)
    values = values * draw.uniform(0.7, 1.1) * draw.uniform(0.93, 1.05, 3) + draw.normal(
        0, draw.uniform(1, 9), values.shape
    )
    blurred = cv2.GaussianBlur(values, (0, 0), draw.uniform(0.3, 1.1))
    return np.clip(blurred, 0, 255).astype(np.uint8)


def drawn(kind: str, seed: int) -> Pixels:
    """Return image number `seed` of a drawn kind."""
    draw = np.random.default_rng((11, list(DRAWN).index(kind), seed))
    image = DRAWN[kind](draw)
    return seen(draw, image) if draw.random() < 0.8 else image


def lit(draw: Draw, image: Numbers) -> Pixels:
    """Return an image in another light, with noise."""
    values = image * draw.uniform(0.75, 1.15) * draw.uniform(0.94, 1.06, 3) + draw.normal(
        0, draw.uniform(0, 6), image.shape
    )
    return np.clip(values, 0, 255).astype(np.uint8)


def pinwheel(seed: int) -> Pixels:
    """Return a toy windmill, an old class, drawn otherwise than in the tests."""
    draw = np.random.default_rng((15, seed))
    image = np.full((SIDE, SIDE, 3), colour(draw, 120, 250), np.uint8)
    centre, blades, turn = np.array([112.0, draw.uniform(80, 105)]), int(draw.integers(4, 9)), draw.uniform(0, 6)
    cv2.line(
        image, centre.astype(int).tolist(), (int(112 + draw.normal(0, 8)), 222), colour(draw, 60, 200), 6, cv2.LINE_AA
    )
    for at in range(blades):
        angle, reach = turn + at * 2 * np.pi / blades, draw.uniform(62, 78)
        tip, bend = (centre + reach * np.array([np.cos(a), np.sin(a)]) for a in (angle, angle + 0.9))
        side = centre + 0.55 * reach * np.array([np.cos(angle + 0.75), np.sin(angle + 0.75)])
        tint = colour(draw, 30, 255)
        cv2.fillPoly(image, [np.array([centre, tip, side], np.int32)], tint, cv2.LINE_AA)
        cv2.fillPoly(
            image,
            [np.array([centre, side, (bend + 2 * centre) / 3], np.int32)],
            tuple(c // 2 for c in tint),
            cv2.LINE_AA,
        )
    cv2.circle(image, centre.astype(int).tolist(), 7, colour(draw, 150), -1, cv2.LINE_AA)
    return lit(draw, image)


def pie(seed: int) -> Pixels:
    """Return a pie chart."""
    draw = np.random.default_rng((16, seed))
    image, ink = paper(draw)
    angle, radius = draw.uniform(0, 360), int(draw.integers(65, 95))
    for share in draw.dirichlet(np.full(draw.integers(3, 8), 3.0)):
        cv2.ellipse(
            image, (112, 112), (radius, radius), 0, angle, angle + 360 * share, colour(draw, 40, 250), -1, cv2.LINE_AA
        )
        angle += 360 * share
    cv2.circle(image, (112, 112), radius, ink, 2, cv2.LINE_AA)
    return seen(draw, image)


def crossword(seed: int) -> Pixels:
    """Return a crossword puzzle, an old class, drawn otherwise than in the tests."""
    draw = np.random.default_rng((17, seed))
    image, count = np.full((SIDE, SIDE, 3), colour(draw, 225), np.uint8), int(draw.integers(11, 16))
    step = 208 // count
    dark = draw.random((count, count)) < 0.17
    dark |= dark[::-1, ::-1]
    for field in np.ndindex(count, count):
        x, y = 8 + field[1] * step, 8 + field[0] * step
        cv2.rectangle(image, (x, y), (x + step, y + step), (30, 30, 30), -1 if dark[field] else 1)
    return seen(draw, image) if draw.random() < 0.5 else lit(draw, image)


def labyrinth(seed: int) -> Pixels:
    """Return a round maze, an old class, drawn: rings with gaps, joined by walls."""
    draw = np.random.default_rng((20, seed))
    image, ink = paper(draw)
    rings, width = int(draw.integers(5, 9)), int(draw.integers(2, 5))
    for ring in range(1, rings + 1):
        radius, gap = int(100 * ring / rings), draw.uniform(0, 360)
        cv2.ellipse(
            image, (112, 112), (radius, radius), 0, gap, gap + 330 - 60 / ring, ink, width, cv2.LINE_AA
        )  # fmt: skip
        for _ in range(int(draw.integers(0, 4)) if ring < rings else 0):
            angle = draw.uniform(0, 2 * np.pi)
            ends = (112 + 100 * each / rings * np.array([np.cos(angle), np.sin(angle)]) for each in (ring, ring + 1))
            start, end = (each.astype(int).tolist() for each in ends)
            cv2.line(image, start, end, ink, width, cv2.LINE_AA)
    return seen(draw, image) if draw.random() < 0.5 else lit(draw, image)


def dotted_code(seed: int) -> Pixels:
    """Return a code of random squares with three finders, as QR codes have them."""
    draw = np.random.default_rng((18, seed))
    count = int(draw.choice([21, 25, 29, 33]))
    modules = np.where(draw.random((count, count)) < 0.5, 30, 245).astype(np.uint8)
    finder = np.full((8, 8), 245, np.uint8)
    finder[:7, :7], finder[1:6, 1:6], finder[2:5, 2:5] = 30, 245, 30
    modules[:8, :8], modules[:8, -8:], modules[-8:, :8] = finder, finder[:, ::-1], finder[::-1]
    large = cv2.resize(np.pad(modules, 3, constant_values=245), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    return seen(draw, np.repeat(large[:, :, None], 3, axis=2))
