"""A network in int8: pairs of QuantizeLinear and DequantizeLinear before its layers, their weights by output channel.

Every layer with constant weights (Conv, Gemm, MatMul) computes in integers then, and so do the sums between them; what
else there is stays as it is. The arithmetic is that of the default network's int8 version: right on every processor.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from default_model.folding import Parameters
from default_model.quantising import Grid, any_pairs, grid, neighbouring_pairs, quantise
from inference.errors import HeadError, ImportRefusedError
from onnx_tools.facts import Facts
from onnx_tools.graph import GRAPH, INITIALIZER, INPUTS, NODE, Graph, Node, new_constant, new_node
from onnx_tools.protobuf import Message

OLDEST_OPSET = 13  # the first with a step for each channel
LEAST_RANGE = 1e-6
Ranges = Mapping[str, tuple[float, float]]
Weights = npt.NDArray[np.float32]


class Layer(NamedTuple):
    """A node whose weights are constant, output channels first."""

    node: Node
    weights: Weights
    is_turned: bool  # in the graph its output channels stand last


def layers_of(graph: Graph) -> list[Layer]:
    """What will compute in integers."""
    return [layer for node in graph.nodes if (layer := _layer(graph, node)) is not None]


def measured_tensors(graph: Graph) -> list[str]:
    """The tensors whose ranges have to be known: what goes into a layer, or into the sum of two of them."""
    names = dict.fromkeys(layer.node.inputs[0] for layer in layers_of(graph))
    for node in graph.nodes:
        if node.operation == "Add" and all(
            name in graph.makers and not _is_constant(graph, name) for name in node.inputs
        ):
            names |= dict.fromkeys(node.inputs)
    return list(names)


def check_can_be_quantised(facts: Facts, graph: Graph) -> None:
    """Refuse what has no int8 version that this makes."""
    if facts.is_quantised:
        raise ImportRefusedError("the graph computes in integers already: import it without --quantize")
    if facts.opset < OLDEST_OPSET:
        raise ImportRefusedError(
            f"the graph is of opset {facts.opset}; int8 weights by channel need {OLDEST_OPSET}: "
            "export it anew with opset_version=17, or import it without --quantize"
        )
    if not layers_of(graph):
        raise ImportRefusedError(
            "the graph has no Conv, Gemm or MatMul with constant weights that are stored in it: "
            "nothing of it could compute in int8; import it without --quantize"
        )


def int8_graph(graph: Graph, ranges: Ranges) -> bytes:
    """The network in int8, for tensors with these lowest and highest values."""
    writer = _Writer(graph, {name: grid(*_wide(*ranges[name])) for name in ranges})
    return writer.model(layers_of(graph))


class _Writer:
    """Collects the nodes of the int8 graph in the order in which they are computed."""

    def __init__(self, graph: Graph, grids: Mapping[str, Grid]) -> None:
        self._graph, self._grids = graph, grids
        self._nodes: list[Message] = []
        self._constants: list[Message] = []

    def model(self, layers: list[Layer]) -> bytes:
        layer_of = {id(layer.node): layer for layer in layers}
        for name in self._grids:
            if name not in self._graph.makers:  # the picture
                self._put_on_grid(name)
        for node in self._graph.nodes:
            inputs = [self._real(name) for name in node.inputs]
            if id(node) in layer_of:
                inputs[1:] = self._integers(layer_of[id(node)])
            self._nodes.append(_with_inputs(node, inputs))
            for name in node.outputs:
                if name in self._grids:
                    self._put_on_grid(name)
        return self._encoded()

    def _real(self, name: str) -> str:
        return f"{name}.int8.real" if name in self._grids else name

    def _put_on_grid(self, name: str) -> None:
        own = self._grids[name]
        parameters = [self._constant(f"{name}.int8.step", own.step), self._constant(f"{name}.int8.zero", own.zero)]
        self._nodes.append(new_node("QuantizeLinear", [name, *parameters], f"{name}.int8.integers"))
        self._nodes.append(new_node("DequantizeLinear", [f"{name}.int8.integers", *parameters], self._real(name)))

    def _integers(self, layer: Layer) -> list[str]:
        """The layer's weights, and its biases where they are constant, as integers with steps."""
        node, own = layer.node, layer.node.outputs[0]
        biases = _biases(self._graph, layer)
        told = np.zeros(len(layer.weights), np.float32) if biases is None else biases
        found = quantise(Parameters(layer.weights, told), self._grids[node.inputs[0]], _pairs(layer))
        weights = found.weights.T if layer.is_turned else found.weights
        names = [self._dequantised(f"{own}.int8.weights", weights, found.weight_steps, int(layer.is_turned))]
        if biases is not None:
            return [*names, self._dequantised(f"{own}.int8.biases", found.biases, found.bias_steps, 0)]
        return [*names, *map(self._real, node.inputs[2:])]

    def _dequantised(self, name: str, integers: npt.NDArray[np.generic], steps: Weights, axis: int) -> str:
        inputs = [
            self._constant(f"{name}.integers", integers),
            self._constant(f"{name}.steps", steps),
            self._constant(f"{name}.zeros", np.zeros(len(steps), integers.dtype)),
        ]
        self._nodes.append(new_node("DequantizeLinear", inputs, name, axis=axis))
        return name

    def _constant(self, name: str, value: npt.NDArray[np.generic] | np.generic) -> str:
        self._constants.append(new_constant(name, np.asarray(value)))
        return name

    def _encoded(self) -> bytes:
        used = {name for node in self._nodes for name in node.texts(INPUTS)}
        changed = self._graph.message.without(NODE, INITIALIZER)
        for node in self._nodes:
            changed.add(NODE, node)
        kept = [tensor for name, tensor in self._graph.constants.items() if name in used]
        for tensor in (*kept, *self._constants):
            changed.add(INITIALIZER, tensor)
        return self._graph.model.without(GRAPH).add(GRAPH, changed).encode()


