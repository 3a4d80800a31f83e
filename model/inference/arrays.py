"""The array types of model/."""

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]  # height, width, RGB; the engine knows what the model wants instead
Batch = npt.NDArray[np.uint8]  # count, height, width, RGB
Scores = npt.NDArray[np.float32]  # count, classes: probabilities

Floats = npt.NDArray[np.float32]  # features and logits: one row for each image
Doubles = npt.NDArray[np.float64]  # what is summed and solved
Classes = npt.NDArray[np.int64]  # one index into the labels for each image
Flags = npt.NDArray[np.bool_]
