"""A clock on a wall, drawn with some care: the image in the README's screenshot."""

import math

from PIL import Image, ImageDraw, ImageFilter

SIZE = (1200, 800)
OVERSAMPLING = 2
NIGHT, BRASS, IVORY, INK = (38, 58, 66), (176, 128, 62), (250, 246, 236), (34, 36, 40)


def clock_on_a_wall() -> Image.Image:
    """Draw it; the model calls it an analog clock."""
    width, height = (side * OVERSAMPLING for side in SIZE)
    image = _wall(width, height)
    centre, radius = (width * 0.5, height * 0.5), height * 0.4
    image = _shadow(image, centre, radius)
    draw = ImageDraw.Draw(image)
    _disc(draw, centre, radius, BRASS)
    _disc(draw, centre, radius * 0.93, (122, 86, 40))
    _disc(draw, centre, radius * 0.91, IVORY)
    for minute in range(60):
        is_hour = minute % 5 == 0
        _ray(
            draw,
            centre,
            minute / 60,
            (radius * (0.74 if is_hour else 0.81), radius * 0.85),
            radius * (0.028 if is_hour else 0.008),
        )
    _ray(draw, centre, 10.15 / 12, (-radius * 0.12, radius * 0.47), radius * 0.05)
    _ray(draw, centre, 9 / 60, (-radius * 0.14, radius * 0.7), radius * 0.032)
    _disc(draw, centre, radius * 0.055, BRASS)
    return image.resize(SIZE, Image.Resampling.LANCZOS)


def _wall(width: int, height: int) -> Image.Image:
    """Paint, lit from the upper left."""
    light = (
        Image.radial_gradient("L")
        .resize((width * 2, height * 2))
        .crop((width // 2, height // 2, width * 3 // 2, height * 3 // 2))
    )
    dark = tuple(round(channel * 0.62) for channel in NIGHT)
    return Image.composite(Image.new("RGB", (width, height), dark), Image.new("RGB", (width, height), NIGHT), light)


def _shadow(image: Image.Image, centre: tuple[float, float], radius: float) -> Image.Image:
    mask = Image.new("L", image.size)
    _disc(ImageDraw.Draw(mask), (centre[0] + radius * 0.05, centre[1] + radius * 0.09), radius, 150)
    mask = mask.filter(ImageFilter.GaussianBlur(radius * 0.06))
    return Image.composite(Image.new("RGB", image.size, (12, 18, 21)), image, mask)


def _disc(
    draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, fill: tuple[int, int, int] | int
) -> None:
    x, y = centre
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill)


def _ray(
    draw: ImageDraw.ImageDraw, centre: tuple[float, float], turn: float, reach: tuple[float, float], thickness: float
) -> None:
    angle = turn * math.tau - math.pi / 2
    along, across = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
    corners = [
        (
            centre[0] + along[0] * distance + across[0] * thickness / 2 * side,
            centre[1] + along[1] * distance + across[1] * thickness / 2 * side,
        )
        for distance, side in ((reach[0], -1), (reach[1], -1), (reach[1], 1), (reach[0], 1))
    ]
    draw.polygon(corners, INK)
