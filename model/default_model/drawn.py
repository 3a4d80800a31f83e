"""Three pictures made by whole numbers alone, the same on every machine; the network knows what each shows."""

import numpy as np
from numpy.typing import NDArray

from default_model.architecture import INPUT_SIZE

Pixels = NDArray[np.uint8]


def drawn_pictures() -> dict[str, Pixels]:
    """Return the pictures as (224, 224, 3) pixels, by the label that belongs to each."""
    down, right = np.mgrid[0:INPUT_SIZE, 0:INPUT_SIZE]
    return {"spider_web": _web(down, right), "window_screen": _grid(down, right), "radiator": _stripes(down, right)}


def _web(down: NDArray[np.int64], right: NDArray[np.int64]) -> Pixels:
    x, y = right - INPUT_SIZE // 2, down - INPUT_SIZE // 2
    threads = ((x * y) % 97 < 9) | ((x * x + y * y) % 1400 < 160)
    return _two_colours(threads, (235, 235, 235), (20, 30, 20))


def _grid(down: NDArray[np.int64], right: NDArray[np.int64]) -> Pixels:
    return _two_colours((right % 20 < 3) | (down % 20 < 3), (40, 40, 40), (200, 200, 190))


def _stripes(down: NDArray[np.int64], right: NDArray[np.int64]) -> Pixels:
    return _two_colours((right * 3 + down) // 14 % 2 == 1, (230, 230, 220), (30, 30, 20))


def _two_colours(where: NDArray[np.bool_], colour: tuple[int, int, int], ground: tuple[int, int, int]) -> Pixels:
    return np.where(where[..., None], colour, ground).astype(np.uint8)
