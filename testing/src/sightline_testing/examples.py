"""The images in `examples/` that are drawn by code; `python -m sightline_testing.examples` writes them again.

It also writes the small ones that the start page shows of all of them.
"""

from pathlib import Path

from PIL import Image, ImageOps

from sightline_testing.drawings import drawing
from sightline_testing.service import REPOSITORY
from sightline_testing.still_life import clock_on_a_wall

FOLDER = REPOSITORY / "examples"
THUMBNAILS = REPOSITORY / "api" / "assets" / "thumbnails"
THUMBNAIL_SIDE = 96
LONGEST_SIDE = 640
# Seeds that no test trains on. The default model has no class for bar charts.
BAR_CHARTS = range(4002, 4010)


def write(folder: Path = FOLDER) -> None:
    """Write the drawn images into a folder."""
    (folder / "bar-charts").mkdir(parents=True, exist_ok=True)
    _save(clock_on_a_wall(), folder / "clock.jpg")
    _save(drawing("pinwheel", 4002), folder / "pinwheel.jpg")
    _save(drawing("bar_chart", 4001), folder / "bar-chart.jpg")
    for number, seed in enumerate(BAR_CHARTS, start=1):
        _save(drawing("bar_chart", seed), folder / "bar-charts" / f"{number}.jpg")


def write_thumbnails(folder: Path = THUMBNAILS) -> None:
    """Write a small square of each image, for the start page, whose first load has to be small."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(FOLDER.glob("*.jpg")):
        with Image.open(path) as image:
            small = ImageOps.fit(image.convert("RGB"), (THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        small.save(folder / f"{path.stem}.webp", "WEBP", quality=60, method=6)


def _save(image: Image.Image, path: Path) -> None:
    image = image.convert("RGB")
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    image.save(path, "JPEG", quality=80, optimize=True)


if __name__ == "__main__":
    write()
    write_thumbnails()
