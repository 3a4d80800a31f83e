"""The last layer of a model (its head): found in the graph, taken out, and put back changed.

`python -m onnx_tools.head` reads a model from standard input and writes what a heat map needs of it, an .npz file with
`weights`, `biases` and `model` (the network up to its last feature map): so a worker needs no ONNX library in itself.
With --check it writes nothing: only its exit status shows whether there are heat maps.
"""

import io
import math
import os
import sys
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from onnx import NodeProto

from inference.arrays import Doubles, Floats
from inference.errors import HeadError
from onnx_tools.graph import Graph, GraphBuilder, Tensor, attribute

# What may stand between the pooling and the last layer, or after it, without changing a number (but for its rounding).
SAME_VALUES = frozenset(
    ("Flatten", "Reshape", "Squeeze", "Identity", "Dropout", "QuantizeLinear", "DequantizeLinear", "Cast")
)
POOLINGS = frozenset(("GlobalAveragePool", "ReduceMean", "AveragePool"))
SOFTMAXES = frozenset(("Softmax", "LogSoftmax"))
# The dimensions of a feature map, and which of them are height and width.
MAP = ("N", "features", "height", "width")
PLACES_NCHW, PLACES_NHWC = (2, 3), (1, 2)
WEIGHTS, BIASES = "head.weights", "head.biases"


@dataclass(frozen=True)
class Head:
    """Logits are features @ weights.T + biases; a row of weights for each class."""

    weights: Floats
    biases: Floats

    def logits(self, features: Floats | Doubles) -> Floats:
        """Return the logits of each row of features."""
        logits: Floats | Doubles = features @ self.weights.T
        logits += self.biases
        return logits.astype(np.float32, copy=False)

    def extended(self, count: int) -> "Head":
        """Return the same head with rows of zeros for so many more classes."""
        weights = np.concatenate([self.weights, np.zeros((count, self.weights.shape[1]), np.float32)])
        return Head(weights, np.concatenate([self.biases, np.zeros(count, np.float32)]))


@dataclass(frozen=True)
class _Place:
    """Where the last layer is: what it multiplies, its weights, and what stands around it."""

    features: str  # the tensor that its weights are multiplied with
    weights: Tensor
    biases: Tensor
    is_turned: bool = False  # the tensor has a column for each image, not a row
    mean: NodeProto | None = None  # over places, where that is taken after the layer: a convolution of 1 by 1
    softmax: str = ""  # the operation after it

    def vectors(self, graph: Graph, added: GraphBuilder) -> str:
        """Add what makes a row of features for each image; return its name."""
        name = self.features
        if self.is_turned:
            name = added.node("Transpose", [name], graph.fresh("head.rows"), perm=[1, 0])
        if self.mean is not None:
            name = added.node("GlobalAveragePool", [name], graph.fresh("head.means"))
        if self.mean is not None or len(graph.shape(name) or (0, 0)) != 2:
            name = added.node("Flatten", [name], graph.fresh("head.features"))
        return name


def read_head(model: bytes) -> Head:
    """Return the last layer in real numbers; raise HeadError where the graph does not end in one."""
    _, place = _read(model)
    return Head(place.weights.astype(np.float32), place.biases.astype(np.float32))


def with_head(model: bytes, head: Head) -> bytes:
    """Return the model with this last layer, in fp32 regardless of the precision of the rest."""
    graph, place = _read(model)
    if head.weights.shape[1] != place.weights.shape[1]:
        raise HeadError(f"a head for {head.weights.shape[1]} features; the graph has {place.weights.shape[1]}")
    added, own = GraphBuilder(), (WEIGHTS, BIASES)
    names = [
        added.constant(graph.fresh(name, own), value)
        for name, value in zip(own, (head.weights, head.biases), strict=True)
    ]
    logits = graph.fresh("head.logits") if place.softmax else graph.output
    added.node("Gemm", [place.vectors(graph, added), *names], logits, transB=1)
    if place.softmax:
        added.node(place.softmax, [logits], graph.output, axis=1)
    # All that made the output, of any shape, is replaced.
    return graph.ending_in(graph.output, added, [graph.maker(graph.output)])


