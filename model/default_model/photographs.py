"""Labelled photographs for calibration and accuracy, prepared as a reference would do it. Development only."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from default_model.architecture import INPUT_SIZE
from default_model.pixels import normalise

CROP_RATIO = 0.875


@dataclass(frozen=True)
class Photographs:
    """Pictures as the network takes them, with the class of each."""

    images: NDArray[np.float32]
    classes: NDArray[np.int64]

    def half(self, which: int) -> "Photographs":
        """Return every other photograph, from number `which`."""
        return Photographs(self.images[which::2], self.classes[which::2])


def read_photographs(folder: Path) -> Photographs:
    """Read every `<wnid>_<words>.JPEG` of the folder, which also holds classes.csv, in the order of their names."""
    with (folder / "classes.csv").open(encoding="utf-8", newline="") as file:
        index = {row["wnid"]: int(row["index"]) for row in csv.DictReader(file)}
    paths = sorted(folder.glob("*.JPEG"))
    if not paths:
        raise SystemExit(f"{folder} holds no .JPEG")
    classes = [index[path.name.partition("_")[0]] for path in paths]
    return Photographs(np.stack([prepare(path) for path in paths]), np.array(classes))


def prepare(path: Path) -> NDArray[np.float32]:
    """Return a photograph as (3, 224, 224): centre square, bicubic, (pixel - 127) / 128."""
    with Image.open(path) as file:
        picture = ImageOps.exif_transpose(file).convert("RGB")
    side = min(picture.size) * CROP_RATIO
    left, top = ((length - side) / 2 for length in picture.size)
    box = (left, top, left + side, top + side)
    square = picture.resize((INPUT_SIZE, INPUT_SIZE), Image.Resampling.BICUBIC, box=box)
    return normalise(np.asarray(square))
