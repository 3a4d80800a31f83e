"""The last layer of a model: found in its graph, taken out, and put back changed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inference.arrays import Doubles, Floats
from inference.errors import HeadError
from onnx_tools.graph import Graph, Node, new_constant, new_node

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
        """The logits of each row of features."""
        logits: Floats = (features @ self.weights.T + self.biases).astype(np.float32)
        return logits

    def extended(self, count: int) -> "Head":
        """The same head with rows of zeros for so many more classes."""
        weights = np.concatenate([self.weights, np.zeros((count, self.weights.shape[1]), np.float32)])
        return Head(weights, np.concatenate([self.biases, np.zeros(count, np.float32)]))


@dataclass(frozen=True)
class _Place:
    linear: tuple[Node, ...]  # the nodes to replace
    features: str
    weights: Floats
    biases: Floats


def read_head(model: bytes) -> Head:
    """The last layer in real numbers; HeadError where the graph does not end in one."""
    place = _place(Graph(model))
    return Head(place.weights, place.biases)


def with_head(model: bytes, head: Head) -> bytes:
    """The model with this last layer, in fp32 whatever the rest is in."""
    graph = Graph(model)
    place = _place(graph)
    if head.weights.shape[1] != place.weights.shape[1]:
        raise HeadError(f"a head for {head.weights.shape[1]} features; the graph has {place.weights.shape[1]}")
    output = place.linear[-1].outputs[0]
    names = [_fresh(graph, WEIGHTS), _fresh(graph, BIASES)]
    return graph.changed(
        graph.output,
        dropped=place.linear,
        nodes=(new_node("Gemm", [place.features, *names], output, transB=1),),
        constants=(new_constant(names[0], head.weights), new_constant(names[1], head.biases)),
    )


def features_model(model: bytes) -> bytes:
    """The model without its last layer: what it puts out are the pooled features."""
    graph = Graph(model)
    return graph.changed(_place(graph).features)


def feature_map_model(model: bytes) -> bytes:
    """The model up to the last feature map, (N, features, height, width); HeadError where none is pooled."""
    graph = Graph(model)
    name = _place(graph).features
    while (node := graph.maker(name)).operation in SAME_VALUES:
        name = node.inputs[0]
    if node.operation not in POOLINGS:
        raise HeadError(f"the features come from {node.operation}, not from a mean over places: no map can be shown")
    return graph.changed(node.inputs[0])


def _place(graph: Graph) -> _Place:
    node = graph.maker(graph.output)
    if node.operation == "Softmax":
        node = graph.maker(node.inputs[0])
    if node.operation == "Gemm":
        return _gemm(graph, node)
    if node.operation == "Add":
        return _sum(graph, node)
    if node.operation == "MatMul":
        return _product(graph, node, ())
    raise HeadError(f"the graph ends in {node.operation}, not in a linear layer: nothing can be fitted or shown")


def _gemm(graph: Graph, node: Node) -> _Place:
    if node.integer("transA", 0):
        raise HeadError(f"{node.outputs[0]!r} turns its input over: no such last layer is known here")
    weights = graph.value(node.inputs[1])
    weights = weights if node.integer("transB", 0) else weights.T
    biases = graph.value(node.inputs[2]) if len(node.inputs) > 2 else np.zeros(len(weights), np.float32)
    return _checked((node,), node.inputs[0], weights, biases)


def _sum(graph: Graph, node: Node) -> _Place:
    """A product and its biases, in either order."""
    for product, biases in (node.inputs, reversed(node.inputs)):
        maker = graph.makers.get(product)
        if maker is not None and maker.operation == "MatMul":
            place = _product(graph, maker, (node,))
            return _checked(place.linear, place.features, place.weights, graph.value(biases))
    raise HeadError("the graph ends in a sum, but not of a matrix product and biases: nothing can be fitted or shown")


def _product(graph: Graph, node: Node, after: Sequence[Node]) -> _Place:
    weights = graph.value(node.inputs[1]).T
    return _checked((node, *after), node.inputs[0], weights, np.zeros(len(weights), np.float32))


def _checked(linear: tuple[Node, ...], features: str, weights: Floats, biases: Floats) -> _Place:
    if weights.ndim != 2 or biases.size != len(weights):
        raise HeadError(f"weights of shape {weights.shape} with biases of shape {biases.shape} are no linear layer")
    return _Place(linear, features, weights.astype(np.float32), biases.reshape(-1).astype(np.float32))


def _fresh(graph: Graph, name: str) -> str:
    """A name that no other tensor has, once the old last layer is gone."""
    taken = set(graph.makers) | {found for found in graph.constants if found not in (WEIGHTS, BIASES)}
    while name in taken:
        name += "_"
    return name
