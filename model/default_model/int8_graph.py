"""The network as an ONNX graph in int8.

Each tensor passes a pair of QuantizeLinear and DequantizeLinear: where all neighbours have such a pair, OpenVINO and
ONNX Runtime both compute in integers from the pixels to the classifier. ReLU6 needs no node of its own: the grid of
its result ends at 0 and at 6.
"""

import numpy as np

from default_model.architecture import RELU6_MAX, Convolution, convolutions
from default_model.folding import Network, Parameters
from default_model.graph import Graph
from default_model.quantising import IMAGE_GRID, Grid, IntegerParameters, any_pairs, grid, neighbouring_pairs, quantise
from default_model.ranges import Ranges

RELU6_GRID = grid(0.0, RELU6_MAX)


def int8_graph(network: Network, ranges: Ranges) -> bytes:
    """Return the network in int8 as an ONNX file."""
    graph = Graph("efficientnet-lite0-int8")
    grids = {"pixels": _on_grid(graph, "image", "pixels", IMAGE_GRID)}
    for layer in convolutions():
        _add_layer(graph, layer, network.convolutions[layer.name], grids, ranges)
    _add_classifier(graph, network.classifier, grid(*ranges["features"]))
    return graph.to_bytes()


def _add_layer(
    graph: Graph, layer: Convolution, parameters: Parameters, grids: dict[str, Grid], ranges: Ranges
) -> None:
    source = "pixels" if layer.source == "image" else layer.source
    integers = quantise(parameters, grids[source], _pairs(layer, parameters))
    exact = graph.convolution(layer, [source, *_constants(graph, layer.name, integers)], f"{layer.name}.exact")
    own = RELU6_GRID if layer.relu6 else grid(*ranges[layer.name])
    grids[layer.name] = _on_grid(graph, exact, layer.name, own)
    if layer.adds:
        graph.node("Add", [layer.name, layer.adds], f"{layer.total}.exact")
        grids[layer.total] = _on_grid(graph, f"{layer.total}.exact", layer.total, grid(*ranges[layer.total]))


def _pairs(layer: Convolution, parameters: Parameters) -> np.ndarray[tuple[int], np.dtype[np.float64]] | None:
    if layer.groups > 1:
        return None
    return neighbouring_pairs(parameters.weights) if layer.kernel == 1 else any_pairs(parameters.weights)


def _add_classifier(graph: Graph, classifier: Parameters, features: Grid) -> None:
    # ONNX Runtime wants a pair on either side of the flattening, too.
    graph.node("GlobalAveragePool", ["feature_map"], "pooled.exact")
    _on_grid(graph, "pooled.exact", "pooled", features)
    graph.node("Flatten", ["pooled"], "features.exact", axis=1)
    _on_grid(graph, "features.exact", "features", features)
    integers = quantise(classifier, features, neighbouring_pairs(classifier.weights))
    graph.node("Gemm", ["features", *_constants(graph, "classifier", integers)], "logits", transB=1)


def _on_grid(graph: Graph, exact: str, name: str, own: Grid) -> Grid:
    parameters = [graph.constant(f"{name}.step", own.step), graph.constant(f"{name}.zero", own.zero)]
    integers = graph.node("QuantizeLinear", [exact, *parameters], f"{name}.integers")
    graph.node("DequantizeLinear", [integers, *parameters], name)
    return own


def _constants(graph: Graph, name: str, integers: IntegerParameters) -> list[str]:
    return [
        _constant(graph, f"{name}.weights", integers.weights, integers.weight_steps),
        _constant(graph, f"{name}.biases", integers.biases, integers.bias_steps),
    ]


def _constant(graph: Graph, name: str, integers: np.ndarray, steps: np.ndarray) -> str:
    inputs = [
        graph.constant(f"{name}.integers", integers),
        graph.constant(f"{name}.steps", steps),
        graph.constant(f"{name}.zeros", np.zeros(len(steps), integers.dtype)),
    ]
    return graph.node("DequantizeLinear", inputs, name, axis=0)
