"""QR-like codes, barcodes and crossword grids: black and white squares and stripes."""

from random import Random

from PIL import Image, ImageFont

from sightline_testing.drawn.sheet import Sheet

QR_SMALLEST, QR_LARGEST = 1, 7
FINDER = 7


def qr_code(number: Random) -> Image.Image:
    """Three finder squares, an alignment square, timing rows and random modules; it holds no message."""
    sheet = Sheet(number, aspect=(0.8, 1.25), dark=0.05)
    version = number.randint(QR_SMALLEST, QR_LARGEST)
    count = 17 + 4 * version
    left, top, right, bottom = sheet.margins(0.04, 0.2)
    side = min(right - left, bottom - top)
    left, top = number.uniform(left, right - side), number.uniform(top, bottom - side)
    module, is_round = side / count, number.random() < 0.15
    density = number.uniform(0.42, 0.56)
    for row in range(count):
        for column in range(count):
            if _qr_is_dark(row, column, count, number.random() < density):
                box = (
                    left + column * module,
                    top + row * module,
                    left + (column + 1) * module,
                    top + (row + 1) * module,
                )
                (sheet.draw.ellipse if is_round else sheet.draw.rectangle)(box, fill=sheet.ink)
    if number.random() < 0.15:
        middle = (left + side / 2, top + side / 2)
        sheet.draw.circle(middle, side * 0.12, fill=sheet.palette(1)[0], outline=sheet.paper, width=sheet.pen * 2)
    if number.random() < 0.2:
        sheet.text((left, top + side * 1.02), 2, 0.05)
    return sheet.finished()


def _qr_is_dark(row: int, column: int, count: int, otherwise: bool) -> bool:
    for top, left in ((0, 0), (0, count - FINDER), (count - FINDER, 0)):
        inside = max(abs(row - top - 3), abs(column - left - 3))
        if inside <= 4:
            return inside not in (2, 4)
    if count > 21 and (inside := max(abs(row - count + 7), abs(column - count + 7))) <= 2:
        return inside != 1
    if FINDER - 1 in (row, column):
        return (row + column) % 2 == 0
    return otherwise


def barcode(number: Random) -> Image.Image:
    """Stripes of one to four units, digits below; upright or lying."""
    sheet = Sheet(number, aspect=(1.2, 2.2), dark=0.03)
    left, top, right, bottom = sheet.margins(0.04, 0.2)
    unit = (right - left) / number.choice((67, 84, 95, 113))
    x = left
    while x < right - 4 * unit:
        stripe, gap = number.choice((1, 1, 2, 3, 4)) * unit, number.choice((1, 1, 2, 3)) * unit
        sheet.draw.rectangle((x, top, x + stripe, bottom), fill=sheet.ink)
        x += stripe + gap
    if number.random() < 0.75:
        size = sheet.height * 0.07
        digits = "".join(str(number.randrange(10)) for _ in range(13))
        sheet.draw.rectangle((left + 3 * unit, bottom - size, right - 3 * unit, bottom), fill=sheet.paper)
        sheet.draw.text((left + 8 * unit, bottom - size), digits, sheet.ink, ImageFont.load_default(size))
    drawn = sheet.finished()
    return drawn.rotate(90, expand=True) if number.random() < 0.2 else drawn


def crossword(number: Random) -> Image.Image:
    """A grid of open and blocked squares, numbered, the one half a mirror of the other, a few letters filled in."""
    sheet = Sheet(number, aspect=(0.85, 1.2), dark=0.0)
    left, top, right, bottom = sheet.margins(0.03, 0.12)
    count = number.randint(9, 15)
    side = min(right - left, bottom - top) / count
    blocked = number.uniform(0.14, 0.24)
    dark = [number.random() < blocked for _ in range(count * count)]
    filled = number.choice((0.0, 0.0, 0.3, 0.8))
    entry = 0
    for index in range(count * count):
        row, column = divmod(index, count)
        box = (left + column * side, top + row * side, left + (column + 1) * side, top + (row + 1) * side)
        if dark[min(index, count * count - 1 - index)]:
            sheet.draw.rectangle(box, fill=sheet.ink)
            continue
        sheet.draw.rectangle(box, outline=sheet.ink, width=max(1, sheet.pen // 2))
        if number.random() < 0.35:
            entry += 1
            sheet.draw.text((box[0] + side * 0.08, box[1]), str(entry), sheet.ink, ImageFont.load_default(side * 0.32))
        if number.random() < filled:
            letter = number.choice("ABCDEFGHILMNOPRSTU")
            sheet.draw.text(
                (box[0] + side * 0.3, box[1] + side * 0.2), letter, sheet.ink, ImageFont.load_default(side * 0.7)
            )
    return sheet.finished()
