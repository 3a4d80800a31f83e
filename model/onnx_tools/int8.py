"""A network in int8: pairs of QuantizeLinear and DequantizeLinear before its layers, their weights by output channel.

Every layer with constant weights (Conv, Gemm, MatMul) then computes in integers, and so do the sums between them; what
else there is stays as it is. Where all neighbours have such a pair, OpenVINO and ONNX Runtime both compute in integers
from the pixels to the classifier. The integers are right on every processor.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from onnx import NodeProto

from inference.arrays import Doubles, Floats
from inference.errors import HeadError, ImportRefusedError
from onnx_tools.graph import Graph, GraphBuilder, attribute

MIN_OPSET = 13  # the first with a scale for each channel
MIN_RANGE = 1e-6
WEIGHT_MAX = 127
STEPS = 255

# Processors without VNNI multiply unsigned activations by signed weights and add the two neighbouring products in 16
# bits, which clip without a word at 32767: 255 * (w0 + w1) fits when the weights of a pair come to at most 128.
# Unbounded, every ninth photograph gets another class there; with the bound none does, and the loss is not measurable.
# One less than 128, because rounding may add a half to each.
PAIR_MAX = 127

# A bias and the sum of products must fit 32 bits together, which stays below 2**26 in the default network.
BIAS_MAX = 2.0**30

# For a channel of zeros, so that nothing is divided by zero.
MIN_SCALE = 1e-12

Ranges = Mapping[str, tuple[float, float]]  # the lowest and the highest value of a tensor


class Quantisation(NamedTuple):
    """The unsigned 8-bit values of a tensor: real value = (integer - zero_point) * scale."""

    scale: np.float32
    zero_point: np.uint8


class Integers(NamedTuple):
    """Weights and biases of one layer as integers, with a scale for each output channel."""

    weights: npt.NDArray[np.int8]
    weight_scales: Floats
    biases: npt.NDArray[np.int32]
    bias_scales: Floats


class Layer(NamedTuple):
    """A node whose weights are constant, output channels first."""

    node: NodeProto
    weights: Floats
    is_transposed: bool  # in the graph its output channels stand last


def quantisation(low: float, high: float) -> Quantisation:
    """Return the quantisation that covers `low` to `high` and holds zero exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / STEPS
    return Quantisation(np.float32(scale), np.uint8(round(-low / scale)))


def quantise(weights: Floats, biases: Floats, inputs: Quantisation, pairs: Doubles | None) -> Integers:
    """Return the integers of a layer whose inputs are quantised as `inputs`.

    `pairs` holds the largest sum of two weights that a processor may add up, for each output channel; None where it
    never adds two.
    """
    flat, real = weights.reshape(len(weights), -1).astype(np.float64), biases.astype(np.float64)
    scales = np.abs(flat).max(axis=1) / WEIGHT_MAX
    if pairs is not None:
        scales = np.maximum(scales, pairs / PAIR_MAX)
    scales = np.maximum(scales, np.abs(real) / (float(inputs.scale) * BIAS_MAX))
    scales = np.maximum(scales, MIN_SCALE).astype(np.float32)
    rounded = np.clip(np.rint(flat / scales[:, None].astype(np.float64)), -WEIGHT_MAX, WEIGHT_MAX)
    bias_scales = scales * inputs.scale
    return Integers(
        rounded.astype(np.int8).reshape(weights.shape),
        scales,
        np.rint(real / bias_scales.astype(np.float64)).astype(np.int32),
        bias_scales,
    )


def neighbouring_pairs(weights: Floats) -> Doubles:
    """Return, for each output channel, the largest sum of one sign of input channels 0 and 1, 2 and 3, ...

    That is how the engines lay out a 1x1 convolution and a matrix product.
    """
    largest: Doubles = np.maximum(*((part[:, ::2] + part[:, 1::2]).max(axis=1) for part in _signs(weights)))
    return largest


def any_pairs(weights: Floats) -> Doubles:
    """Return, for each output channel, the largest sum of one sign of any two weights: right for every layout."""
    largest: Doubles = np.maximum(*(np.sort(part, axis=1)[:, -2:].sum(axis=1) for part in _signs(weights)))
    return largest


