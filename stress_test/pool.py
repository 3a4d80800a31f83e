"""The images that are sent: distinct ones of three sizes, made by code, or those of a folder.

What each of the made ones shows is known, so a wrong answer is seen. Every upload can be made a file of its own: it
then costs what a stranger's photograph costs, where one file again and again would measure a cache.
"""

import csv
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from sightline_testing import sample_images
from sightline_testing.drawings import drawing
from stress_test.weights import Weights, choose

LABELS_FILE = "labels.csv"
MEDIA_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
OTHER = "other"


@dataclass(frozen=True)
class Size:
    """Images of one size: how many, the longer side, the camera's grain, and the quality of the JPEG."""

    name: str
    count: int
    longer_side: int
    grain: float
    quality: int


# A list's preview, a photograph from the web (about 100 KB), and one from a phone (12 megapixels, a few MB).
SIZES = (
    Size("thumbnail", 24, 160, 0.0, 85),
    Size("photograph", 64, 1024, 0.06, 82),
    Size("phone", 8, 4032, 0.07, 88),
)
GRAIN_SIGMA = 60


@dataclass(frozen=True)
class Upload:
    """A file to upload, its size, and its label, if that is known."""

    name: str
    content: bytes
    size: str
    label: str | None

    @property
    def media_type(self) -> str:
        """Return what the browser would call it."""
        return MEDIA_TYPES[Path(self.name).suffix.lower()]


class Pool:
    """Images to draw from, and what makes each upload a new file."""

    def __init__(self, found: list[Upload], sizes: Weights, repeats: float) -> None:
        self._of_size: dict[str, list[Upload]] = {}
        for image in found:
            self._of_size.setdefault(image.size, []).append(image)
        self._sizes = {name: sizes.get(name, 1.0) for name in self._of_size}
        self._repeats = repeats
        self._numbers = itertools.count(random.getrandbits(48))
        # What a user with one file sends: a photograph, where there is one.
        self.first = next((image for image in found if image.size == "photograph"), found[0])

    def next(self) -> tuple[Upload, bytes]:
        """Return an image and the bytes to send: those of a file that was never sent, unless it is a repeat's turn."""
        image = random.choice(self._of_size[choose(self._sizes)])
        if random.random() < self._repeats:
            return image, image.content
        return image, as_another_file(image.content, next(self._numbers))


def as_another_file(content: bytes, number: int) -> bytes:
    """Return the same image in other bytes, by a comment at the front of the JPEG; other formats stay as they are."""
    if not content.startswith(b"\xff\xd8"):
        return content
    comment = b"%016x" % number
    return content[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + content[2:]


def read(folder: Path) -> list[Upload]:
    """Read a folder's images, and their labels from its labels.csv (file,size,label), if there is one."""
    rows = {}
    if (folder / LABELS_FILE).exists():
        with (folder / LABELS_FILE).open(encoding="utf-8", newline="") as file:
            rows = {row["file"]: row for row in csv.DictReader(file)}
    found = [
        Upload(
            path.name,
            path.read_bytes(),
            rows.get(path.name, {}).get("size") or OTHER,
            rows.get(path.name, {}).get("label") or None,
        )
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in MEDIA_TYPES
    ]
    if not found:
        raise FileNotFoundError(f"{folder} holds no images ({', '.join(MEDIA_TYPES)}); name another folder")
    return found


def make(folder: Path, sizes: tuple[Size, ...] = SIZES) -> None:
    """Make the images once; labels.csv is written last and marks the folder as complete."""
    if (folder / LABELS_FILE).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for size in sizes:
        for number, (label, source) in zip(range(size.count), _sources(), strict=False):
            name = f"{size.name}-{number:02}.jpg"
            (folder / name).write_bytes(_photographed(source(), size, number))
            rows.append((name, size.name, label))
    with (folder / LABELS_FILE).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file", "size", "label"), *rows])


def _sources() -> Iterator[tuple[str, Callable[[], Image.Image]]]:
    """Four things in turn that the default model knows for certain, each time another image of it."""
    for seed in itertools.count(1):
        yield sample_images.SCENE_LABEL, lambda seed=seed: sample_images.scene(seed=seed)  # type: ignore[misc]
        yield "pinwheel", lambda seed=seed: drawing("pinwheel", seed)  # type: ignore[misc]
        yield sample_images.PHOTOGRAPH_LABEL, lambda seed=seed: _part_of_photograph(seed)  # type: ignore[misc]
        yield "crossword_puzzle", lambda seed=seed: drawing("crossword_puzzle", seed)  # type: ignore[misc]


def _part_of_photograph(seed: int) -> Image.Image:
    whole, cut = sample_images.photograph().convert("RGB"), seed % 12
    return whole.crop((cut * 4, cut * 3, whole.width - cut * 2, whole.height - cut * 5))


def _photographed(source: Image.Image, size: Size, seed: int) -> bytes:
    """Return the image at this size; enlarged ones get a sensor's grain, without which they would be small files."""
    scale = size.longer_side / max(source.size)
    image = source.convert("RGB").resize(
        (round(source.width * scale), round(source.height * scale)), Image.Resampling.BICUBIC
    )
    if size.grain:
        grain = Image.effect_noise(image.size, GRAIN_SIGMA)
        image = Image.blend(image, Image.merge("RGB", [grain] * 3), size.grain)
    return sample_images.encode(image, "JPEG", quality=size.quality - seed % 3)
