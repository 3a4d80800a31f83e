"""Real photographs for benchmarks/own/learning.py, which were chosen after the constants of the fit.

Crops of those that scikit-image carries, the faces and digits that scikit-image and scikit-learn carry, and cut-out
photographs of Tux Paint's stamps before other photographs.
"""

import csv
import gzip
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.own.learning_images import SIDE, Numbers, lit
from inference.arrays import Pixels

CROPPED = ("brick", "grass", "gravel", "coins", "page", "text", "moon", "ihc", "retina", "cell", "hubble_deep_field")
STAMPS = {
    "flowers": "plants/flowers", "fruit": "food/fruit", "insects": "animals/insects", "road_signs": "town/roadsigns",
    "cattle": "animals/mammals/bovines", "instruments": "hobbies/music", "money": "symbols/money",
    "trees": "plants/trees",
}  # fmt: skip


def real(packages: Path, stamps: Path, behind: Sequence[Pixels]) -> dict[str, Callable[[int, bool], Pixels]]:
    """Return for each real class what makes image number `seed` of it, of material for reports or for the judged ones.

    `packages` holds skimage/data and sklearn/datasets, `stamps` Tux Paint's stamps, `behind` photographs.
    """
    data = packages / "skimage" / "data"
    found: dict[str, Callable[[int, bool], Pixels]] = {
        name: _cropping(next(data.glob(f"{name}.*")), at) for at, name in enumerate(CROPPED)
    }
    found["face"] = _tiles(np.load(data / "lfw_subset.npy")[:100] * 255, 50)
    with gzip.open(packages / "sklearn" / "datasets" / "data" / "digits.csv.gz", "rt") as file:
        digits = np.array(list(csv.reader(file)), float)
    for digit in range(10):
        found[f"digit_{digit}"] = _tiles(digits[digits[:, -1] == digit][:, :-1].reshape(-1, 8, 8) * 15.9, 60 + digit)
    for at, (name, folder) in enumerate(STAMPS.items()):
        found[name] = _pasting(sorted((stamps / folder).rglob("*.png")), behind, 80 + at)
    return found


def _cropping(path: Path, number: int) -> Callable[[int, bool], Pixels]:
    """Crops of the left half for reports, of the right half for the judged ones."""
    whole = cv2.cvtColor(np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB)
    half = whole.shape[1] // 2

    def make(seed: int, judged: bool) -> Pixels:
        draw = np.random.default_rng((12, number, seed, judged))
        part = whole[:, half:] if judged else whole[:, :half]
        side = int(min(part.shape[:2]) * draw.uniform(0.5, 0.95))
        y, x = (int(draw.integers(0, length - side + 1)) for length in part.shape[:2])
        crop = cv2.resize(part[y : y + side, x : x + side], (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        return lit(draw, crop)

    return make


def _tiles(images: Numbers, number: int) -> Callable[[int, bool], Pixels]:
    def make(seed: int, judged: bool) -> Pixels:
        draw = np.random.default_rng((13, number, seed, judged))
        half = len(images) // 2
        one = images[half + seed % half if judged else seed % half]
        large = cv2.resize(one.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        return lit(draw, np.repeat(large[:, :, None], 3, axis=2))

    return make


def _pasting(paths: Sequence[Path], behind: Sequence[Pixels], number: int) -> Callable[[int, bool], Pixels]:
    """Cut-outs before photographs; every other one is for reports."""
    stamps = [stamp for path in paths if (stamp := _cut_out(path)) is not None]

    def make(seed: int, judged: bool) -> Pixels:
        draw = np.random.default_rng((14, number, seed, judged))
        stamp = stamps[int(judged) :: 2][int(draw.integers(len(stamps) // 2))]
        scale = draw.uniform(110, 200) / max(stamp.shape[:2])
        small = cv2.resize(stamp, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        image = behind[int(draw.integers(len(behind)))].copy()
        y, x = (int(draw.integers(0, SIDE - length + 1)) for length in small.shape[:2])
        place = image[y : y + small.shape[0], x : x + small.shape[1]]
        alpha = small[:, :, 3:] / 255
        place[:] = small[:, :, 2::-1] * alpha + place * (1 - alpha)
        return lit(draw, image)

    return make


def _cut_out(path: Path) -> Numbers | None:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return image if image is not None and image.ndim == 3 and image.shape[2] == 4 and image.dtype == np.uint8 else None