def features_model(model: bytes) -> bytes:
    """Return the model without its last layer: its outputs are the pooled features, a row for each image."""
    (graph, place), added = _read(model), GraphBuilder()
    return graph.ending_in(place.vectors(graph, added), added)


def feature_map_model(model: bytes) -> bytes:
    """Return the model up to its last feature map, (N, features, height, width); HeadError where none is pooled."""
    (graph, place), added = _read(model), GraphBuilder()
    if place.mean is not None:
        return graph.ending_in(place.features)
    name, axes = _pooled(graph, place.features)
    if axes == PLACES_NHWC:
        name = added.node("Transpose", [name], graph.fresh("head.map"), perm=[0, 3, 1, 2])
    return graph.ending_in(name, added)


def _pooled(graph: Graph, name: str) -> tuple[str, tuple[int, ...]]:
    """Return the feature map that these features are the mean of, and its dimensions of height and width."""
    while (node := graph.maker(name)).op_type in SAME_VALUES or node.op_type == "Transpose":
        name = node.input[0]  # of what is pooled already, only the shape is turned
    if node.op_type not in POOLINGS:
        raise HeadError(f"the features come from {node.op_type}, not from a mean over places: no map can be shown")
    name, axes = node.input[0], _axes(graph, node)
    before = graph.makers.get(name)
    if len(axes) == 1 and before is not None and before.op_type == "ReduceMean":  # one after the other
        name, first = before.input[0], _axes(graph, before)
        are_gone = not attribute(before, "keepdims", 1)
        axes = (*first, *(axis + sum(are_gone and each <= axis for each in first) for axis in axes))
    count, places = len(graph.shape(name) or MAP), tuple(sorted(axes))
    if count != len(MAP) or places not in (PLACES_NCHW, PLACES_NHWC):
        raise HeadError(
            f"the features are a mean over the axes {list(places)} of {count} dimensions, not over height and width: "
            "no map can be shown"
        )
    return name, places


def _axes(graph: Graph, node: NodeProto) -> tuple[int, ...]:
    """Return the dimensions over which a pooling takes the mean."""
    shape = graph.shape(node.input[0])
    if node.op_type == "GlobalAveragePool":
        return PLACES_NCHW
    if node.op_type == "AveragePool":
        if shape is None or tuple(attribute(node, "kernel_shape", ())) != shape[2:] or any(attribute(node, "pads", ())):
            raise HeadError(f"the features are means over parts of a map of shape {shape}: no map can be shown")
        return PLACES_NCHW
    given = attribute(node, "axes", None)
    if given is None and len(node.input) > 1 and node.input[1]:
        given = graph.value(node.input[1]).reshape(-1).tolist()
    if shape is None or given is None:
        raise HeadError(f"the features are a mean over axes that the graph leaves open ({given} of {shape})")
    return tuple(axis % len(shape) for axis in given)


@lru_cache(maxsize=1)  # a version is trained in three steps, each of which takes the same graph apart
def _read(model: bytes) -> tuple[Graph, _Place]:
    """Return the graph of a model and its last layer, neither of which is to be changed."""
    graph = Graph(model)
    return graph, _place(graph)


def _place(graph: Graph) -> _Place:
    name, softmax, mean, after = graph.output, "", None, set()
    while (node := graph.maker(name)).op_type in SAME_VALUES | POOLINGS | SOFTMAXES:
        softmax = node.op_type if node.op_type in SOFTMAXES else softmax
        mean = node if node.op_type in POOLINGS else mean
        after.add(node.op_type)
        name = node.input[0]
    found = _linear(graph, node)
    # Integers that a mean is taken of are clipped ones, often in place of a ReLU.
    if found is None or (mean is not None and "QuantizeLinear" in after):
        raise HeadError(f"the graph ends in {node.op_type}, not in a linear layer: nothing can be fitted or shown")
    if mean is not None and _axes(graph, mean) != PLACES_NCHW:
        raise HeadError(f"the graph ends in a mean over the axes {list(_axes(graph, mean))}: nothing can be fitted")
    _check(graph, found, is_map=mean is not None)
    return replace(found, softmax=softmax, mean=mean)


