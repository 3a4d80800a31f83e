"""What the fp32 and the int8 graph have in common."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from default_model.architecture import CLASSES, INPUT_SIZE, Convolution

# Old enough for every engine in use, new enough for quantisation by channel.
OPSET = 17
IR_VERSION = 8


class Graph:
    """Collects nodes and constants in the order in which they are added."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, NDArray[Any]] = {}

    def node(self, operation: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node that is named after its one output, and return that name."""
        self._nodes.append(helper.make_node(operation, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        """Add a constant and return its name."""
        self._constants[name] = np.asarray(value)
        return name

    def convolution(self, layer: Convolution, inputs: list[str], output: str) -> str:
        """Add the layer's convolution over `inputs` (values, weights, biases) and return its output's name."""
        return self.node(
            "Conv",
            inputs,
            output,
            kernel_shape=[layer.kernel, layer.kernel],
            strides=[layer.stride, layer.stride],
            pads=layer.pads,
            group=layer.groups,
        )

    def to_bytes(self) -> bytes:
        """Return the ONNX file, from `image` to `logits` for any batch size."""
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(np.float32))
        graph = helper.make_graph(
            self._nodes,
            self._name,
            [helper.make_tensor_value_info("image", kind, ["N", 3, INPUT_SIZE, INPUT_SIZE])],
            [helper.make_tensor_value_info("logits", kind, ["N", CLASSES])],
            [numpy_helper.from_array(value, name) for name, value in self._constants.items()],
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model: ModelProto = helper.make_model(
            graph, producer_name="sightline", ir_version=IR_VERSION, opset_imports=opsets
        )
        content: bytes = model.SerializeToString(deterministic=True)
        return content
