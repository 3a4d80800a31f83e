"""Folds each batch norm into the convolution before it, so that the graph has convolutions only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from default_model.architecture import BATCH_NORM_EPSILON, CLASSES, FEATURES, Convolution, convolutions

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Parameters:
    """Weights (output channels first) and biases of one layer."""

    weights: Floats
    biases: Floats


@dataclass(frozen=True)
class Network:
    """Every number of the network: the convolutions by name, and the classifier."""

    convolutions: dict[str, Parameters]
    classifier: Parameters


def fold(tensors: Mapping[str, NDArray[Any]]) -> Network:
    """Return the network whose batch norms are folded away."""
    classifier = Parameters(tensors["_fc.weight"], tensors["_fc.bias"])
    if classifier.weights.shape != (CLASSES, FEATURES):
        raise ValueError(f"the classifier is {classifier.weights.shape}, expected {(CLASSES, FEATURES)}")
    return Network({layer.name: _fold(layer, tensors) for layer in convolutions()}, classifier)


def _fold(layer: Convolution, tensors: Mapping[str, NDArray[Any]]) -> Parameters:
    # In double precision, element by element and without sums: the same bits on every machine.
    gamma, beta, mean, variance = (
        tensors[f"{layer.norm}.{part}"].astype(np.float64) for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
    weights = tensors[f"{layer.weights}.weight"].astype(np.float64) * scale[:, None, None, None]
    return Parameters(weights.astype(np.float32), (beta - mean * scale).astype(np.float32))
