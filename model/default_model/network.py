"""EfficientNet-Lite0: its convolutions in the order in which they are computed, and their parameters."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inference.arrays import Floats

INPUT_SIZE = 224
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
    def pads(self) -> list[int]:
        """TensorFlow's SAME padding as ONNX wants it: top, left, bottom, right; the odd one goes to the end."""
        outputs = -(-self.size // self.stride)
        both = max((outputs - 1) * self.stride + self.kernel - self.size, 0)
        before = both // 2
        return [before, before, both - before, both - before]


@dataclass(frozen=True)
class Stage:
    """A run of inverted-residual blocks; the stride is that of the first."""

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


def convolutions() -> tuple[Convolution, ...]:
    """Return every convolution of the network, the stem first, the head (`feature_map`) last."""
    stem = Convolution("stem", "image", "_conv_stem", "_bn0", INPUT_SIZE, relu6=True, kernel=3, stride=2)
    body = list(_blocks(stem))
    last = body[-1]
    size = last.size // last.stride
    head = Convolution("feature_map", last.result, "_conv_head", "_bn1", size, relu6=True)
    return (stem, *body, head)


def _blocks(stem: Convolution) -> Iterator[Convolution]:
    source, size, channels, index = stem.name, INPUT_SIZE // stem.stride, STEM_CHANNELS, 0
    for stage in STAGES:
        for position in range(stage.blocks):
            block = Block(index, source, size, channels, stage, stage.stride if position == 0 else 1)
            yield from block.layers()
            source, size, channels, index = block.result, size // block.stride, stage.channels, index + 1


@dataclass(frozen=True)
class Block:
    """An inverted residual: widen (where the stage says so), filter each channel, narrow, add what came in."""

    index: int
    source: str
    size: int
    channels: int
    stage: Stage
    stride: int

    @property
    def name(self) -> str:
        """Prefix of the names of its tensors."""
        return f"block{self.index}"

    @property
    def residual(self) -> bool:
        """Whether what came in can be added to the result."""
        return self.stride == 1 and self.channels == self.stage.channels

    @property
    def result(self) -> str:
        """Name of the tensor that the next block reads."""
        return self.layers()[-1].result

    def layers(self) -> list[Convolution]:
        """Return the two or three convolutions of the block."""
        expand = [self._expand()] if self.stage.expansion > 1 else []
        depthwise = self._depthwise(expand[0].name if expand else self.source)
        return [*expand, depthwise, self._project(depthwise.name)]

    def _expand(self) -> Convolution:
        return self._layer("expand", "_bn0", self.source, self.size, relu6=True)

    def _depthwise(self, source: str) -> Convolution:
        layer = self._layer("depthwise", "_bn1", source, self.size, relu6=True)
        groups = self.channels * self.stage.expansion
        return replace(layer, kernel=self.stage.kernel, stride=self.stride, groups=groups)

    def _project(self, source: str) -> Convolution:
        layer = self._layer("project", "_bn2", source, self.size // self.stride, relu6=False)
        return replace(layer, adds=self.source, total=f"{self.name}.sum") if self.residual else layer

    def _layer(self, kind: str, norm: str, source: str, size: int, *, relu6: bool) -> Convolution:
        weights = f"_blocks.{self.index}"
        return Convolution(
            f"{self.name}.{kind}", source, f"{weights}._{kind}_conv", f"{weights}.{norm}", size, relu6=relu6
        )


class Parameters(NamedTuple):
    """Weights (output channels first) and biases of one layer."""

    weights: Floats
    biases: Floats


class Network(NamedTuple):
    """Every number of the network: the convolutions by name, and the classifier."""

    convolutions: dict[str, Parameters]
    classifier: Parameters


def fold(tensors: Mapping[str, NDArray[Any]]) -> Network:
    """Return the network of a checkpoint, each batch norm folded into the convolution before it."""
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
