"""The sample images, for visitors without a photograph of their own."""

from pathlib import Path
from typing import NamedTuple

from flask import Flask

_HERE = Path(__file__).resolve().parents[1]
# Next to the application in its container, at the root of a checkout.
FOLDERS = (_HERE / "examples", _HERE.parent / "examples")
PREFIX = "samples/"


class Sample(NamedTuple):
    """A sample image: what it is called, and the names of its files among the assets."""

    name: str
    file: str
    thumbnail: str


def folder() -> Path:
    """Return where the images are; that folder may be missing."""
    return next((each for each in FOLDERS if each.is_dir()), FOLDERS[0])


def install(app: Flask) -> None:
    """Let the templates name the images: `samples`."""
    app.jinja_env.globals["samples"] = [
        Sample(image.stem.replace("-", " "), f"{PREFIX}{image.name}", f"thumbnails/{image.stem}.webp")
        for image in sorted(folder().glob("*.jpg"))
    ]