def _linear(graph: Graph, node: NodeProto) -> _Place | None:
    """Return the linear layer that this node computes; None where it computes something else."""
    match node.op_type:
        case "Gemm":
            return _gemm(graph, node)
        case "Conv":
            return _convolution(graph, node)
        case "Add":
            return _sum(graph, node)
        case "MatMul":
            weights = graph.value(node.input[1]).T
            return _Place(node.input[0], weights, np.zeros(len(weights), np.float32))
    return None


def _gemm(graph: Graph, node: NodeProto) -> _Place:
    weights = graph.value(node.input[1])
    weights = attribute(node, "alpha", 1.0) * (weights if attribute(node, "transB", 0) else weights.T)
    place = _Place(node.input[0], weights, np.zeros(len(weights)), is_turned=bool(attribute(node, "transA", 0)))
    beta = attribute(node, "beta", 1.0)
    has_biases = len(node.input) > 2 and node.input[2] and beta != 0
    return _with_biases(place, beta * graph.value(node.input[2])) if has_biases else place


def _convolution(graph: Graph, node: NodeProto) -> _Place:
    """Return a convolution of 1 by 1, which is a linear layer at each place."""
    weights = graph.value(node.input[1])
    options = [attribute(node, name, ()) for name in ("strides", "dilations")]
    is_plain = not any(attribute(node, "pads", ())) and all(set(each) <= {1} for each in options)
    if weights.shape[2:] != (1, 1) or attribute(node, "group", 1) != 1 or not is_plain:
        raise HeadError(f"the graph ends in a convolution of {weights.shape}; one of 1 by 1 is a linear layer")
    place = _Place(node.input[0], weights[:, :, 0, 0], np.zeros(len(weights)))
    return _with_biases(place, graph.value(node.input[2])) if len(node.input) > 2 and node.input[2] else place


def _sum(graph: Graph, node: NodeProto) -> _Place:
    """Return a product and its biases, in either order."""
    for product, biases in (node.input, reversed(node.input)):
        maker = graph.makers.get(product)
        if maker is not None and maker.op_type in ("MatMul", "Conv") and graph.is_constant(biases):
            place = _linear(graph, maker)
            if place is not None:
                return _with_biases(place, graph.value(biases))
    raise HeadError("the graph ends in a sum, but not of a matrix product and biases: nothing can be fitted or shown")


def _with_biases(place: _Place, biases: Tensor) -> _Place:
    """Return the same layer with biases more: a number for each class, or one for all."""
    if biases.size not in (1, len(place.weights)):
        raise HeadError(
            f"weights of shape {place.weights.shape} with biases of shape {biases.shape} are no linear layer"
        )
    return replace(place, biases=place.biases + biases.reshape(-1))


def _check(graph: Graph, place: _Place, *, is_map: bool) -> None:
    """Raise HeadError unless the layer gets a vector of features for each image, or a map before the mean."""
    if place.weights.ndim != 2:
        raise HeadError(f"weights of shape {place.weights.shape} are no linear layer")
    shape, count = graph.shape(place.features), place.weights.shape[1]
    if shape is not None and len(shape) > 2 and not is_map and math.prod(length or 0 for length in shape[1:]) != count:
        raise HeadError(
            f"the last layer gets {place.features!r} of shape {shape}, which is no vector of {count} features "
            "for each image"
        )


def main(arguments: list[str]) -> int:
    """Write the parts for heat maps; return EX_DATAERR, with the reason on standard error, where there are none."""
    content = sys.stdin.buffer.read()
    try:
        head, model = read_head(content), feature_map_model(content)
    except HeadError as fault:
        sys.stderr.write(str(fault))
        return os.EX_DATAERR
    if "--check" in arguments:
        return os.EX_OK
    written = io.BytesIO()
    np.savez(written, weights=head.weights, biases=head.biases, model=np.frombuffer(model, np.uint8))
    sys.stdout.buffer.write(written.getbuffer())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
