"""The array types that inference speaks in."""

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]  # height, width, RGB; the engine knows what the model wants instead
Batch = npt.NDArray[np.uint8]  # count, height, width, RGB
Scores = npt.NDArray[np.float32]  # count, classes: probabilities