def _signs(weights: Floats) -> tuple[Doubles, Doubles]:
    flat = weights.reshape(len(weights), -1).astype(np.float64)
    return np.maximum(flat, 0), np.maximum(-flat, 0)


def measured_tensors(graph: Graph) -> list[str]:
    """Return the tensors whose ranges have to be known: what goes into a layer, or into the sum of two of them."""
    names = dict.fromkeys(layer.node.input[0] for layer in _layers(graph))
    for node in graph.nodes:
        if node.op_type == "Add" and all(name in graph.makers and not graph.is_constant(name) for name in node.input):
            names |= dict.fromkeys(node.input)
    return list(names)


def check_can_be_quantised(graph: Graph, opset: int, *, is_quantised: bool) -> None:
    """Raise ImportRefusedError where there is no int8 version of this graph."""
    if is_quantised:
        raise ImportRefusedError("the graph computes in integers already: import it without --quantize")
    if opset < MIN_OPSET:
        raise ImportRefusedError(
            f"the graph is of opset {opset}; int8 weights by channel need {MIN_OPSET}: "
            "export it again with opset_version=17, or import it without --quantize"
        )
    if not _layers(graph):
        raise ImportRefusedError(
            "the graph has no Conv, Gemm or MatMul with constant weights that are stored in it: "
            "nothing of it could compute in int8; import it without --quantize"
        )


def int8_graph(graph: Graph, ranges: Ranges) -> bytes:
    """Return the network in int8, for tensors with these lowest and highest values."""
    return _Writer(graph, {name: _widened(*ranges[name]) for name in ranges}).written()


class _Writer:
    """Collects the nodes of the int8 graph in the order in which they are computed.

    What a node computes of a tensor that has a range is called `<tensor>.exact`; the dequantised values take its name.
    """

    def __init__(self, graph: Graph, ranges: Ranges) -> None:
        self._graph, self._ranges = graph, ranges
        self._layers = {id(layer.node): layer for layer in _layers(graph)}
        self._quantisations = {name: quantisation(*ends) for name, ends in ranges.items()}
        self._uses = Counter(name for node in graph.nodes for name in node.input)
        self._clipped = {node.input[0]: node.output[0] for node in graph.nodes if self._is_redundant(node)}
        self._pixels = {name: graph.fresh("pixels") for name in ranges if name not in graph.makers}
        self._builder = GraphBuilder()

    def written(self) -> bytes:
        for image, pixels in self._pixels.items():
            self._quantise(image, pixels, self._quantisations[image])
        for node in self._graph.nodes:
            if node.op_type != "Clip" or node.input[0] not in self._clipped:
                self._add(node)
        return self._graph.replaced(self._builder.nodes, self._graph.constants | self._builder.constants)

    def _add(self, node: NodeProto) -> None:
        layer, new = self._layers.get(id(node)), NodeProto()
        new.CopyFrom(node)
        new.input[:] = [self._pixels.get(name, name) for name in node.input]
        if layer:
            new.input[1 : 3 if len(node.input) > 2 else 2] = self._integers(layer)
        names = [self._clipped.get(name, name) for name in node.output]
        new.output[:] = [f"{name}.exact" if name in self._quantisations else name for name in names]
        new.name = new.output[0] if node.name == node.output[0] else node.name
        self._builder.nodes.append(new)
        for name in names:
            if name in self._quantisations:
                self._quantise(f"{name}.exact", name, self._quantisations[name])

    def _is_redundant(self, node: NodeProto) -> bool:
        """Return whether a Clip changes nothing, since the quantisation of its output ends where it clips or before."""
        if node.op_type != "Clip" or len(node.input) != 3 or node.output[0] not in self._ranges:
            return False
        source, *bounds = node.input
        if source not in self._graph.makers or source in (*self._ranges, self._graph.output) or self._uses[source] > 1:
            return False
        if not all(map(self._graph.is_constant, bounds)):
            return False
        (low, high), (lowest, highest) = self._ranges[node.output[0]], map(self._graph.value, bounds)
        return bool(lowest <= min(low, 0) and max(high, 0) <= highest)  # zero is always in range

    def _quantise(self, exact: str, name: str, own: Quantisation) -> None:
        builder = self._builder
        parameters = [builder.constant(f"{name}.step", own.scale), builder.constant(f"{name}.zero", own.zero_point)]
        integers = builder.node("QuantizeLinear", [exact, *parameters], f"{name}.integers")
        builder.node("DequantizeLinear", [integers, *parameters], name)

    def _integers(self, layer: Layer) -> list[str]:
        """Add the layer's weights, and its biases where they are constant, as integers; return their names."""
        names = layer.node.input
        biases = _biases(self._graph, layer)
        real = np.zeros(len(layer.weights), np.float32) if biases is None else biases
        found = quantise(layer.weights, real, self._quantisations[names[0]], _pairs(layer))
        weights = found.weights.T if layer.is_transposed else found.weights
        made = [self._dequantised(layer, names[1], weights, found.weight_scales, int(layer.is_transposed))]
        if biases is not None:
            return [*made, self._dequantised(layer, names[2], found.biases, found.bias_scales, 0)]
        return [*made, *names[2:]]

    def _dequantised(self, layer: Layer, constant: str, integers: npt.NDArray[Any], scales: Floats, axis: int) -> str:
        name = constant if self._uses[constant] == 1 else f"{layer.node.output[0]}.{constant}"
        builder = self._builder
        inputs = [
            builder.constant(f"{name}.integers", integers),
            builder.constant(f"{name}.steps", scales),
            builder.constant(f"{name}.zeros", np.zeros(len(scales), integers.dtype)),
        ]
        return builder.node("DequantizeLinear", inputs, name, axis=axis)


