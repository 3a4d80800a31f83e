"""The network as an ONNX graph in fp32."""

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from bundle_build.architecture import CLASSES, INPUT_SIZE, RELU6_MAX, convolutions
from bundle_build.folding import Floats, Network

# Old enough for every engine in use, new enough for quantisation by channel.
OPSET = 17
IR_VERSION = 8


class Graph:
    """Collects nodes and initialisers in the order in which they are added."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, np.ndarray] = {}

    def node(self, operation: str, inputs: list[str], output: str, **attributes: object) -> str:
        """Add a node that is named after its one output, and return that name."""
        self._nodes.append(helper.make_node(operation, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add a constant once, and return its name."""
        self._constants.setdefault(name, value)
        return name

    def model(self) -> ModelProto:
        """Return the graph from `image` to `logits`, for any batch size."""
        pixels = helper.np_dtype_to_tensor_dtype(np.dtype(np.float32))
        graph = helper.make_graph(
            self._nodes,
            self._name,
            [helper.make_tensor_value_info("image", pixels, ["N", 3, INPUT_SIZE, INPUT_SIZE])],
            [helper.make_tensor_value_info("logits", pixels, ["N", CLASSES])],
            [numpy_helper.from_array(value, name) for name, value in self._constants.items()],
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, producer_name="sightline", ir_version=IR_VERSION, opset_imports=opsets)


def float_graph(network: Network) -> ModelProto:
    """Return the network in fp32."""
    graph = Graph("efficientnet-lite0-fp32")
    limits = [graph.constant("relu6.low", _scalar(0)), graph.constant("relu6.high", _scalar(RELU6_MAX))]
    for layer in convolutions():
        parameters = network.convolutions[layer.name]
        inputs = [
            layer.source,
            graph.constant(f"{layer.name}.weights", parameters.weights),
            graph.constant(f"{layer.name}.biases", parameters.biases),
        ]
        linear = f"{layer.name}.linear" if layer.relu6 else layer.name
        graph.node(
            "Conv", inputs, linear, kernel_shape=[layer.kernel] * 2, strides=[layer.stride] * 2, group=layer.groups,
            pads=layer.pads,
        )  # fmt: skip
        if layer.relu6:
            graph.node("Clip", [linear, *limits], layer.name)
        if layer.adds:
            graph.node("Add", [layer.name, layer.adds], layer.total)
    graph.node("GlobalAveragePool", ["feature_map"], "pooled")
    graph.node("Flatten", ["pooled"], "features", axis=1)
    weights = graph.constant("classifier.weights", network.classifier.weights)
    biases = graph.constant("classifier.biases", network.classifier.biases)
    graph.node("Gemm", ["features", weights, biases], "logits", transB=1)
    return graph.model()


def _scalar(value: float) -> Floats:
    return np.array(value, np.float32)
