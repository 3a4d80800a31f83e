"""The network as an ONNX graph in fp32."""

import numpy as np

from default_model.architecture import RELU6_MAX, Convolution, convolutions
from default_model.folding import Network, Parameters
from default_model.graph import Graph


def float_graph(network: Network) -> bytes:
    """Return the network in fp32 as an ONNX file."""
    graph = Graph("efficientnet-lite0-fp32")
    graph.constant("relu6.low", np.float32(0))
    graph.constant("relu6.high", np.float32(RELU6_MAX))
    for layer in convolutions():
        _add_layer(graph, layer, network.convolutions[layer.name])
    graph.node("GlobalAveragePool", ["feature_map"], "pooled")
    graph.node("Flatten", ["pooled"], "features", axis=1)
    graph.node("Gemm", ["features", *_constants(graph, "classifier", network.classifier)], "logits", transB=1)
    return graph.to_bytes()


def _add_layer(graph: Graph, layer: Convolution, parameters: Parameters) -> None:
    inputs = [layer.source, *_constants(graph, layer.name, parameters)]
    linear = graph.convolution(layer, inputs, f"{layer.name}.linear" if layer.relu6 else layer.name)
    if layer.relu6:
        graph.node("Clip", [linear, "relu6.low", "relu6.high"], layer.name)
    if layer.adds:
        graph.node("Add", [layer.name, layer.adds], layer.total)


def _constants(graph: Graph, name: str, parameters: Parameters) -> list[str]:
    weights = graph.constant(f"{name}.weights", parameters.weights)
    return [weights, graph.constant(f"{name}.biases", parameters.biases)]
