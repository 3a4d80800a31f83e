"""From fp32 to 8 bits: grids for activations, integer weights that are right on every processor."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from default_model.folding import Floats, Parameters

WEIGHT_MAX = 127
STEPS = 255

# Processors without VNNI multiply unsigned activations by signed weights and add the two neighbouring products in 16
# bits, which clip without a word at 32767: 255 * (w0 + w1) fits when the weights of a pair come to at most 128.
# Unbounded, every ninth photograph gets another class there; with the bound none does, and the loss is not measurable.
# One less than 128, because rounding may add a half to each.
PAIR_MAX = 127

# A bias must fit 32 bits beside the sum of products, which stays below 2**26 in this network.
BIAS_MAX = 2.0**30

# Of a channel that is all zeros, so that nothing is divided by its step.
LEAST_STEP = 1e-12


@dataclass(frozen=True)
class Grid:
    """The unsigned 8-bit values of a tensor: real value = (integer - zero) * step."""

    step: np.float32
    zero: np.uint8


# An image arrives as (pixel - 127) / 128 of whole pixels: on this grid nothing of it is lost.
IMAGE_GRID = Grid(np.float32(1 / 128), np.uint8(127))


@dataclass(frozen=True)
class IntegerParameters:
    """Weights and biases of one layer as integers, with a step for each output channel."""

    weights: NDArray[np.int8]
    weight_steps: Floats
    biases: NDArray[np.int32]
    bias_steps: Floats


def grid(low: float, high: float) -> Grid:
    """Return the grid that covers `low` to `high` and holds zero exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / STEPS
    return Grid(np.float32(step), np.uint8(round(-low / step)))


def quantise(parameters: Parameters, inputs: Grid, pairs: NDArray[np.float64] | None) -> IntegerParameters:
    """Return the integers of a layer that reads values on the grid `inputs`.

    `pairs` holds the largest sum of two weights that a processor may add up, for each output channel; None where it
    never adds two.
    """
    flat = rows(parameters.weights)
    biases = parameters.biases.astype(np.float64)
    steps = np.abs(flat).max(axis=1) / WEIGHT_MAX
    if pairs is not None:
        steps = np.maximum(steps, pairs / PAIR_MAX)
    steps = np.maximum(steps, np.abs(biases) / (float(inputs.step) * BIAS_MAX))
    steps = np.maximum(steps, LEAST_STEP).astype(np.float32)
    weights = np.clip(np.rint(flat / steps[:, None].astype(np.float64)), -WEIGHT_MAX, WEIGHT_MAX)
    bias_steps = steps * inputs.step
    return IntegerParameters(
        weights.astype(np.int8).reshape(parameters.weights.shape),
        steps,
        np.rint(biases / bias_steps.astype(np.float64)).astype(np.int32),
        bias_steps,
    )


def neighbouring_pairs(weights: NDArray[Any]) -> NDArray[np.float64]:
    """Return, for each output channel, the largest sum of one sign of input channels 0 and 1, 2 and 3, ...

    That is how the engines lay out a 1x1 convolution and a matrix product.
    """
    positive, negative = _signs(weights)
    largest: NDArray[np.float64] = np.maximum(
        *((part[:, ::2] + part[:, 1::2]).max(axis=1) for part in (positive, negative))
    )
    return largest


def any_pairs(weights: NDArray[Any]) -> NDArray[np.float64]:
    """Return, for each output channel, the largest sum of one sign of any two weights: right for every layout."""
    positive, negative = _signs(weights)
    largest: NDArray[np.float64] = np.maximum(
        *(np.sort(part, axis=1)[:, -2:].sum(axis=1) for part in (positive, negative))
    )
    return largest


def rows(weights: NDArray[Any]) -> NDArray[np.float64]:
    """Return one row of weights for each output channel."""
    return weights.reshape(len(weights), -1).astype(np.float64)


def _signs(weights: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    flat = rows(weights)
    return np.maximum(flat, 0), np.maximum(-flat, 0)
