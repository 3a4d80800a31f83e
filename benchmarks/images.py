"""Make the images that the load consists of, once, into a cache folder; run in the peers' environment.

Every set is of distinct images. The sources are the labelled photographs where they are available, else images
drawn by code with a natural spectrum. Each is cropped again, scaled, and encoded at the quality that gives the size.
"""

import io
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from benchmarks import settings
from benchmarks.load import image_folder

SEED = 20
CODE_MADE_IMAGES = 32
LOWEST_QUALITY, HIGHEST_QUALITY = 20, 98


@dataclass(frozen=True)
class ImageSet:
    """How many images of which size; noise gives enlarged photographs the detail of a camera's."""

    name: str
    count: int
    longer_side: int
    size_bytes: int
    noise: float = 0.0


SETS = (
    ImageSet("photographs", 256, 500, 128_000),
    ImageSet("30-kb", 64, 320, 30_000),
    ImageSet("500-kb", 48, 1600, 500_000, noise=4),
    ImageSet("1500-kb", 24, 2400, 1_500_000, noise=6),
    ImageSet("12-megapixel", 16, 4000, 5_000_000, noise=7),
)


def make_sets() -> None:
    """Make every set that is not complete yet."""
    for wanted in SETS:
        folder = image_folder(wanted.name)
        if len(list(folder.glob("*.jpg"))) == wanted.count:
            continue
        print(f"Making {wanted.count} images of about {wanted.size_bytes // 1000} KB ...", flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        for index, content in enumerate(_make(wanted)):
            (folder / f"{index:03}.jpg").write_bytes(content)


def _make(wanted: ImageSet) -> Iterator[bytes]:
    chance = random.Random(SEED)
    sources = _sources()
    for index in range(wanted.count):
        image = _crop(sources[index % len(sources)], chance)
        image = _enlarge(image, wanted.longer_side)
        if wanted.noise:
            image = _add_noise(image, wanted.noise, index)
        yield _encode_to_size(image, wanted.size_bytes)


def _sources() -> list[Image.Image]:
    photographs = sorted(settings.IMAGENET_DIR.glob("*.JPEG"))
    if photographs:
        return [Image.open(path).convert("RGB") for path in photographs]
    return [draw(index) for index in range(CODE_MADE_IMAGES)]


def draw(seed: int, width: int = 500, height: int = 375) -> Image.Image:
    """Draw a colour image whose spectrum falls as that of photographs does (amplitude as 1/frequency)."""
    chance = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])
    frequency[0, 0] = 1
    channels = []
    for _ in range(3):
        phase = chance.uniform(0, 2 * np.pi, (height, width))
        plane = np.fft.ifft2(np.exp(1j * phase) / frequency).real
        channels.append(127 + 60 * plane / plane.std())
    pixels = np.clip(np.stack(channels, axis=2), 0, 255)
    return Image.fromarray(pixels.astype(np.uint8))


def _crop(image: Image.Image, chance: random.Random) -> Image.Image:
    kept = chance.uniform(0.88, 0.98)
    width, height = int(image.width * kept), int(image.height * kept)
    left, top = chance.randint(0, image.width - width), chance.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


def _enlarge(image: Image.Image, longer_side: int) -> Image.Image:
    scale = longer_side / max(image.size)
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)


def _add_noise(image: Image.Image, sigma: float, seed: int) -> Image.Image:
    grain = np.random.default_rng(seed).normal(0, sigma, (image.height, image.width, 1))
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def _encode_to_size(image: Image.Image, size_bytes: int) -> bytes:
    """Encode as baseline JPEG at the highest quality that does not exceed the size."""
    low, high = LOWEST_QUALITY, HIGHEST_QUALITY
    content = _encode(image, low)
    while low < high:
        middle = (low + high + 1) // 2
        candidate = _encode(image, middle)
        if len(candidate) <= size_bytes:
            low, content = middle, candidate
        else:
            high = middle - 1
    return content


def _encode(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


if __name__ == "__main__":
    make_sets()
