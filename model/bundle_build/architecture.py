"""EfficientNet-Lite0 as a list of convolutions, in the order in which they are computed."""

from collections.abc import Iterator
from dataclasses import dataclass

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
    kernel: int
    stride: int
    groups: int
    relu6: bool
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
    stem = Convolution("stem", "image", "_conv_stem", "_bn0", INPUT_SIZE, kernel=3, stride=2, groups=1, relu6=True)
    body = list(_blocks(stem))
    last = body[-1]
    size = last.size // last.stride
    head = Convolution("feature_map", last.result, "_conv_head", "_bn1", size, kernel=1, stride=1, groups=1, relu6=True)
    return (stem, *body, head)


def _blocks(stem: Convolution) -> Iterator[Convolution]:
    source, size, channels, index = stem.name, INPUT_SIZE // stem.stride, STEM_CHANNELS, 0
    for stage in STAGES:
        for position in range(stage.blocks):
            stride = stage.stride if position == 0 else 1
            layers = _block(index, source, size, channels, stride, stage)
            yield from layers
            source, size, channels, index = layers[-1].result, size // stride, stage.channels, index + 1


def _block(  # noqa: PLR0913 - a block is these six facts
    index: int, source: str, size: int, channels: int, stride: int, stage: Stage
) -> list[Convolution]:
    name, weights = f"block{index}", f"_blocks.{index}"
    wide = channels * stage.expansion
    adds = source if stride == 1 and channels == stage.channels else ""
    expand = Convolution(f"{name}.expand", source, f"{weights}._expand_conv", f"{weights}._bn0", size, 1, 1, 1, True)
    layers = [expand] if stage.expansion > 1 else []
    layers.append(
        Convolution(
            name=f"{name}.depthwise",
            source=layers[-1].name if layers else source,
            weights=f"{weights}._depthwise_conv",
            norm=f"{weights}._bn1",
            size=size,
            kernel=stage.kernel,
            stride=stride,
            groups=wide,
            relu6=True,
        )
    )
    layers.append(
        Convolution(
            name=f"{name}.project",
            source=layers[-1].name,
            weights=f"{weights}._project_conv",
            norm=f"{weights}._bn2",
            size=size // stride,
            kernel=1,
            stride=1,
            groups=1,
            relu6=False,
            adds=adds,
            total=f"{name}.sum" if adds else "",
        )
    )
    return layers
