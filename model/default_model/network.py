"""A network of the family: its convolutions in the order in which they are computed, and their parameters."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from default_model.variants import Variant
from inference.arrays import Floats

FEATURES = 1280
CLASSES = 1000
BATCH_NORM_EPSILON = 1e-3
RELU6_MAX = 6.0


@dataclass(frozen=True)
class Convolution:
    """A convolution with its batch norm, and what follows it.

    `weights` and `norm` are prefixes of the checkpoint's names. `source` is the tensor it reads, `name` the one it
    makes; where `adds` is set, that tensor is added to the result, which is then called `total`.
    """

    name: str
    source: str
    weights: str
    norm: str
    size: int
    relu6: bool
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    adds: str = ""
    total: str = ""

    @property
    def result(self) -> str:
        """Name of the tensor that the next layer reads."""
        return self.total or self.name

    @property
    def output_size(self) -> int:
        """Height and width of the result."""
        return -(-self.size // self.stride)

    @property
    def pads(self) -> list[int]:
        """TensorFlow's SAME padding in the order of ONNX: top, left, bottom, right; the odd one goes to the end."""
        both = max((self.output_size - 1) * self.stride + self.kernel - self.size, 0)
        before = both // 2
        return [before, before, both - before, both - before]


@dataclass(frozen=True)
class Stage:
    """A run of inverted-residual blocks of Lite0; the stride is that of the first."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STEM_CHANNELS = 32
STAGES = (
    Stage(blocks=1, kernel=3, stride=1, expansion=1, channels=16),
    Stage(blocks=2, kernel=3, stride=2, expansion=6, channels=24),
    Stage(blocks=2, kernel=5, stride=2, expansion=6, channels=40),
    Stage(blocks=3, kernel=3, stride=2, expansion=6, channels=80),
    Stage(blocks=3, kernel=5, stride=1, expansion=6, channels=112),
    Stage(blocks=4, kernel=5, stride=2, expansion=6, channels=192),
    Stage(blocks=1, kernel=3, stride=1, expansion=6, channels=320),
)


def convolutions(variant: Variant) -> tuple[Convolution, ...]:
    """Return every convolution of the network, the stem first, the head (`feature_map`) last."""
    layers = [Convolution("stem", "image", "_conv_stem", "_bn0", variant.input_size, relu6=True, kernel=3, stride=2)]
    channels, index = STEM_CHANNELS, 0
    for stage in scaled_stages(variant):
        for position in range(stage.blocks):
            layers += _block(index, layers[-1], channels, stage, stage.stride if position == 0 else 1)
            channels, index = stage.channels, index + 1
    last = layers[-1]
    head = Convolution("feature_map", last.result, "_conv_head", "_bn1", last.output_size, relu6=True)
    return (*layers, head)


def scaled_stages(variant: Variant) -> tuple[Stage, ...]:
    """Return the stages of the network; the first and the last keep their number of blocks."""
    first, *middle, last = [replace(stage, channels=_scaled(stage.channels, variant.width)) for stage in STAGES]
    deeper = [replace(stage, blocks=math.ceil(stage.blocks * variant.depth)) for stage in middle]
    return (first, *deeper, last)


def _scaled(channels: int, width: float) -> int:
    """Return the nearest multiple of 8, or the next one where that would take away more than a tenth."""
    wanted = channels * width
    nearest = max(8, int(wanted + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * wanted else nearest


def _block(index: int, before: Convolution, channels: int, stage: Stage, stride: int) -> list[Convolution]:
    """Return an inverted residual: widen (if the stage does), filter each channel, narrow, add what came in."""
    name, weights = f"block{index}", f"_blocks.{index}"

    def layer(kind: str, norm: str, source: str, size: int, *, relu6: bool) -> Convolution:
        return Convolution(f"{name}.{kind}", source, f"{weights}._{kind}_conv", f"{weights}.{norm}", size, relu6=relu6)

    source, size = before.result, before.output_size
    expand = [layer("expand", "_bn0", source, size, relu6=True)] if stage.expansion > 1 else []
    depthwise = replace(
        layer("depthwise", "_bn1", expand[0].name if expand else source, size, relu6=True),
        kernel=stage.kernel,
        stride=stride,
        groups=channels * stage.expansion,
    )
    project = layer("project", "_bn2", depthwise.name, depthwise.output_size, relu6=False)
    if stride == 1 and channels == stage.channels:
        project = replace(project, adds=source, total=f"{name}.sum")
    return [*expand, depthwise, project]


class Parameters(NamedTuple):
    """Weights (output channels first) and biases of one layer."""

    weights: Floats
    biases: Floats


class Network(NamedTuple):
    """Every number of a network: the convolutions by name, and the classifier."""

    variant: Variant
    convolutions: dict[str, Parameters]
    classifier: Parameters


def fold(tensors: Mapping[str, NDArray[Any]], variant: Variant) -> Network:
    """Return the network of a checkpoint, each batch norm folded into the convolution before it."""
    classifier = Parameters(tensors["_fc.weight"], tensors["_fc.bias"])
    if classifier.weights.shape != (CLASSES, FEATURES):
        raise ValueError(f"the classifier is {classifier.weights.shape}, expected {(CLASSES, FEATURES)}")
    return Network(variant, {layer.name: _fold(layer, tensors) for layer in convolutions(variant)}, classifier)


def _fold(layer: Convolution, tensors: Mapping[str, NDArray[Any]]) -> Parameters:
    # In double precision, element by element and without sums: the same bits on every machine.
    gamma, beta, mean, variance = (
        tensors[f"{layer.norm}.{part}"].astype(np.float64) for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
    weights = tensors[f"{layer.weights}.weight"].astype(np.float64) * scale[:, None, None, None]
    return Parameters(weights.astype(np.float32), (beta - mean * scale).astype(np.float32))
