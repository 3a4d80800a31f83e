"""The last layer of a model (its head): found in the graph, taken out, and put back changed.

`python -m onnx_tools.head` reads a model from standard input and writes what a heat map needs of it, an .npz file with
`weights`, `biases` and `model` (the network up to its last feature map): so a worker needs no ONNX library in itself.
"""

import io
import sys
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from inference.arrays import Doubles, Floats
from inference.errors import HeadError
from onnx_tools.graph import Graph, GraphBuilder, attribute

# What may stand between the pooling and the last layer without changing a number (but for its rounding).
SAME_VALUES = frozenset(
    ("Flatten", "Reshape", "Squeeze", "Identity", "Dropout", "QuantizeLinear", "DequantizeLinear", "Cast")
)
POOLINGS = frozenset(("GlobalAveragePool", "ReduceMean"))
WEIGHTS, BIASES = "head.weights", "head.biases"


@dataclass(frozen=True)
class Head:
    """Logits are features @ weights.T + biases; a row of weights for each class."""

    weights: Floats
    biases: Floats

    def logits(self, features: Floats | Doubles) -> Floats:
        """Return the logits of each row of features."""
        logits: Floats = (features @ self.weights.T + self.biases).astype(np.float32)
        return logits

    def extended(self, count: int) -> "Head":
        """Return the same head with rows of zeros for so many more classes."""
        weights = np.concatenate([self.weights, np.zeros((count, self.weights.shape[1]), np.float32)])
        return Head(weights, np.concatenate([self.biases, np.zeros(count, np.float32)]))


@dataclass(frozen=True)
class _Place:
    linear: tuple[NodeProto, ...]  # the nodes to replace
    features: str
    weights: Floats
    biases: Floats


def read_head(model: bytes) -> Head:
    """Return the last layer in real numbers; raise HeadError where the graph does not end in one."""
    place = _place(Graph(model))
    return Head(place.weights, place.biases)


def with_head(model: bytes, head: Head) -> bytes:
    """Return the model with this last layer, in fp32 whatever the rest is in."""
    graph = Graph(model)
    place = _place(graph)
    if head.weights.shape[1] != place.weights.shape[1]:
        raise HeadError(f"a head for {head.weights.shape[1]} features; the graph has {place.weights.shape[1]}")
    added, own = GraphBuilder(), (WEIGHTS, BIASES)
    names = [
        added.constant(graph.fresh(name, own), value)
        for name, value in zip(own, (head.weights, head.biases), strict=True)
    ]
    output = place.linear[-1].output[0]
    added.node("Gemm", [place.features, *names], output, transB=1)
    return graph.ending_in(graph.output, added, place.linear)


def features_model(model: bytes) -> bytes:
    """Return the model without its last layer: its outputs are the pooled features."""
    graph = Graph(model)
    return graph.ending_in(_place(graph).features)


def feature_map_model(model: bytes) -> bytes:
    """Return the model up to its last feature map, (N, features, height, width); HeadError where none is pooled."""
    graph = Graph(model)
    name = _place(graph).features
    while (node := graph.maker(name)).op_type in SAME_VALUES:
        name = node.input[0]
    if node.op_type not in POOLINGS:
        raise HeadError(f"the features come from {node.op_type}, not from a mean over places: no map can be shown")
    return graph.ending_in(node.input[0])


def _place(graph: Graph) -> _Place:
    node = graph.maker(graph.output)
    if node.op_type == "Softmax":
        node = graph.maker(node.input[0])
    if node.op_type == "Gemm":
        return _gemm(graph, node)
    if node.op_type == "Add":
        return _sum(graph, node)
    if node.op_type == "MatMul":
        weights = graph.value(node.input[1]).T
        return _checked((node,), weights, np.zeros(len(weights), np.float32))
    raise HeadError(f"the graph ends in {node.op_type}, not in a linear layer: nothing can be fitted or shown")


def _gemm(graph: Graph, node: NodeProto) -> _Place:
    if attribute(node, "transA", 0):
        raise HeadError(f"{node.output[0]!r} turns its input over: no such last layer is known here")
    weights = graph.value(node.input[1])
    weights = weights if attribute(node, "transB", 0) else weights.T
    biases = graph.value(node.input[2]) if len(node.input) > 2 else np.zeros(len(weights), np.float32)
    return _checked((node,), weights, biases)


def _sum(graph: Graph, node: NodeProto) -> _Place:
    """Return a product and its biases, in either order."""
    for product, biases in (node.input, reversed(node.input)):
        maker = graph.makers.get(product)
        if maker is not None and maker.op_type == "MatMul":
            return _checked((maker, node), graph.value(maker.input[1]).T, graph.value(biases))
    raise HeadError("the graph ends in a sum, but not of a matrix product and biases: nothing can be fitted or shown")


def _checked(linear: tuple[NodeProto, ...], weights: Floats, biases: Floats) -> _Place:
    if weights.ndim != 2 or biases.size != len(weights):
        raise HeadError(f"weights of shape {weights.shape} with biases of shape {biases.shape} are no linear layer")
    return _Place(linear, linear[0].input[0], weights.astype(np.float32), biases.reshape(-1).astype(np.float32))


def main() -> int:
    """Write the parts for heat maps; return 1, with the reason on standard error, where there are none."""
    content = sys.stdin.buffer.read()
    try:
        head, model = read_head(content), feature_map_model(content)
    except HeadError as fault:
        sys.stderr.write(str(fault))
        return 1
    written = io.BytesIO()
    np.savez(written, weights=head.weights, biases=head.biases, model=np.frombuffer(model, np.uint8))
    sys.stdout.buffer.write(written.getbuffer())
    return 0


if __name__ == "__main__":
    sys.exit(main())