def _layer(graph: Graph, node: Node) -> Layer | None:
    if node.operation not in ("Conv", "Gemm", "MatMul") or len(node.inputs) < 2 or _is_scaled(node):
        return None
    try:
        weights = graph.value(node.inputs[1])
    except HeadError:
        return None  # computed, or stored in another way: it stays as it is
    is_known = weights.dtype == np.float32 and weights.ndim == (4 if node.operation == "Conv" else 2)
    is_turned = node.operation == "MatMul" or (node.operation == "Gemm" and not node.integer("transB", 0))
    is_data = not _is_constant(graph, node.inputs[0])
    return Layer(node, weights.T if is_turned else weights, is_turned) if is_known and is_data else None


def _is_scaled(node: Node) -> bool:
    """Whether a Gemm does more than multiply by its weights and add its biases."""
    return node.operation == "Gemm" and (
        node.integer("transA", 0) != 0 or node.is_told("alpha") or node.is_told("beta")
    )


def _biases(graph: Graph, layer: Layer) -> Weights | None:
    if len(layer.node.inputs) < 3 or layer.node.inputs[2] not in graph.constants:
        return None
    biases = graph.value(layer.node.inputs[2])
    return biases if biases.shape == (len(layer.weights),) and biases.dtype == np.float32 else None


def _pairs(layer: Layer) -> npt.NDArray[np.float64] | None:
    """The largest sum of two weights that a processor may add up; None for one filter a channel, where it adds none."""
    weights = layer.weights
    if weights.ndim == 4 and weights.shape[1] == 1 and layer.node.integer("group", 1) > 1:
        return None
    flat = weights.reshape(len(weights), -1)
    is_product = weights.ndim == 2 or weights.shape[2:] == (1, 1)
    return neighbouring_pairs(flat) if is_product and flat.shape[1] % 2 == 0 else any_pairs(flat)


def _is_constant(graph: Graph, name: str) -> bool:
    return name in graph.constants or (name in graph.makers and graph.makers[name].operation == "Constant")


def _wide(low: float, high: float) -> tuple[float, float]:
    """A range that has steps, where all values were the same."""
    return low, max(high, low + LEAST_RANGE, LEAST_RANGE)


def _with_inputs(node: Node, inputs: list[str]) -> Message:
    message = node.message.without(INPUTS)
    for name in inputs:
        message.add(INPUTS, name)
    return message