def _layers(graph: Graph) -> list[Layer]:
    return [layer for node in graph.nodes if (layer := _layer(graph, node)) is not None]


def _layer(graph: Graph, node: NodeProto) -> Layer | None:
    if node.op_type not in ("Conv", "Gemm", "MatMul") or len(node.input) < 2 or _is_scaled(node):
        return None
    if node.input[1] not in graph.constants or graph.is_constant(node.input[0]):
        return None
    try:
        weights = graph.value(node.input[1])
    except HeadError:
        return None  # stored in another way: it stays as it is
    if weights.dtype != np.float32 or weights.ndim != (4 if node.op_type == "Conv" else 2):
        return None
    is_transposed = node.op_type == "MatMul" or (node.op_type == "Gemm" and not attribute(node, "transB", 0))
    return Layer(node, weights.T if is_transposed else weights, is_transposed)


def _is_scaled(node: NodeProto) -> bool:
    """Return whether a Gemm does more than multiply by its weights and add its biases."""
    own = {"transA": 0, "alpha": 1.0, "beta": 1.0}
    return node.op_type == "Gemm" and any(attribute(node, name, usual) != usual for name, usual in own.items())


def _biases(graph: Graph, layer: Layer) -> Floats | None:
    if len(layer.node.input) < 3 or layer.node.input[2] not in graph.constants:
        return None
    biases = graph.value(layer.node.input[2])
    return biases if biases.shape == (len(layer.weights),) and biases.dtype == np.float32 else None


def _pairs(layer: Layer) -> Doubles | None:
    """Return the largest sums of two weights that a processor may add; None where each channel has its own filter."""
    weights = layer.weights
    if weights.ndim == 4 and weights.shape[1] == 1 and attribute(layer.node, "group", 1) > 1:
        return None
    flat = weights.reshape(len(weights), -1)
    is_product = weights.ndim == 2 or weights.shape[2:] == (1, 1)
    return neighbouring_pairs(flat) if is_product and flat.shape[1] % 2 == 0 else any_pairs(flat)


def _widened(low: float, high: float) -> tuple[float, float]:
    """Return a range of some width, where all values were the same."""
    return low, max(high, low + MIN_RANGE, MIN_RANGE)
