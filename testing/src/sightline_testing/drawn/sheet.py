"""A sheet of paper to draw on: its size, colours and pen are its own, drawn from the seed."""

import colorsys
from random import Random

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Point = tuple[float, float]

WORDS = [
    "north",
    "south",
    "total",
    "sales",
    "rate",
    "hall",
    "kitchen",
    "March",
    "2024",
    "index",
    "group",
    "alpha",
    "beta",
    "output",
    "node",
    "region",
    "error",
    "moderato",
    "study",
    "bath",
    "office",
    "input",
    "level",
    "phase",
    "west",
    "east",
    "value",
]
DRAWN_LARGER = 2  # drawn at twice the size and scaled down: smooth edges


class Sheet:
    """Paper, pen and a palette; `number` draws all that varies."""

    def __init__(self, number: Random, *, aspect: tuple[float, float] = (0.7, 1.6), dark: float = 0.12) -> None:
        self.number = number
        area = number.uniform(260, 520) ** 2
        ratio = number.uniform(*aspect)
        self.width = int((area * ratio) ** 0.5) * DRAWN_LARGER
        self.height = int((area / ratio) ** 0.5) * DRAWN_LARGER
        self.is_dark = number.random() < dark
        self.paper = tinted(number, number.uniform(0.05, 0.2) if self.is_dark else number.uniform(0.88, 1))
        self.ink = tinted(number, number.uniform(0.8, 1) if self.is_dark else number.uniform(0, 0.25))
        self.pen = max(2, round(number.uniform(0.002, 0.006) * self.width))
        self.image = Image.new("RGB", (self.width, self.height), self.paper)
        self.draw = ImageDraw.Draw(self.image)

    def margins(self, least: float = 0.04, most: float = 0.14) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the part that is drawn on."""
        share = [self.number.uniform(least, most) for _ in range(4)]
        return (
            share[0] * self.width, share[1] * self.height, (1 - share[2]) * self.width, (1 - share[3]) * self.height
        )  # fmt: skip

    def palette(self, count: int) -> list[Colour]:
        """Colours that belong together: one hue in steps, or hues around the wheel; now and then greys."""
        kind = self.number.random()
        start, saturation = self.number.random(), self.number.uniform(0.35, 0.95)
        value = self.number.uniform(0.6, 0.95)
        if kind < 0.12:
            return [grey(0.2 + 0.6 * index / max(1, count - 1)) for index in range(count)]
        if kind < 0.35:
            return [hsv(start, saturation, 0.35 + 0.6 * index / max(1, count - 1)) for index in range(count)]
        colours = [hsv(start + index / count, saturation, value) for index in range(count)]
        self.number.shuffle(colours)
        return colours

    def text(self, at: Point, words: int = 1, size: float = 0.035, colour: Colour | None = None) -> None:
        """A few words, their size a share of the sheet's shorter side."""
        points = max(9, size * min(self.width, self.height))
        content = " ".join(self.number.choice(WORDS) for _ in range(words))
        self.draw.text(at, content, colour or self.ink, ImageFont.load_default(points))

    def line(self, points: list[Point], width: float | None = None, colour: Colour | None = None) -> None:
        """A stroke of the pen through the points."""
        self.draw.line(points, colour or self.ink, max(1, round(width or self.pen)), joint="curve")

    def finished(self) -> Image.Image:
        """The sheet at its real size."""
        return self.image.resize((self.width // DRAWN_LARGER, self.height // DRAWN_LARGER), Image.Resampling.BOX)


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """A colour by hue (around the wheel once from 0 to 1), saturation and value."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def grey(value: float) -> Colour:
    """A grey between 0 and 1."""
    return hsv(0, 0, value)


def tinted(number: Random, value: float) -> Colour:
    """A colour that is nearly grey."""
    return hsv(number.random(), number.uniform(0, 0.08) if number.random() < 0.7 else number.uniform(0.05, 0.3), value)
