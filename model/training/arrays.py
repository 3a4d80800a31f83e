"""The array types that learning speaks in."""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]  # features and logits: one row for each picture
Doubles = npt.NDArray[np.float64]  # what is summed and solved
Classes = npt.NDArray[np.int64]  # one index into the labels for each picture
Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[Any]
