"""From pixels to what the network takes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

MEAN, STD = 127.0, 128.0


def normalise(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Return (height, width, 3) pixels as (3, height, width), each as (pixel - 127) / 128."""
    return np.ascontiguousarray(((pixels.astype(np.float32) - MEAN) / STD).transpose(2, 0, 1))
