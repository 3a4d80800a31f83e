"""The sample images, for visitors without a photograph of their own."""

from pathlib import Path
from typing import NamedTuple

from flask import Flask
from werkzeug.datastructures import FileStorage

from images import uploads
from openapi.operation import Text
from problems import Problem

_HERE = Path(__file__).resolve().parents[1]
# Next to the application in its container, at the root of a checkout.
FOLDERS = (_HERE / "examples", _HERE.parent / "examples")
PREFIX = "samples/"


SAMPLE = Text(
    "sample", "query", "a sample image of the page, to classify in place of a file", "espresso", r"[a-z\d-]{1,60}"
)


class Sample(NamedTuple):
    """A sample image: its id, what it is called, and the names of its files among the assets."""

    id: str
    name: str
    file: str
    thumbnail: str


def folder() -> Path:
    """Return where the images are; that folder may be missing."""
    return next((each for each in FOLDERS if each.is_dir()), FOLDERS[0])


def install(app: Flask) -> None:
    """Let the templates name the images: `samples`."""
    app.jinja_env.globals["samples"] = [
        Sample(image.stem, image.stem.replace("-", " "), f"{PREFIX}{image.name}", f"thumbnails/{image.stem}.webp")
        for image in sorted(folder().glob("*.jpg"))
    ]


def file_of(name: str) -> FileStorage:
    """Return a sample image by its id, as if it were sent; raise Problem where there is none."""
    path = folder() / f"{name}.jpg"
    if not path.is_file():
        raise Problem(404, "picture_unknown", f"There is no sample image {name!r}.")
    return uploads.as_file(path.read_bytes())
